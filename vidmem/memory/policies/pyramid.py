"""Pyramid memory bank: a few frames at full resolution, more of them coarser; what is redundant goes down a level.

Source: VideoChat-Online (arXiv 2501.00584) and its code, whose own forms are the functions of `pyramid_reference`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.policies.baselines import fresh
from vidmem.memory.policies.policy import Change, FramePolicy, Level
from vidmem.memory.pyramid import Neighbours, directions_of, level_at
from vidmem.memory.resolution import resampled


@dataclass(frozen=True, slots=True)
class Pyramid(FramePolicy):
    """Keep frames at several resolutions; the position of a frame in the stream says at which one it enters.

    A level that is full sends one frame down to make room: of the two neighbours that are most alike the earlier one.
    What is sent down from the last level is forgotten.

    Where we differ from the code: a frame that comes down pushes another one down in its turn (there it is lost); a
    level stays in time order, so that neighbours are neighbours in time (there what comes down joins the end); a level
    that holds nothing is passed over (there it has no bound); positions count through the whole stream (there anew
    with each chunk); coarser tokens are means of what they cover (there four in sixteen are looked at).
    """

    name: ClassVar[str] = "pyramid"
    source: ClassVar[str] = "VideoChat-Online, arXiv 2501.00584"
    intervals: tuple[int, ...] = (8, 4, 1)
    """A frame enters the first level whose interval divides its position. The last one is 1, so that each enters."""
    ratios: tuple[int, ...] = (1, 2, 4)
    """By how much both sides of a frame's grid of tokens shrink in each level."""
    shares: tuple[int, ...] = (8, 2, 3)
    """Parts of long-term memory's tokens that each level gets; 0 for none. The default are the 2, 2 and 12 frames of
    256, 64 and 16 tokens that the reference streams with."""

    def __post_init__(self) -> None:
        FramePolicy.__post_init__(self)
        if not len(self.intervals) == len(self.ratios) == len(self.shares):
            raise ValueError(f"{self.intervals=}, {self.ratios=} and {self.shares=} must be of the same levels")
        if min(self.intervals, default=0) < 1 or self.intervals[-1] != 1:
            raise ValueError(f"intervals={self.intervals} must be above 0 and end with 1, so that every frame has one")
        if min(self.ratios) < 1:
            raise ValueError(f"ratios={self.ratios} must be at least 1")
        if min(self.shares) < 0 or not any(self.shares):
            raise ValueError(f"shares={self.shares} must be 0 or more, and not all 0")

    def levels(self, num_tokens: int, max_elements: int) -> tuple[Level, ...]:
        budget, total = num_tokens * max_elements, sum(self.shares)
        sizes = [_num_tokens(num_tokens, ratio) for ratio in self.ratios]
        counts = [budget * share // total // size for share, size in zip(self.shares, sizes, strict=True)]
        # What is too little for one more element of its level goes to the last one.
        last = max(number for number, share in enumerate(self.shares) if share)
        left = budget - sum(count * size for count, size in zip(counts, sizes, strict=True))
        counts[last] += left // sizes[last]
        return tuple(Level(size, count) for size, count in zip(sizes, counts, strict=True))

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        stock = _Stock((*held, fresh(leaving)))
        members = [stock.numbers_of(part) for part in range(len(held))]
        chains = [Neighbours(stock.directions, numbers) for numbers in members]
        for place, number in enumerate(stock.numbers_of(len(held))):
            entry = level_at(first_index + place, self.intervals)
            assert entry is not None, "the last interval divides every position"
            self.send_down(number, chains[entry:], levels[entry:])
        return tuple(
            _change(stock, set(old), chain.entries, level.num_tokens)
            for old, chain, level in zip(members, chains, levels, strict=True)
        )

    def send_down(self, number: int, chains: Sequence[Neighbours], levels: Sequence[Level]) -> None:
        """Put an entry into the first level that holds any; what makes room goes into the next one, and so on."""
        for chain, level in zip(chains, levels, strict=True):
            if not level.max_elements:
                continue
            evicted = chain.remove(chain.most_redundant()) if len(chain) == level.max_elements else None
            chain.insert(number)
            if evicted is None:
                return
            number = evicted


def _num_tokens(num_tokens: int, ratio: int) -> int:
    """Tokens of a frame that shrinks by `ratio` on both sides, at least 1."""
    side = math.isqrt(num_tokens)
    if side * side == num_tokens:
        return max(1, side // ratio) ** 2
    return max(1, num_tokens // ratio**2)


class _Stock:
    """All elements that may be kept, in parts; an element's number is its place in the time order of all."""

    def __init__(self, parts: tuple[Elements, ...]) -> None:
        self.parts = parts
        starts = torch.cat([part.span_seconds[:, 0] for part in parts])
        # Stable, so that the elements of one part have ascending numbers whatever starts at the same time.
        order = starts.argsort(stable=True)
        lengths = torch.tensor([len(part) for part in parts])
        self._part = torch.arange(len(parts)).repeat_interleave(lengths)[order]
        self._place = torch.cat([torch.arange(len(part)) for part in parts])[order]
        self._numbers = order.argsort().split(lengths.tolist())
        means = torch.cat([part.value.float().mean(1) for part in parts])
        self.directions = directions_of(means.cpu()[order])

    def numbers_of(self, part: int) -> list[int]:
        """Of the elements of a part, in their order."""
        numbers: list[int] = self._numbers[part].tolist()
        return numbers

    def places_of(self, numbers: Sequence[int]) -> Tensor:
        """Where in their parts these elements are."""
        return self._place[torch.tensor(numbers, dtype=torch.int64)]

    def take(self, numbers: Sequence[int], num_tokens: int) -> Elements:
        """Copies of the elements of these ascending numbers, at `num_tokens` tokens each."""
        index = torch.tensor(numbers, dtype=torch.int64)
        part, place = self._part[index], self._place[index]
        taken = [resampled(elements[place[part == number]], num_tokens) for number, elements in enumerate(self.parts)]
        return Elements.cat(taken)[part.argsort(stable=True).argsort()]


def _change(stock: _Stock, old: set[int], entries: list[int], num_tokens: int) -> Change:
    """What makes `entries` of a level that holds the `old` ones: it keeps what comes before the first new one."""
    kept = list(takewhile(old.__contains__, entries))
    return Change(stock.take(entries[len(kept) :], num_tokens), stock.places_of(kept))
