"""Frames to put into memories."""

from __future__ import annotations

import torch
from torch.nn import functional

from vidmem.memory import Elements

KEY_DIM, NUM_TOKENS, TOKEN_DIM = 6, 4, 3


def frames(num: int, *, first: int = 0, seed: int = 0, seconds: float = 1.0) -> Elements:
    """Frames `first` to `first + num` of one endless random video: the same whatever stretch is asked for."""
    keys, values = [], []
    for index in range(first, first + num):
        random = torch.Generator().manual_seed(seed * 1_000_003 + index)
        keys.append(functional.normalize(torch.randn(KEY_DIM, generator=random), dim=0))
        values.append(torch.randn(NUM_TOKENS, TOKEN_DIM, generator=random))
    starts = torch.arange(first, first + num, dtype=torch.float64) * seconds
    if not num:
        return Elements.empty(KEY_DIM, NUM_TOKENS, TOKEN_DIM)
    return Elements.fresh(torch.stack(keys), torch.stack(values), torch.stack([starts, starts + seconds], dim=1))


def same(left: Elements, right: Elements, *, atol: float = 0.0) -> bool:
    """Whether spans are equal and all numbers are, to `atol`."""
    return (
        torch.equal(left.span_seconds, right.span_seconds)
        and left.key.shape == right.key.shape
        and all(
            torch.allclose(getattr(left, name), getattr(right, name), rtol=0, atol=atol)
            for name in ("key", "value", "usage", "life", "weight")
        )
    )
