"""MovieChat as its code has it, where the policies do otherwise: buffers, position table, sequences, question gate.

Pure functions over token sequences. They are what a language model trained with MovieChat's video Q-Former needs,
and what the parity numbers are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.memory.merging import MergePlan, plan_merges
from vidmem.memory.policies.moviechat import mean_token


@dataclass(frozen=True, slots=True, eq=False)
class Fragment:
    """What became of one fragment: its newest frames as they were, and merged."""

    temp_short: Tensor
    """(S, P, D): the short-term buffer just before merging."""
    merged: Tensor
    """(R, P, D): what is appended to long-term memory."""
    plan: MergePlan


def consolidate_fragment(frames: Tensor, *, short_capacity: int, merge_to: int, max_frames: int) -> Fragment:
    """Pass one fragment (T, P, D) through an empty short-term buffer and merge what it holds in the end.

    Frames from `max_frames` on are ignored; of the others the buffer holds the newest `short_capacity`.
    """
    temp_short = frames[:max_frames][-short_capacity:]
    plan = plan_merges(mean_token(temp_short), merge_to)
    return Fragment(temp_short, plan.average(temp_short), plan)


@dataclass(frozen=True, slots=True, eq=False)
class CarryOver:
    """Long-term memory of the OneVision port, and where each merge took place."""

    long: Tensor
    """(L, P, D)."""
    merges: tuple[tuple[int, int], ...]
    """(window index, position in the buffer) of each merge."""


def consolidate_windows(windows: Sequence[Tensor], *, short_capacity: int, merge_to: int) -> CarryOver:
    """Merge windows of frames (W, P, D) in a short-term buffer that is never cleared.

    A round ends with the window that brings `short_capacity - merge_to` new frames; its averages go to long-term
    memory and stay at the buffer's head. A last round that is not full is dropped. Where whole windows do not make a
    round no round ever ends, as in the port.
    """
    round_frames = short_capacity - merge_to
    short = windows[0][:0]
    long: list[Tensor] = []
    merges: list[tuple[int, int]] = []
    num_new = 0
    for window_index, window in enumerate(windows):
        short = torch.cat([short, window[: max(0, round_frames - num_new)]])
        num_new += len(window)
        if num_new != round_frames:
            continue
        plan = plan_merges(mean_token(short), merge_to)
        short = plan.average(short)
        long.append(short)
        merges += [(window_index, position) for position in plan.positions]
        num_new = 0
    return CarryOver(torch.cat(long) if long else windows[0][:0], tuple(merges))


def position_table(weight: Tensor, *, num_side: int, share: float = 0.01) -> Tensor:
    """Make n^2 positions out of the first n learned ones: (n or more, D) to (n^2, D).

    `q[i n + j] = a u_i + (1 - a) u_j` with `u_i = (p_i - a p_0) / (1 - a)`: neighbouring slots differ by j mainly.

    Args:
        weight: learned position embedding p.
        num_side: n.
        share: a in (0, 1), other than 0.5.
    """
    if not 1 <= num_side <= len(weight):
        raise ValueError(f"{num_side=} must be in [1, {len(weight)}], the learned positions given")
    base = (weight[:num_side] - share * weight[:1]) / (1 - share)
    return (share * base[:, None] + (1 - share) * base[None]).flatten(0, 1)


def positioned(frames: Tensor, table: Tensor) -> Tensor:
    """Add the k-th slot of the table (n, D) to all tokens of the k-th frame: (L, P, D) to one sequence (1, L P, D).

    Raises:
        ValueError: there are more frames than slots.
    """
    if len(frames) > len(table):
        raise ValueError(f"{len(frames)} frames do not fit the {len(table)} slots of the position table")
    return (frames + table[: len(frames), None]).flatten(0, 1)[None]


def global_sequence(long: Tensor, table: Tensor) -> Tensor:
    """All of long-term memory (L, P, D), with positions: (1, L P, D)."""
    return positioned(long, table)


def breakpoint_sequence(long: Tensor, temp_short: Tensor, current: Tensor, table: Tensor) -> Tensor:
    """What surrounds a moment: long-term memory, the latest fragment unmerged, the frame on display.

    Where the table has too few slots, the oldest of the fragment give way first, then the oldest of long-term memory.
    As in the reference the current frame is left out if there is no long-term memory.

    Args:
        long: (L, P, D). temp_short: (S, P, D). current: (1, P, D). table: (n, D).

    Returns:
        (1, frames P, D).
    """
    num_over = max(0, len(long) + len(temp_short) + 1 - len(table))
    num_short_gone = min(num_over, len(temp_short))
    long = long[num_over - num_short_gone :]
    parts = [long, temp_short[num_short_gone:]] + ([current] if len(long) else [])
    return positioned(torch.cat(parts), table)


def plus_global_sequence(long: Tensor, weight: Tensor) -> Tensor:
    """MovieChat+: a table just large enough for long-term memory, whose oldest frames go if there is none."""
    num_side = min(len(weight), math.ceil(math.sqrt(len(long))))
    return positioned(long[-(num_side**2) :], position_table(weight, num_side=num_side))


@dataclass(frozen=True, slots=True)
class Gate:
    mean_softmax: float
    merge_to: int


def coded_gate(logits: Tensor) -> Gate:
    """MovieChat+'s choice of how many averages to keep, from logits (T,) of one question against T frames.

    The mean of a softmax over T frames is 1 / T: up to 3 frames give 3 averages, from 5 on 1, whatever the
    question; 4 frames lie on the edge and rounding decides.
    """
    mean = float(logits.softmax(0).mean())
    return Gate(mean, 1 if mean < 0.25 else 3)
