"""FlashAttention as torch brings it, for what torch's own interface has no words for.

`scaled_dot_product_attention` takes a window, or queries that are fewer than the keys, as a mask only. On a GPU a mask
leads to slower kernels, which compute what it hides as well, and to a T x S tensor a call. The kernel behind it knows
both, shares keys among query heads without repeating them, and gives away the sums of its softmax.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_MAX_HEAD_DIM = 256


def is_usable(query: Tensor) -> bool:
    """Whether the kernel takes queries (H, T, D) of this dtype on this device."""
    return (
        query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= _MAX_HEAD_DIM
        and _has_kernel(query.device)
    )


@lru_cache(maxsize=16)
def _has_kernel(device: torch.device) -> bool:
    is_built = torch.version.hip is None and torch.backends.cuda.is_flash_attention_available()
    return is_built and torch.cuda.get_device_capability(device) >= (8, 0)


def flash_attend(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, window_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Causal attention of the last T of S tokens: outputs (H, T, D), and the log of each softmax's sum (H, T) float32.

    Args:
        query: (H, T, D).
        key, value: (KV heads, S, D).
        window_size: a token sees itself and the `window_size` - 1 before it; None sees all before it.
    """
    out, log_sum, *_ = torch.ops.aten._flash_attention_forward(
        *(states.transpose(0, 1)[None] for states in (query, key, value)),
        None,
        None,
        query.shape[1],
        key.shape[1],
        0.0,
        True,  # of this kernel causal means right-aligned, where T is less than S
        False,
        scale=scale,
        window_size_left=None if window_size is None else window_size - 1,
        window_size_right=None if window_size is None else 0,
    )
    return out[0].transpose(0, 1), log_sum[0]
