"""The best of a group's landmarks for each query, out of all groups: one pass over their 4-bit codes on the CPU.

The floor is reading the codes once: 35 MB for 100 hours at one frame a second and 64 channels. In torch operators the
numbers would be written out in float32, eight times as many bytes, before they are multiplied.

The sums of a group stay in the CPU's registers, and each code is read and made a number once for four queries. LLVM
does not find this by itself in loops over arrays, where it keeps sums in memory, so the vector instructions are written
out: 45,000 groups and four queries take 11 ms of one core where such loops took 27. They are LLVM's own, not one CPU's.
Products of whole numbers take 9 (`vpdpwssd`), but round the queries, and only newer CPUs have them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vidmem.kv.jit import compiled

_GROUPS_A_THREAD = 4096
"""Fewer are done sooner than a thread is started."""
_AT_ONCE = 4
"""Queries of one pass."""
_KEYS = 24
"""`NUM_LANDMARKS`. Written here, as numba would not notice a change there."""
_LANES = 16
_PARTS = 2 * _KEYS // _LANES
"""Vectors that hold two rows of codes."""
_FLOAT, _BYTE, _INT = ir.FloatType(), ir.IntType(8), ir.IntType(32)


def best_products(codes: np.ndarray, scale: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Largest inner product of each group's keys with each query: (N, Q) float32.

    Args:
        codes: uint8 (N, D / 2, P) contiguous, as `Landmarks` has them; D is a multiple of 4.
        scale: (N,) float32.
        queries: (Q, D) float32.
    """
    assert codes.shape[1] % 2 == 0 and codes.shape[2] == _KEYS, f"no landmarks for this kernel: {codes.shape}"
    num_threads = min(torch.get_num_threads(), 1 + len(codes) // _GROUPS_A_THREAD)
    cuts = np.linspace(0, len(codes), num_threads + 1).astype(int)
    parts = [slice(start, end) for start, end in zip(cuts, cuts[1:], strict=False)]
    fours = [_padded(queries[first : first + _AT_ONCE]) for first in range(0, len(queries), _AT_ONCE)]
    best = np.empty((len(fours), len(codes), _AT_ONCE), np.float32)

    def scan(part: slice) -> None:
        for four, of_four in zip(fours, best, strict=True):
            below = 8 * four.sum(1)  # what the codes' zero adds to every product
            _scan(codes[part], scale[part], _weights(four), below, of_four[part])

    if num_threads == 1:
        scan(parts[0])
    else:
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(scan, parts))
    return np.concatenate(best, axis=1)[:, : len(queries)]


def _padded(queries: np.ndarray) -> np.ndarray:
    return np.pad(queries, ((0, _AT_ONCE - len(queries)), (0, 0)))


def _weights(four: np.ndarray) -> np.ndarray:
    """Queries (4, D) as two rows of codes meet them: (D / 4, 4, 2, 2 P), for the lower halves and for the upper."""
    rows = four.reshape(_AT_ONCE, -1, 2, 2).transpose(1, 0, 3, 2)
    return np.repeat(rows, _KEYS, axis=3)


@intrinsic
def _best_of_group(_: Any, codes: Any, num_pairs: Any, weights: Any, best: Any) -> Any:
    """Write the largest sum of codes times weights of one group's keys, for each of four queries.

    Takes addresses: of the group's codes, of as many weights as `_weights` makes, and of four float32.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, num_pairs, weights, best = arguments
        number = num_pairs.type
        bytes_at, floats_at = (
            builder.inttoptr(codes, _BYTE.as_pointer()),
            builder.inttoptr(weights, _FLOAT.as_pointer()),
        )
        nothing = ir.Constant(ir.VectorType(_FLOAT, _LANES), None)
        sums = [[cgutils.alloca_once_value(builder, nothing) for _ in range(_PARTS)] for _ in range(_AT_ONCE)]
        with cgutils.for_range(builder, num_pairs) as loop:
            pair_at = builder.gep(bytes_at, [builder.mul(loop.index, number(2 * _KEYS))])
            weights_at = builder.gep(floats_at, [builder.mul(loop.index, number(4 * _KEYS * _AT_ONCE))])
            for part in range(_PARTS):
                halves = _halves(builder, builder.gep(pair_at, [number(part * _LANES)]))
                for query in range(_AT_ONCE):
                    total = builder.load(sums[query][part])
                    for half, keys in enumerate(halves):
                        place = (2 * query + half) * 2 * _KEYS + part * _LANES
                        weight = _load(builder, builder.gep(weights_at, [number(place)]), _FLOAT, 4)
                        product = builder.fmul(weight, keys, flags=("contract",))
                        total = builder.fadd(total, product, flags=("contract",))
                    builder.store(total, sums[query][part])
        best_at = builder.inttoptr(best, _FLOAT.as_pointer())
        for query, of_query in enumerate(sums):
            most = _most(builder, [builder.load(part) for part in of_query])
            builder.store(most, builder.gep(best_at, [number(query)]))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, types.int64), generate


def _load(builder: Any, pointer: Any, kind: Any, align: int) -> Any:
    return builder.load(builder.bitcast(pointer, ir.VectorType(kind, _LANES).as_pointer()), align=align)


def _halves(builder: Any, pointer: Any) -> tuple[Any, Any]:
    """The lower and the upper halves of as many codes as a vector holds, as float32."""
    ints, floats = ir.VectorType(_INT, _LANES), ir.VectorType(_FLOAT, _LANES)
    both = builder.zext(_load(builder, pointer, _BYTE, 1), ints)
    low = builder.and_(both, ir.Constant(ints, [15] * _LANES))
    high = builder.lshr(both, ir.Constant(ints, [4] * _LANES))
    return builder.sitofp(low, floats), builder.sitofp(high, floats)


def _most(builder: Any, parts: list[Any]) -> Any:
    """The largest sum of any key, out of its sums in both rows of the pairs: key k's are lanes k and P + k."""
    eight = ir.VectorType(_FLOAT, 8)
    undefined = ir.Constant(parts[0].type, ir.Undefined)
    eights = [
        builder.shuffle_vector(part, undefined, ir.Constant(ir.VectorType(_INT, 8), list(range(first, first + 8))))
        for part in parts
        for first in range(0, _LANES, 8)
    ]
    rows = zip(eights[: len(eights) // 2], eights[len(eights) // 2 :], strict=True)
    most, *others = [builder.fadd(first, second) for first, second in rows]
    for other in others:
        most = builder.select(builder.fcmp_ordered(">", other, most), other, most)
    kind = ir.FunctionType(_FLOAT, [eight])
    largest = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.fmax.v8f32")
    return builder.call(largest, [most], fastmath=("nnan",))


@compiled("void(u1[:,:,::1], f4[::1], f4[:,:,:,::1], f4[::1], f4[:,::1])")
def _scan(codes, scale, weights, below, best):
    num_groups, num_rows, num_keys = codes.shape
    codes_at, best_at = codes.ctypes.data, best.ctypes.data
    for group in range(num_groups):
        group_at = codes_at + group * num_rows * num_keys
        _best_of_group(group_at, num_rows // 2, weights.ctypes.data, best_at + 4 * _AT_ONCE * group)
        for query in range(_AT_ONCE):
            best[group, query] = (best[group, query] - below[query]) * scale[group]
