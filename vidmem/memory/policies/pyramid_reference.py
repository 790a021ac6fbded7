"""The pyramid memory bank of VideoChat-Online as its code has it, where the policy does otherwise.

Entries are token grids (C, side, side). Ours to look at are the levels; the reference hands all entries, by time and
each with a text that names its frame, to a projector and the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.memory.pyramid import Neighbours, directions_of, level_at, resize, space_to_channels


def coded_ratios(num_frames: int, intervals: Sequence[int], ratios: Sequence[int] = (1, 2, 4)) -> list[int]:
    """By how much the frames of one call shrink before they are written. Frames that no interval divides are left out
    of the list, so that it is too short."""
    levels = (level_at(position, intervals) for position in range(num_frames))
    return [ratios[level] for level in levels if level is not None]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One frame in the bank."""

    frame_index: int
    grid: Tensor
    """(C, side, side)."""

    @property
    def tokens(self) -> Tensor:
        """(side^2, C), row by row."""
        return self.grid.flatten(1).T


class CodedBank:
    """Levels of entries; from a full one the more redundant frame goes down.

    As coded: only a frame written to a level itself pushes another down, so that what is pushed out by one coming down
    is lost; a capacity of 0 is no bound; what comes down joins the end of its level, so that a level is not in order of
    time and neighbours are neighbours in the list.
    """

    def __init__(self, capacities: Sequence[int], num_tokens: Sequence[int] = (256, 64, 16)) -> None:
        """Empty.

        Args:
            capacities: entries of each level, from 2 on (there is no pair to choose from with 1), or 0 for no bound.
            num_tokens: tokens of an entry of each level, squares, no two the same.
        """
        if len(capacities) != len(num_tokens):
            raise ValueError(f"{len(num_tokens)} levels need as many capacities, got {len(capacities)}")
        if any(capacity < 0 or capacity == 1 for capacity in capacities):
            raise ValueError(f"capacities={tuple(capacities)} must be 2 or more, or 0 for no bound")
        self._capacities = tuple(capacities)
        self._sides = [round(num**0.5) for num in num_tokens]
        self._directions: dict[int, Tensor] = {}
        self._levels = [Neighbours(self._directions) for _ in num_tokens]
        self._entries: dict[int, Entry] = {}
        self._num_inserted = 0

    def write(self, frame: Tensor, frame_index: int, ratio: int) -> list[int]:
        """Take in a frame (C, side, side), made smaller by `ratio`: places in their levels of what it pushed out.

        Raises:
            ValueError: no level has the size that the frame comes to.
        """
        side = frame.shape[-1] // ratio
        if side not in self._sides:
            raise ValueError(f"a frame of {side} x {side} tokens fits no level: they have sides {self._sides}")
        return self._insert(self._sides.index(side), Entry(frame_index, resize(frame, side)), is_written=True)

    def _insert(self, number: int, entry: Entry, *, is_written: bool) -> list[int]:
        level, places = self._levels[number], []
        if 0 < self._capacities[number] <= len(level):
            places.append(level.most_redundant())
            old = level.remove(places[0])
            evicted = self._entries.pop(old)
            del self._directions[old]
            if is_written and number + 1 < len(self._levels):
                places += self._insert(number + 1, evicted, is_written=False)
        grid = resize(entry.grid, self._sides[number], mode="bilinear").clone()
        self._entries[self._num_inserted] = Entry(entry.frame_index, grid)
        self._directions[self._num_inserted] = directions_of(grid.double().mean(dim=(1, 2)))
        level.append(self._num_inserted)
        self._num_inserted += 1
        return places

    @property
    def levels(self) -> list[list[Entry]]:
        """The entries of each level, in the order of its list."""
        return [[self._entries[number] for number in level.entries] for level in self._levels]

    def read(self) -> list[Entry]:
        """All entries by time; of one frame's the one of the highest resolution first."""
        entries = [entry for level in self.levels for entry in level]
        return sorted(entries, key=lambda entry: entry.frame_index)


def write_video(
    bank: CodedBank, patches: Tensor, *, intervals: Sequence[int] = (8, 4, 1), first_index: int = 0, chunk: int = 1000
) -> None:
    """Write frames of patches (T, 2 H, 2 W, d) from an image encoder; positions start again at 0 with each chunk.

    Raises:
        ValueError: the last interval is not 1, so that some frames would have no level.
    """
    if intervals[-1] != 1:
        raise ValueError(f"the last of intervals={tuple(intervals)} must be 1, or frames are left without a level")
    grids = space_to_channels(patches).movedim(-1, 1)
    for start in range(0, len(grids), chunk):
        part = grids[start : start + chunk]
        for place, (grid, ratio) in enumerate(zip(part, coded_ratios(len(part), intervals), strict=True)):
            bank.write(grid, first_index + start + place, ratio)


def tokens_of(entries: Sequence[Entry]) -> Tensor:
    """The tokens of at least one entry, one after another: (n, C)."""
    return torch.cat([entry.tokens for entry in entries])
