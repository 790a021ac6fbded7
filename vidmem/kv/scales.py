"""The step and start of each group of codes as bytes: a number is `code * step + start`.

Full: both in float16. Short, for 2 bits, where two float16 would weigh as much as 16 codes: 6 bits for the step, 5 of
exponent and 1 of mantissa, and 6 for the start, in quarters of a step. On keys and values of the embedded model, in
blocks of 21 tokens, the answer's error is 0.20 where exact scales give 0.19; whole steps instead of quarters give 0.24.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vidmem.kv import codes

# A step is rounded by up to a fifth, and a start reaches from -8 to 7.75 steps: with a step of at least these parts of
# the group's ends, all its numbers lie within half a step of a code even so.
_STEPS_BELOW_0 = 6.8
_STEPS_ABOVE_0 = 9.0


def num_bytes(num_groups: int, *, short: bool) -> int:
    """Bytes of the scales of one layer."""
    return num_groups + (num_groups + 1) // 2 if short else 4 * num_groups


def fit(low: Tensor, high: Tensor, top: int, into: Tensor, *, short: bool) -> tuple[Tensor, Tensor]:
    """Store scales under which codes 0 .. `top` reach from the smallest to the largest number of each group.

    Args:
        low, high: float32 (layers, groups). Written over.
        into: uint8 (layers, bytes), written to.

    Returns:
        Step and start (layers, groups) in float32, exactly as `read` gives them.
    """
    if short:
        _write_short(*_fitted_short(low, high, top), into)
        return read(into, low.shape[1], short=True)
    stored = into.view(torch.float16)
    step, start = stored[:, : low.shape[1]], stored[:, low.shape[1] :]
    low.copy_(start.copy_(low.clamp_(-65504, 65504)))
    # The smallest float16 above 0 for a constant group: all its codes give the start.
    step.copy_(high.sub_(low).mul_(1 / top).clamp_(2**-24, 65504))
    return high.copy_(step), low


def read(stored: Tensor, num_groups: int, *, short: bool) -> tuple[Tensor, Tensor]:
    """Step and start in float32 (layers, groups) of what `fit` stored."""
    if not short:
        numbers = stored.view(torch.float16).float()
        return numbers[:, :num_groups], numbers[:, num_groups:]
    high_bits = codes.unpack(stored[:, num_groups:], 4)[:, :num_groups].to(torch.int16)
    both = stored[:, :num_groups].to(torch.int16) | (high_bits << 8)
    step = ((both >> 6) << 9).view(torch.float16).float()
    return step, ((both & 63) - 32) * 0.25 * step


def _fitted_short(low: Tensor, high: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Step and start of each group as two codes of 6 bits."""
    step = torch.maximum((high - low) / top, torch.maximum(-low / _STEPS_BELOW_0, high / _STEPS_ABOVE_0))
    # The upper bits of a positive float16, rounded to nearest: its sign is 0, and 9 of 10 bits of mantissa are dropped.
    step_code = ((step.clamp_(max=49152).half().view(torch.int16) + 256) >> 9).clamp_(min=1)
    step = (step_code << 9).view(torch.float16).float()
    # The codes that a group needs stand around its middle: all, or fewer if its numbers are alike and far from 0.
    num_steps = ((high - low) / step).round_().clamp_(max=top)
    start = (low + high - num_steps * step) / 2
    quarters = (start / step * 4).round_().clamp_(-32, 31)
    return step_code, quarters.to(torch.int16) + 32


def _write_short(step_code: Tensor, start_code: Tensor, into: Tensor) -> None:
    """The lower 8 of a group's 12 bits make one row of bytes, the upper 4, two groups a byte, another behind it."""
    num_groups = step_code.shape[1]
    both = (step_code << 6) | start_code
    into[:, :num_groups] = both & 255
    high_bits = torch.nn.functional.pad(both >> 8, (0, num_groups % 2))
    into[:, num_groups:] = codes.pack(high_bits, 4)
