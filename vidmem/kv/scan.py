"""The best of a group's landmarks for each query, out of all groups: one pass over their 4-bit codes on the CPU.

The floor is reading the codes once: 35 MB for 100 hours at one frame a second and 64 channels. In torch operators the
numbers would be written out in float32, eight times as many bytes, before they are multiplied.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from vidmem.kv.jit import compiled

_GROUPS_A_THREAD = 4096
"""Fewer are done sooner than a thread is started."""


def best_products(codes: np.ndarray, scale: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Largest inner product of each group's keys with each query: (N, Q) float32.

    Args:
        codes: uint8 (N, D / 2, P) contiguous, as `Landmarks` has them.
        scale: (N,) float32.
        queries: (Q, D) float32.
    """
    even, odd = (np.ascontiguousarray(queries[:, part::2]) for part in (0, 1))
    below = 8 * queries.sum(1)  # what the codes' zero adds to every product
    best = np.empty((len(codes), len(queries)), np.float32)
    num_threads = min(torch.get_num_threads(), 1 + len(codes) // _GROUPS_A_THREAD)
    cuts = np.linspace(0, len(codes), num_threads + 1).astype(int)
    parts = [slice(start, end) for start, end in zip(cuts, cuts[1:], strict=False)]

    def scan(part: slice) -> None:
        _scan(codes[part], scale[part], even, odd, below, best[part])

    if num_threads == 1:
        scan(parts[0])
    else:
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(scan, parts))
    return best


@compiled("void(u1[:,:,::1], f4[::1], f4[:,::1], f4[:,::1], f4[::1], f4[:,::1])", fastmath=True)
def _scan(
    codes: np.ndarray, scale: np.ndarray, even: np.ndarray, odd: np.ndarray, below: np.ndarray, best: np.ndarray
) -> None:
    num_groups, num_rows, num_keys = codes.shape
    num_queries = len(even)
    products = np.empty((num_queries, num_keys), np.float32)
    low, high = np.empty(num_keys, np.float32), np.empty(num_keys, np.float32)
    for group in range(num_groups):
        products[:] = 0
        for row in range(num_rows):
            for key in range(num_keys):
                both = np.int32(codes[group, row, key])
                low[key], high[key] = np.float32(both & 15), np.float32(both >> 4)
            for query in range(num_queries):
                first, second = even[query, row], odd[query, row]
                for key in range(num_keys):
                    products[query, key] += first * low[key] + second * high[key]
        for query in range(num_queries):
            most = products[query, 0]
            for key in range(1, num_keys):
                most = max(most, products[query, key])
            best[group, query] = (most - below[query]) * scale[group]
