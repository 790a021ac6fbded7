"""The memory of one video: sensory, working and long-term stores under one policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.memory.config import MemoryConfig
from vidmem.memory.elements import Elements
from vidmem.memory.long_term import LongTerm
from vidmem.memory.policies import Level, policy
from vidmem.memory.similarity import frame_readout
from vidmem.memory.stores import Store, StoreState, elements_from, fields_of, first_disorder
from vidmem.types import format_time

_NUM_CONSOLIDATED = "long-term.num_consolidated"
"""Frames that have left working memory, (): int64."""


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """What Q queries read of N elements: long-term ones first, then working ones, each in time order."""

    value: Tensor
    """(Q, P, D) float32: affinity-weighted mean of the frames' tokens."""
    affinity: Tensor
    """(N, Q) float32: share of each query that each element got; columns sum to 1."""
    span_seconds: Tensor
    """(N, 2) float64 on the CPU: stretches of time that the elements stand for."""
    num_long_term: int
    """How many of the N are long-term."""

    @property
    def usage(self) -> Tensor:
        """(N,) affinity that the elements received in this read."""
        return self.affinity.sum(dim=1)


@dataclass(frozen=True, slots=True)
class MemoryState:
    """What the three stores hold at a moment."""

    sensory: StoreState
    working: StoreState
    long_term: StoreState

    @property
    def num_bytes(self) -> int:
        return self.sensory.num_bytes + self.working.num_bytes + self.long_term.num_bytes


