"""Frames at more than one resolution: their tokens as a grid, made coarser or finer. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from vidmem.memory.elements import Elements


def resample(value: Tensor, num_tokens: int) -> Tensor:
    """Frames' tokens (N, P, D) as (N, num_tokens, D), in their dtype.

    Where both counts are squares the tokens are a grid, row by row, else a line. Coarser tokens are means of what they
    cover, finer ones repeat what covers them.
    """
    have = value.shape[1]
    if have == num_tokens:
        return value
    channels_first = value.float().mT
    sides = math.isqrt(have), math.isqrt(num_tokens)
    if sides[0] ** 2 == have and sides[1] ** 2 == num_tokens:
        grid = channels_first.unflatten(2, (sides[0], sides[0]))
        pooled = functional.adaptive_avg_pool2d(grid, sides[1]).flatten(2)
    else:
        pooled = functional.adaptive_avg_pool1d(channels_first, num_tokens)
    return pooled.mT.to(value.dtype)


def resampled(elements: Elements, num_tokens: int) -> Elements:
    """The elements with `num_tokens` tokens each. A token weighs as much as what it covers, or what covers it."""
    return Elements(
        elements.key,
        resample(elements.value, num_tokens),
        elements.span_seconds,
        elements.usage,
        elements.life,
        resample(elements.weight.unsqueeze(2), num_tokens).squeeze(2),
    )


def finest(found: Sequence[Elements]) -> list[Elements]:
    """Of single elements that begin at one moment, those with the most tokens; the others tell nothing that they don't.

    The order stays.
    """
    most: dict[float, int] = {}
    for element in found:
        start = float(element.span_seconds[0, 0])
        most[start] = max(most.get(start, 0), element.num_tokens)
    return [element for element in found if element.num_tokens == most[float(element.span_seconds[0, 0])]]
