"""Rotary positions: the angles of a model's keys, and where blocks stand in a context. Pure functions.

Keys are held before RoPE, so a block can stand anywhere: `place` gives every token a position, `Rotary.tables` turns
positions into cosines and sines, `rotate` turns keys and queries by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from vidmem.kv.copies import lift


@dataclass(frozen=True, slots=True, eq=False)
class Rotary:
    """How one model turns positions into angles.

    One rule covers three families. Plain RoPE has one axis. M-RoPE has three (time, height, width) and gives each of
    the D/2 frequencies to one of them: in runs of `sections` frequencies (Qwen2.5-VL), or interleaved (Qwen3-VL: of
    every three frequencies the second goes to height and the third to width, as far as their sections reach, and all
    others to time).
    """

    inv_freq: Tensor
    """(D/2,) float32, radians by position."""
    sections: tuple[int, ...] = ()
    """Frequencies of each axis; () is plain RoPE."""
    interleaved: bool = False
    scaling: float = 1.0
    """Factor on cosine and sine (YaRN's attention scaling); 1 in plain models."""

    def __post_init__(self) -> None:
        if self.inv_freq.ndim != 1 or self.inv_freq.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"inv_freq must be (D/2,) in float32, got {self.inv_freq.dtype} {self.inv_freq.shape}")
        if self.sections and (len(self.sections) != 3 or sum(self.sections) != len(self.inv_freq)):
            raise ValueError(f"sections {self.sections} must be three and sum to {len(self.inv_freq)}, as inv_freq")
        if self.interleaved and not self.sections:
            raise ValueError("interleaved axes need sections")

    @property
    def num_axes(self) -> int:
        return len(self.sections) or 1

    @property
    def head_dim(self) -> int:
        return 2 * len(self.inv_freq)

    def axis_of_frequency(self) -> Tensor:
        """Which axis each of the D/2 frequencies reads: (D/2,) int64.

        Source: transformers' `recomposition_frequencies` of Qwen2.5-VL and Qwen3-VL.
        """
        return _axis_of_frequency(len(self.inv_freq), self.sections, self.interleaved, self.inv_freq.device)

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine (S, D) of integer positions (axes, S), float32, on the device of `inv_freq`.

        The product of position and frequency is rounded to float32 as in the stock models, so that exactness against
        them is possible; it costs accuracy at large positions (0.19 on a unit key at position 1e6). Contexts are
        placed contiguously from 0 for that reason.
        """
        if positions.ndim != 2 or positions.shape[0] != self.num_axes:
            raise ValueError(f"positions must be ({self.num_axes}, S), got {tuple(positions.shape)}")
        by_axis = lift(positions, self.inv_freq.device).to(self.inv_freq.dtype)
        half = by_axis[self.axis_of_frequency()].T * self.inv_freq
        angle = torch.cat((half, half), dim=-1)
        return angle.cos() * self.scaling, angle.sin() * self.scaling


@lru_cache(maxsize=16)
def _axis_of_frequency(count: int, sections: tuple[int, ...], interleaved: bool, device: torch.device) -> Tensor:
    axis = torch.zeros(count, dtype=torch.long)
    if interleaved:
        for index in (1, 2):
            axis[index : 3 * sections[index] : 3] = index
    elif sections:
        axis = torch.arange(3).repeat_interleave(torch.tensor(sections))
    return axis.to(device)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn vectors (..., S, D) by tables (S, D): `x cos + rotate_half(x) sin`, in x's dtype.

    The arithmetic is done in the wider of the two dtypes: float32 tables turn half-precision keys with one rounding.
    """
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return (x * cos + turned * sin).to(x.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Positions (axes, S) of all tokens of a context, and `next`, where the token after them stands on every axis."""

    positions: Tensor
    next: int


def place(patterns: Sequence[Tensor], *, start: int = 0) -> Placement:
    """Put patterns one after another, each shifted as it is, so that the next begins where the last reached.

    One number is the whole state: a pattern moves to `cur` on every axis, then `cur` is its largest position + 1.

    Args:
        patterns: (axes, T) integers each, not negative, counted from the pattern's own start: text is
            `text_positions`, a picture has one time and a grid of rows and columns. Zero patterns give zero tokens of
            one axis.
        start: where the first one goes.

    Source: M-RoPE's rule "largest vision position + 1" as its authors give it, equal to transformers'
        `get_rope_index` for segments of one temporal patch; spec/transformers-kv.md, section 7.
    """
    if not patterns:
        return Placement(torch.zeros(1, 0, dtype=torch.long), start)
    cur, parts = start, []
    for pattern in patterns:
        parts.append(pattern + cur)
        cur += int(pattern.max()) + 1 if pattern.numel() else 0
    return Placement(torch.cat(parts, dim=1), cur)


def text_positions(num_tokens: int, num_axes: int) -> Tensor:
    """The pattern (axes, T) of text: the same 0, 1, 2, ... on every axis."""
    return torch.arange(num_tokens).expand(num_axes, -1)


def grid_positions(rows: int, columns: int) -> Tensor:
    """The pattern (3, rows * columns) of one picture in M-RoPE: time stands still, row and column count, row-major."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack((torch.zeros_like(row), row, column)).flatten(1)
