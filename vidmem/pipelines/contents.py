"""What the memory of one video holds, element by element: for people to look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from vidmem.memory import Elements, Memory, MemoryState
from vidmem.memory.plane import on_plane
from vidmem.pipelines.timeline import Timeline
from vidmem.types import VideoId


@dataclass(frozen=True, slots=True)
class Held:
    """One element of memory: a frame, or what was made of many. Times are seconds of the video."""

    start: float
    end: float
    shown_at: float
    """When the frame is that stands for it: of a stretch, the one in its middle."""
    thumbnail: str | None
    """That frame's picture."""
    frames: float
    """How many frames it was made of: their weights, over its tokens' mean."""
    usage: float
    """How many of the reads since it was written went to it, in shares of reads."""
    life: float
    """How many reads there were since it was written."""
    level: int = 0
    """Of long-term memory, the level of resolution that it lies on; 0 is the policy's first."""
    place: tuple[float, float] | None = None
    """Of long-term memory, where it lies on a map of all its elements (`vidmem.memory.plane.on_plane`)."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What the three stores hold of one video, each in the order of time; long-term memory level by level."""

    video_id: VideoId
    name: str
    policy: str
    until: float
    """How far the video was committed, in seconds."""
    num_frames: int
    """Frames that were committed, whether any store still holds them or not."""
    sensory: tuple[Held, ...]
    working: tuple[Held, ...]
    long_term: tuple[Held, ...]
    num_levels: int
    """Of long-term memory."""
    state: MemoryState
    """The stores' bounds and bytes."""

    @property
    def num_consolidated(self) -> int:
        """Frames that have left working memory."""
        return self.num_frames - len(self.working)


def contents_of(memory: Memory, timeline: Timeline) -> Contents:
    """What a memory holds of the video whose frames these are. Reads only."""
    levels = memory.long_term.held
    places = on_plane(torch.cat(memory.long_term.keys)) if levels else torch.zeros(0, 2)
    of_level = places.split([len(level) for level in levels]) if levels else ()
    return Contents(
        video_id=timeline.video.video_id,
        name=timeline.video.name,
        policy=memory.policy.name,
        until=timeline.duration_seconds,
        num_frames=len(timeline),
        sensory=tuple(_held(memory.sensory.elements, timeline)),
        working=tuple(_held(memory.working.elements, timeline)),
        long_term=tuple(
            one
            for number, (elements, where) in enumerate(zip(levels, of_level, strict=True))
            for one in _held(elements, timeline, number, where.tolist())
        ),
        num_levels=len(levels),
        state=memory.state(),
    )


def _held(
    elements: Elements, timeline: Timeline, level: int = 0, places: list[list[float]] | None = None
) -> Iterable[Held]:
    spans = elements.span_seconds.tolist()
    frames = elements.weight.float().mean(dim=1).tolist() if len(elements) else []
    usage, life = elements.usage.tolist(), elements.life.tolist()
    for index, (start, end) in enumerate(spans):
        frame = _frame_of(timeline, start, end)
        yield Held(
            start=start,
            end=end,
            shown_at=float(timeline.pts_seconds[frame]),
            thumbnail=timeline.thumbnails[frame],
            frames=frames[index],
            usage=usage[index],
            life=life[index],
            level=level,
            place=None if places is None else (places[index][0], places[index][1]),
        )


def _frame_of(timeline: Timeline, start: float, end: float) -> int:
    """The frame on display in the middle of a stretch, which begins with a frame."""
    first, last = np.searchsorted(timeline.pts_seconds, [start, (start + end) / 2], side="right") - 1
    return int(np.clip(last, max(first, 0), len(timeline) - 1))
