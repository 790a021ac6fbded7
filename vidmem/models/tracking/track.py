"""One object's pathways, and the memory that each holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple

from torch import Tensor

from vidmem.memory.tracking.selection import Choice, Reading, S, Selection
from vidmem.models.tracking.bank import Bank, Place
from vidmem.models.tracking.pool import SlotPool


@dataclass(frozen=True, slots=True)
class Held:
    """Which slot of the pools holds which frame's memory and pointer. Pathways with the same past share one."""

    slots: Mapping[int, int] = field(default_factory=dict)
    pointer_slots: Mapping[int, int] = field(default_factory=dict)

    def place(self, reading: Reading) -> Place:
        return Place(
            reading,
            [self.slots[frame] for frame in reading.frames],
            [self.pointer_slots[frame] for frame in reading.pointer_frames],
        )

    def adding(self, frame: int, slot: int, pointer_slot: int) -> Held:
        return Held({**self.slots, frame: slot}, {**self.pointer_slots, frame: pointer_slot})


@dataclass(frozen=True, slots=True)
class Pathway(Generic[S]):
    """One hypothesis of what the object did."""

    state: S
    held: Held


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What is shown of an object on the present frame."""

    low_res: Tensor
    """Logits (1, 1, h, w)."""
    iou: float
    object_score: float


Picks = Sequence[tuple[Choice[Any], int]]
"""An object's choices on a frame, and which of `Chosen.keys` each took."""


@dataclass(slots=True, eq=False)
class Track(Generic[S]):
    """One object. Changed by the tracker alone."""

    object_id: int
    before: tuple[Pathway[S], ...] = ()
    """The pathways before the present frame, the shown one first; () for an object that is new on it."""
    after: tuple[Pathway[S], ...] = ()
    """The pathways with the present frame."""
    shown: Shown | None = None
    initial: bool = False
    """The present frame was prompted without memory, so that more prompts on it don't use any either."""
    parent: int = 0
    """Index in `before` of the pathway that is shown."""
    lost_since: float | None = None
    _slots: set[int] = field(default_factory=set)
    _pointer_slots: set[int] = field(default_factory=set)

    def own(self, slots: Iterable[int], pointer_slots: Iterable[int]) -> None:
        """Note slots that were filled for this object."""
        self._slots.update(slots)
        self._pointer_slots.update(pointer_slots)

    def take(self, frame: int, picks: Picks, slots: Sequence[int], pointer_slots: Sequence[int]) -> None:
        """Go on with what was chosen on the present frame; the slots are those of all `Chosen.keys`."""
        helds: dict[int, Held] = {}
        for choice, at in picks:
            if at not in helds:
                helds[at] = self.before[choice.pathway].held.adding(frame, slots[at], pointer_slots[at])
        self.after = tuple(Pathway(choice.state, helds[at]) for choice, at in picks)
        self.parent = picks[0][0].pathway
        self.own((slots[at] for at in helds), (pointer_slots[at] for at in helds))

    def settle(self, selection: Selection[S], bank: Bank) -> None:
        """Close the present frame: forget what no pathway may read on later ones."""
        kept: dict[int, Held] = {}
        for pathway in self.after:
            if id(pathway.held) not in kept:
                kept[id(pathway.held)] = _kept(pathway, selection)
        self.before = self.after = tuple(Pathway(p.state, kept[id(p.held)]) for p in self.after)
        self.shown, self.initial, self.parent = None, False, 0
        self._free(bank, kept.values())

    def leave(self, bank: Bank) -> None:
        """Give all memory back."""
        self._free(bank, ())

    def _free(self, bank: Bank, kept: Iterable[Held]) -> None:
        helds = list(kept)
        _release(bank.memories, self._slots, [held.slots for held in helds])
        _release(bank.pointers, self._pointer_slots, [held.pointer_slots for held in helds])


class Key(NamedTuple):
    """One thing that was taken on a frame."""

    run: int
    """Index of the network's run."""
    candidate: int
    binarise: bool


class Chosen:
    """What the objects took on one frame; what several pathways took alike is there once."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.picks: list[tuple[Track[Any], Picks]] = []

    def add(self, track: Track[Any], run_of: Sequence[int], choices: Sequence[Choice[Any]]) -> None:
        """Note an object's choices; `run_of` says which run of the network each of its pathways was."""
        picks = []
        for choice in choices:
            key = Key(run_of[choice.pathway], choice.candidate, choice.binarise)
            if key not in self.keys:
                self.keys.append(key)
            picks.append((choice, self.keys.index(key)))
        self.picks.append((track, picks))


def _kept(pathway: Pathway[S], selection: Selection[S]) -> Held:
    kept, held = selection.kept(pathway.state), pathway.held
    return Held(
        {frame: slot for frame, slot in held.slots.items() if frame in kept.frames},
        {frame: slot for frame, slot in held.pointer_slots.items() if frame in kept.pointer_frames},
    )


def _release(pool: SlotPool, owned: set[int], kept: Sequence[Mapping[int, int]]) -> None:
    gone = owned.difference(*(slots.values() for slots in kept))
    pool.free(gone)
    owned -= gone
