"""Long-term memory: a store for each level of resolution that its policy asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.policies import Change, Level
from vidmem.memory.resolution import resample
from vidmem.memory.similarity import frame_readout
from vidmem.memory.stores import Store, StoreState


class LongTerm:
    """Levels of elements, the first one's before the second's wherever all are told in one row."""

    def __init__(self, max_elements: int) -> None:
        """No levels until the first frames come (`prepare`). `max_elements` is room for so many whole frames."""
        self._max_elements = max_elements
        self.levels: tuple[Level, ...] = ()
        self.stores: tuple[Store, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.stores))

    @property
    def held(self) -> tuple[Elements, ...]:
        """What each level holds, as views that hold until the next write."""
        return tuple(store.elements for store in self.stores)

    @property
    def keys(self) -> list[Tensor]:
        """(n, C) of each level, as views."""
        return [elements.key for elements in self.held]

    @property
    def spans(self) -> list[Tensor]:
        """(n, 2) of each level, as views."""
        return [elements.span_seconds for elements in self.held]

    @property
    def elements(self) -> Elements:
        """All elements, where there is one level or none."""
        assert len(self.stores) <= 1, f"{len(self.stores)} levels have no common size"
        return self.held[0] if self.stores else Elements.empty(0, 0, 0)

    def prepare(self, like: Elements, levels: Sequence[Level], num_rows: Sequence[int] | None = None) -> None:
        """Make the levels for frames like these, unless that was done before.

        `num_rows` are elements that each level has to take even where that is more than it may hold.
        """
        if not self.stores:
            rows = num_rows or [0] * len(levels)
            self.levels = tuple(levels)
            self.stores = tuple(_store_of(level, like, num) for level, num in zip(levels, rows, strict=True))

    def apply(self, changes: Sequence[Change]) -> None:
        """Make of each level what a policy has decided."""
        for store, change in zip(self.stores, changes, strict=True):
            if change.kept is not None:
                store.keep(change.kept)
            store.append(change.gained)

    def at(self, place: int) -> Elements:
        """A copy of the element at a place, counted through all levels."""
        for elements in self.held:
            if place < len(elements):
                return elements[torch.tensor([place])]
            place -= len(elements)
        raise IndexError(place)

    def readout(self, affinity: Tensor, num_tokens: int) -> Tensor:
        """Affinity-weighted sum over (N, Q) of all elements: (Q, num_tokens, D) float32, coarse tokens repeated."""
        parts = affinity.split([len(store) for store in self.stores])
        levels = zip(parts, self.held, strict=True)
        return torch.stack([resample(frame_readout(part, held.value), num_tokens) for part, held in levels]).sum(0)

    def touch(self, usage: Tensor, life: Tensor | float) -> None:
        """Add to the usage (N,) and the life (N,) or scalar of all elements."""
        first = 0
        for store in self.stores:
            rows = slice(first, first + len(store))
            store.touch(usage[rows], life[rows] if isinstance(life, Tensor) else life)
            first = rows.stop

    def state(self) -> StoreState:
        """What all levels hold together."""
        states = [store.state() for store in self.stores]
        return StoreState(
            name="long-term",
            num_elements=sum(state.num_elements for state in states),
            num_tokens=sum(state.num_tokens for state in states),
            num_bytes=sum(state.num_bytes for state in states),
            num_reserved_bytes=sum(state.num_reserved_bytes for state in states),
            bound=sum(level.max_elements for level in self.levels) or self._max_elements,
            unit="elements",
            oldest_seconds=min(starts) if (starts := _known(state.oldest_seconds for state in states)) else None,
            newest_seconds=max(ends) if (ends := _known(state.newest_seconds for state in states)) else None,
        )


def _store_of(level: Level, like: Elements, num_rows: int) -> Store:
    bound = level.max_elements
    store = Store("long-term", bound=bound, unit="elements", max_rows=max(bound, num_rows))
    no_values = like.value[:0, :1].expand(0, level.num_tokens, -1)
    store.prepare(Elements.fresh(like.key[:0], no_values, like.span_seconds[:0]))
    return store


def _known(times: Iterable[float | None]) -> list[float]:
    return [time for time in times if time is not None]