class Memory:
    """Bounded memory of one video, by frames: keys are frame embeddings, values the frames' tokens.

    After every write: sensory memory holds the newest seconds, working memory at most `working_max_frames` newest
    frames, long-term memory at most as many tokens as `max_elements` frames, in levels if its policy wants that; starts
    never decrease inside a store or level, and long-term memory ends before working memory begins. The same frames give
    the same memory, in however many writes they come (to rounding, where a policy reads on write).
    """

    def __init__(self, config: MemoryConfig | None = None) -> None:
        """Empty. Raises ValueError or TypeError if there is no such policy or it has no such option."""
        self.config = config or MemoryConfig()
        self.policy = policy(self.config.policy, **self.config.policy_options)
        self.sensory = Store("sensory", bound=self.config.sensory_seconds, unit="seconds")
        self.working = _working_store(self.config.working_max_frames + 1, self.config)
        self.long_term = LongTerm(self.config.max_elements)
        self._num_consolidated = 0

    def __len__(self) -> int:
        """Number of elements that a read can reach."""
        return len(self.long_term) + len(self.working)

    def write(self, frames: Elements) -> None:
        """Take in the next frames, in time order. They are copied; usage and life that they bring are not used.

        Sizes, dtypes and device are those of the first write.

        Raises:
            ValueError: sizes differ from before, time runs backwards, or a number is not finite. The memory is as it
                was.
        """
        if not len(frames):
            return
        self._check(frames)
        frames = Elements.fresh(frames.key, frames.value, frames.span_seconds)
        self.long_term.prepare(frames, self.policy.levels(frames.value.shape[1], self.config.max_elements))
        self._overwrite_sensory(frames)
        # One frame beyond the bound triggers consolidation, wherever in a clip it comes: as if written one by one.
        first = 0
        while first < len(frames):
            arriving = frames[first : first + self.config.working_max_frames + 1 - len(self.working)]
            self.working.append(arriving)
            if self.policy.reads_on_write:
                self._read_by_newest(len(arriving))
            if len(self.working) > self.config.working_max_frames:
                self._consolidate()
            first += len(arriving)

    def read(self, query: Tensor) -> Readout:
        """Look queries (Q, C) up, and count the read: each query is one read of every element it could have chosen.

        Raises:
            ValueError: nothing was written yet, or the queries are not (Q, C) or not finite.
        """
        long_term, working = self.long_term, self.working.elements
        if not len(self):
            raise ValueError("this memory is empty: write frames before reading")
        if query.ndim != 2 or query.shape[1] != working.key.shape[1]:
            raise ValueError(f"queries must be (Q, {working.key.shape[1]}) like the keys, got {tuple(query.shape)}")
        finite = query.isfinite().all(1)
        if not bool(finite.all()):
            number = int((~finite).nonzero()[0])
            raise ValueError(f"query {number} of {len(query)} is NaN or infinite: nothing of this read is counted")
        sees_working = self.policy.reads_working or not len(long_term)
        if not sees_working:
            working = working[:0]
        affinity = self.policy.affinity(torch.cat([*long_term.keys, working.key]), query.to(working.key.device))
        of_long_term, of_working = affinity.split([len(long_term), len(working)])
        long_term.touch(of_long_term.sum(dim=1), len(query))
        if sees_working:
            self.working.touch(of_working.sum(dim=1), len(query))
        return Readout(
            value=long_term.readout(of_long_term, working.value.shape[1]) + frame_readout(of_working, working.value),
            affinity=affinity,
            span_seconds=torch.cat([*long_term.spans, working.span_seconds]),
            num_long_term=len(long_term),
        )

    def elements_at(self, element_index: Tensor) -> list[Elements]:
        """Copies of the elements at places (n,) of the N that a read sees, in the order given, each by itself."""
        num_long_term, working = len(self.long_term), self.working.elements
        return [
            self.long_term.at(place) if place < num_long_term else working[torch.tensor([place - num_long_term])]
            for place in element_index.tolist()
        ]

    def touch(self, span_seconds: Tensor) -> None:
        """Count reads that happened elsewhere, such as evidence found by an index.

        Args:
            span_seconds: (n, 2), half-open. Each counts as one query, shared by the elements that overlap it.
        """
        spans = torch.cat([*self.long_term.spans, self.working.elements.span_seconds])
        wanted = span_seconds.to("cpu", torch.float64)
        overlaps = (spans[:, None, 0] < wanted[None, :, 1]) & (wanted[None, :, 0] < spans[:, None, 1])
        shares = overlaps / overlaps.sum(dim=0).clamp(min=1)
        usage = shares.sum(dim=1).to(self.working.elements.usage)
        self._count(usage, torch.full_like(usage, len(wanted)))

    def state(self) -> MemoryState:
        """What each store holds, in elements, tokens, bytes and seconds."""
        return MemoryState(self.sensory.state(), self.working.state(), self.long_term.state())

    def state_dict(self) -> dict[str, Tensor]:
        """All that is held, as copies named `STORE.FIELD`; goes into one safetensors file."""
        tensors = {
            f"{name}.{field}": tensor.clone(memory_format=torch.contiguous_format)
            for name, store in self._stores().items()
            for field, tensor in fields_of(store.elements).items()
        }
        return tensors | {_NUM_CONSOLIDATED: torch.tensor(self._num_consolidated)}

    @classmethod
    def from_state_dict(cls, config: MemoryConfig, state: Mapping[str, Tensor], *, bounded: bool = True) -> Memory:
        """The memory that `state_dict` came from; it goes on as the original would.

        Without `bounded` a memory that holds more than `config` allows is taken as it is: only to look at it.

        Raises:
            ValueError: a tensor is missing or misshapen, or a store holds more than `config` allows.
        """
        memory = cls(config)
        working = elements_from(state, "working.")
        if not len(working):
            return memory
        levels = memory.policy.levels(working.value.shape[1], config.max_elements)
        held = [elements_from(state, f"long-term.{number}.") for number in range(len(levels))]
        if bounded:
            _check_bounds(config, working, held, levels)
        memory.working = _working_store(max(len(working), config.working_max_frames + 1), config)
        memory.long_term.prepare(working, levels, list(map(len, held)))
        parts = [elements_from(state, "sensory."), working, *held]
        for store, elements in zip(memory._stores().values(), parts, strict=True):
            store.append(elements)
        memory._num_consolidated = int(state[_NUM_CONSOLIDATED])
        return memory

    def _stores(self) -> dict[str, Store]:
        """By the names that they have in `state_dict`."""
        levels = {f"long-term.{number}": store for number, store in enumerate(self.long_term.stores)}
        return {"sensory": self.sensory, "working": self.working, **levels}

    def _check(self, frames: Elements) -> None:
        newest = self.working.elements
        if len(newest) and (frames.key.shape[1:], frames.value.shape[1:]) != (
            newest.key.shape[1:],
            newest.value.shape[1:],
        ):
            raise ValueError(
                f"frames have keys {tuple(frames.key.shape[1:])} and tokens {tuple(frames.value.shape[1:])}, this "
                f"memory has {tuple(newest.key.shape[1:])} and {tuple(newest.value.shape[1:])}: one memory takes the "
                "frames of one encoder"
            )
        not_before = float(newest.span_seconds[-1, 0]) if len(newest) else 0.0
        wrong_index = first_disorder(frames.span_seconds, not_before)
        if wrong_index is not None:
            start, end = frames.span_seconds[wrong_index].tolist()
            raise ValueError(
                f"frame {wrong_index} of {len(frames)} spans [{start}, {end}) s, but spans must not start before the "
                f"one before (the memory is at {format_time(not_before)}, {not_before} s): time runs forward only"
            )

        # One sum of each tensor tells whether all numbers are finite, without a mask as large as the tensor.
        if not bool(torch.stack([frames.key.float().sum(), frames.value.float().sum()]).isfinite().all()):
            finite = frames.key.isfinite().all(1) & frames.value.isfinite().flatten(1).all(1)
            if not bool(finite.all()):
                raise ValueError(
                    f"frame {int((~finite).nonzero()[0])} of {len(frames)} has an embedding or tokens that are NaN or "
                    "infinite: nothing of this write is kept"
                )

    def _overwrite_sensory(self, frames: Elements) -> None:
        oldest_start = float(frames.span_seconds[-1, 1]) - self.config.sensory_seconds
        num_old_gone = int((self.sensory.elements.span_seconds[:, 0] < oldest_start).sum())
        self.sensory.drop_oldest(num_old_gone)
        num_new_gone = int((frames.span_seconds[:-1, 0] < oldest_start).sum())
        self.sensory.append(frames[num_new_gone:])

    def _read_by_newest(self, num_new: int) -> None:
        """Let each of the newest working frames query all elements before it, and count that as reads."""
        key = torch.cat([*self.long_term.keys, self.working.elements.key])
        place = torch.arange(len(key), device=key.device)
        readable = place[:, None] < place[None, -num_new:]
        affinity = self.policy.affinity(key, key[-num_new:], readable)
        self._count(affinity.sum(dim=1), readable.sum(dim=1))

    def _count(self, usage: Tensor, life: Tensor) -> None:
        """Add usage (N,) and life (N,) to the long-term elements followed by the working ones."""
        num_long_term = len(self.long_term)
        self.long_term.touch(usage[:num_long_term], life[:num_long_term])
        self.working.touch(usage[num_long_term:], life[num_long_term:])

    def _consolidate(self) -> None:
        """Move all but the newest `working_min_frames` frames into long-term memory, as the policy decides."""
        num_leaving = len(self.working) - self.config.working_min_frames
        leaving, long_term = self.working.elements[:num_leaving], self.long_term
        long_term.apply(self.policy.consolidate(leaving, long_term.held, long_term.levels, self._num_consolidated))
        self.working.drop_oldest(num_leaving)
        self._num_consolidated += num_leaving


def _working_store(max_rows: int, config: MemoryConfig) -> Store:
    return Store("working", bound=config.working_max_frames, unit="frames", max_rows=max_rows)


def _check_bounds(config: MemoryConfig, working: Elements, held: Sequence[Elements], levels: Sequence[Level]) -> None:
    """Raise ValueError if a saved memory is not one of these settings."""
    counts = [("working frames", len(working), config.working_max_frames)]
    counts += [("long-term elements", len(one), level.max_elements) for one, level in zip(held, levels, strict=True)]
    for what, num, num_allowed in counts:
        if num > num_allowed:
            raise ValueError(
                f"the saved memory holds {num} {what}, these settings allow {num_allowed}: open it with the settings "
                "it was made with"
            )
