"""A pyramid of resolutions: which level a frame enters, how it shrinks, and which one of a level goes down.

Source: the pyramid memory bank of VideoChat-Online (arXiv 2501.00584) and its code.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def space_to_channels(grid: Tensor, factor: int = 2) -> Tensor:
    """Halve both sides of grids (..., H, W, C) without loss: (..., H / factor, W / factor, factor^2 C).

    A cell's channels are those of its `factor`^2 patches one after another, row by row.

    Raises:
        ValueError: a side is no multiple of `factor`.
    """
    height, width, channels = grid.shape[-3:]
    if height % factor or width % factor:
        raise ValueError(f"the sides of a grid of {height} x {width} must be multiples of {factor=}")
    cells = grid.unflatten(-2, (width // factor, factor)).unflatten(-4, (height // factor, factor))
    return cells.transpose(-4, -3).reshape(*grid.shape[:-3], height // factor, width // factor, factor**2 * channels)


def level_at(position: int, intervals: Sequence[int]) -> int | None:
    """Level that the frame at a position of the stream enters: the first whose interval divides it, None if none does.

    With 1 as the last interval every frame enters some level; (8, 4, 1) sends one frame of eight to the first.
    """
    return next((level for level, interval in enumerate(intervals) if position % interval == 0), None)


def resize(grid: Tensor, side: int, *, mode: Literal["area", "bilinear"] = "area") -> Tensor:
    """Bring token grids (..., C, H, W) to (..., C, side, side), computed in float32 for half precision.

    Args:
        mode: "area" means that a token is the mean of those it stands for; "bilinear" samples between the nearest
            ones, which is the same from a side to half of it, and passes over half of the tokens or more beyond.
    """
    if grid.shape[-2:] == (side, side):
        return grid
    images = grid.flatten(0, -4) if grid.ndim > 3 else grid.unsqueeze(0)
    images = images.to(torch.promote_types(grid.dtype, torch.float32))
    if mode == "area":
        images = functional.adaptive_avg_pool2d(images, side)
    else:
        images = functional.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
    return images.to(grid.dtype).reshape(*grid.shape[:-2], side, side)


def directions_of(means: Tensor) -> Tensor:
    """Vectors (..., C) at length 1, zeros as they are, in float64 on the CPU."""
    means = means.to("cpu", torch.float64)
    return means / means.norm(dim=-1, keepdim=True).clamp(min=1e-12)


class Neighbours:
    """The entries of one level in order, and the cosine of each with the next, kept up to date: two new ones a change.

    Entries are numbers; their tokens lie elsewhere. Cosines are rounded, so that copies of one frame tie exactly
    whatever their numbers, and the first of equals is found on every device.
    """

    def __init__(self, directions: Tensor | Mapping[int, Tensor], entries: Sequence[int] = ()) -> None:
        """Begin with `entries`, in order.

        Args:
            directions: of the mean token of each entry by its number, as `directions_of` gives them: rows of a tensor,
                or a mapping that may change outside. Not copied.
        """
        self.entries = list(entries)
        self._directions = directions
        self._similarities: list[float] = []
        if len(self.entries) > 1:
            self._similarities = _similarities(directions, self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def similarities(self) -> tuple[float, ...]:
        """Of each entry with the next."""
        return tuple(self._similarities)

    def append(self, entry: int) -> None:
        """Add an entry at the end."""
        self._insert(len(self.entries), entry)

    def insert(self, entry: int) -> None:
        """Add an entry at the place that its number has in ascending order, behind its equals."""
        self._insert(bisect(self.entries, entry), entry)

    def _insert(self, place: int, entry: int) -> None:
        self.entries.insert(place, entry)
        if len(self.entries) > 1:
            self._similarities.insert(min(place, len(self._similarities)), 0.0)
        self._compare(place - 1)
        self._compare(place)

    def most_redundant(self) -> int:
        """Place of the earlier one of the two neighbours that are most alike, of the first such; 0 of a single one."""
        return self._similarities.index(max(self._similarities)) if self._similarities else 0

    def remove(self, place: int) -> int:
        """Take out an entry: its number."""
        entry = self.entries.pop(place)
        if self._similarities:
            del self._similarities[min(place, len(self._similarities) - 1)]
        self._compare(place - 1)
        return entry

    def _compare(self, place: int) -> None:
        """Bring the similarity of the entries at `place` and after it up to date, if there are both."""
        if 0 <= place < len(self._similarities):
            left, right = (self._directions[entry] for entry in self.entries[place : place + 2])
            # A product and a sum, not `dot`: BLAS may add in another order for another memory alignment.
            self._similarities[place] = round(float((left * right).sum()), 12)


def _similarities(directions: Tensor | Mapping[int, Tensor], entries: list[int]) -> list[float]:
    if isinstance(directions, Tensor):
        rows = directions[torch.tensor(entries)]
    else:
        rows = torch.stack([directions[entry] for entry in entries])
    return [round(product, 12) for product in (rows[1:] * rows[:-1]).sum(1).tolist()]
