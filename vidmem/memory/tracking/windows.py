"""Bounded lists of records, and what every strategy of SAM 2's kind reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from vidmem.memory.tracking.strategy import Attention, Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a tracker reads at once. The defaults are those of SAM 2's released models."""

    num_memories: int = 7
    """Rows of the learned temporal table: one prompt and as many less one other frames are read."""
    num_pointers: int = 16
    """Object pointers that are read: one prompt's and as many less one others."""
    num_prompts: int = 8
    """Prompted frames that are kept: the first and the newest. SAM 2 keeps all."""

    def __post_init__(self) -> None:
        if self.num_memories < 2 or self.num_pointers < 2 or self.num_prompts < 1:
            raise ValueError(f"a tracker reads at least a prompt and one other frame, got {self}")


def newest(items: tuple[T, ...], item: T, num_kept: int) -> tuple[T, ...]:
    """Append to a list in time order that holds at most `num_kept`."""
    return (*items, item)[-num_kept:]


def with_prompt(prompts: tuple[int, ...], frame_index: int, num_prompts: int) -> tuple[int, ...]:
    """Add a prompted frame to the prompts in time order: the first stays, and the newest others."""
    if not prompts or frame_index in prompts:
        return prompts or (frame_index,)
    others = (*prompts[1:], frame_index)
    return (prompts[0], *others[max(0, len(others) - num_prompts + 1) :])


def ranked_rows(num_others: int) -> tuple[int, ...]:
    """Rows of memories in time order by rank, whatever lies between them: the newest gets row 0."""
    return tuple(range(num_others - 1, -1, -1))


def attention(
    frame_index: int,
    prompts: Sequence[int],
    others: Sequence[int],
    rows: Sequence[int],
    pointers: Sequence[int],
    sizes: Sizes,
) -> Attention:
    """Prompts first, all in the last row; then other frames in time order; pointers newest first, by true distance."""
    told = [prompt for prompt in prompts if prompt < frame_index]
    pointed = told + [other for other in reversed(pointers) if frame_index - other < sizes.num_pointers]
    return Attention(
        memories=tuple(Record(index) for index in (*prompts, *others)),
        rows=(sizes.num_memories - 1,) * len(prompts) + tuple(rows),
        pointers=tuple(Record(index) for index in pointed),
        distances=tuple(frame_index - index for index in pointed),
    )


def records(frame_indices: Sequence[int]) -> frozenset[Record]:
    return frozenset(Record(index) for index in frame_indices)
