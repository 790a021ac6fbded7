"""Bounded lists of frames, and what every selection of SAM 2's kind reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from vidmem.memory.tracking.selection import Limits, Reading

T = TypeVar("T")

MAX_PROMPTED = 8
"""Prompted frames that are remembered where the network sets no limit, so that memory stays bounded."""


def newest(items: tuple[T, ...], item: T, num_kept: int) -> tuple[T, ...]:
    """Append to a list in time order that holds at most `num_kept`."""
    return (*items, item)[-num_kept:] if num_kept else ()


def with_prompt(prompts: tuple[int, ...], frame: int, num_prompts: int) -> tuple[int, ...]:
    """Add a prompted frame to those in time order, of which `num_prompts` stay: the first and the newest others."""
    if not prompts or frame in prompts:
        return prompts or (frame,)
    others = (*prompts[1:], frame)
    return (prompts[0], *others[max(0, len(others) - num_prompts + 1) :])


def without(frames: tuple[int, ...], frame: int) -> tuple[int, ...]:
    return tuple(other for other in frames if other != frame)


def ranked_rows(num_others: int) -> tuple[int, ...]:
    """Rows of memories in time order by rank, whatever lies between them: the newest gets row 0."""
    return tuple(range(num_others - 1, -1, -1))


def reading(
    frame: int, prompts: Sequence[int], others: Sequence[int], pointers: Sequence[int], limits: Limits
) -> Reading:
    """Prompts first, all in the last row; then others in time order, by rank; pointers newest first, by distance.

    Args:
        pointers: in time order; those too far back are left out.
    """
    pointed: list[int] = []
    if limits.num_pointers:
        pointed += [prompt for prompt in prompts if prompt < frame]
        pointed += [other for other in reversed(pointers) if frame - other < limits.num_pointers]
    return Reading(
        frames=(*prompts, *others),
        rows=(limits.num_memories - 1,) * len(prompts) + ranked_rows(len(others)),
        pointer_frames=tuple(pointed),
        distances=tuple(frame - index for index in pointed),
    )


def num_prompts(limits: Limits, max_prompted: int) -> int:
    """Prompted frames that are remembered, and all read."""
    return max_prompted if limits.max_conditioning < 0 else max(1, min(limits.max_conditioning, max_prompted))


def num_recent(limits: Limits) -> int:
    """Frames before the present one whose pointers may be read."""
    return max(limits.num_pointers - 1, 0)
