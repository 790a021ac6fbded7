"""What a store holds, as one value that goes into JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidmem.index import StoreState
from vidmem.kv.tier import TierState
from vidmem.memory import MemoryState
from vidmem.memory import StoreState as LevelState
from vidmem.pipelines.keeping import Keeping
from vidmem.pipelines.watching import WatchState
from vidmem.types import VideoId


@dataclass(frozen=True, slots=True)
class Level:
    """What one of the three stores holds, over all videos."""

    elements: int
    tokens: int
    bytes: int


@dataclass(frozen=True, slots=True)
class VideoState:
    """One video of the store, and its own memory."""

    video_id: VideoId
    name: str
    source: str
    duration_seconds: float
    is_finished: bool
    frames: int
    clips: int
    memory: MemoryState
    begun_at: float | None = None
    """Of a stream: when it began, in seconds since 1970."""
    gaps: int = 0
    """Of a stream: how many stretches of it were not seen."""


@dataclass(frozen=True, slots=True)
class State:
    """What a store holds: in memory, in elements and bytes, and on disk, in bytes by part."""

    path: str
    preset: str
    sensory: Level
    working: Level
    long_term: Level
    videos: tuple[VideoState, ...]
    disk: StoreState
    kv: tuple[TierState, ...]
    """In kv mode the blocks of keys and values by tier: disk, RAM and accelerator. The last two are of this process,
    and there once it was asked something."""
    notices: tuple[str, ...]
    """Sentences on what was found and mended when the store was opened."""
    watching: tuple[WatchState, ...] = ()
    """The streams that this process is watching into the store."""
    keeping: Keeping | None = None
    """How it grows, and what would leave it; None if no stream was watched into it."""


def level_of(levels: Sequence[LevelState]) -> Level:
    """The sum over the memories of several videos."""
    return Level(
        elements=sum(level.num_elements for level in levels),
        tokens=sum(level.num_tokens for level in levels),
        bytes=sum(level.num_bytes for level in levels),
    )
