"""Scenes of a store's videos, cut out of the embeddings that were committed (docs/decisions/0011-scenes.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from vidmem.index import Store, StoredVideo
from vidmem.memory.scenes import SceneStream, scene_ranges
from vidmem.pipelines.timeline import Timeline, Timelines
from vidmem.types import VideoId

_FRAMES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Scene:
    """A stretch `[start, end)` of a video between two changes of what it shows, in seconds of its own timeline."""

    video_id: VideoId
    source: str
    start: float
    end: float
    frames: int
    """Frames that were kept of it."""
    shown_at: float
    """When the frame is that stands for it: the one in the middle."""
    thumbnail: str | None
    """That frame's picture."""
    is_open: bool
    """Whether its end is only how far the video was ingested: it may go on, or be cut before that."""


class SceneStarts:
    """Cuts a video as its frames come, and tells scenes by the time of their first frame: places change when frames
    leave."""

    def __init__(self, until: float = -1.0) -> None:
        """`until`: frames up to this time are not looked at."""
        self.stream = SceneStream()
        self.until = until
        """Time of the last frame that was taken."""
        self._open: list[float] = []
        """Times of the frames of the scene that has not ended, as far as it is known."""

    def push(self, pts_seconds: np.ndarray, embeddings: np.ndarray) -> list[float]:
        """Take the next frames, times (n,) and embeddings (n, C); when the scenes begin that were found by them."""
        begun = self.stream.num_frames - len(self._open)
        self._open += pts_seconds.tolist()
        cuts = self.stream.push(torch.tensor(embeddings))
        starts = [self._open[cut + 1 - begun] for cut in cuts if cut + 1 - begun < len(self._open)]
        del self._open[: self.stream.scene_start - begun]
        self.until = float(pts_seconds[-1]) if len(pts_seconds) else self.until
        return starts


@dataclass(slots=True)
class _Cuts:
    """How far a video was cut."""

    stream: SceneStarts = field(default_factory=SceneStarts)
    starts: list[float] = field(default_factory=list)


class Scenes:
    """Finds the scenes of any video of a store, as far as it was committed.

    They follow from the frames' embeddings, so nothing of them is stored. A frame is looked at once: later calls add
    what was committed since.
    """

    def __init__(self, store: Store, timelines: Timelines) -> None:
        self._store, self._timelines = store, timelines
        self._known: dict[tuple[VideoId, str], _Cuts] = {}

    def of(self, video: StoredVideo) -> list[Scene]:
        """A video's scenes, which cover it in the order of time; none while it has no frame."""
        timeline = self._timelines.of(video)
        known = self._known.pop(video.key, None)
        if known is None or known.stream.until > timeline.last_seconds:
            known = _Cuts()
        known.starts += self._cut(known.stream, timeline)
        self._known[video.key] = known
        firsts = np.unique(np.searchsorted(timeline.pts_seconds, known.starts)).tolist()
        num_frames = int(np.searchsorted(timeline.pts_seconds, known.stream.until, side="right"))
        ranges = scene_ranges([first - 1 for first in firsts if first], num_frames)
        return [_scene(timeline, start, end) for start, end in ranges]

    def stream_of(self, video: StoredVideo) -> SceneStream:
        """What goes on cutting a video behind its last committed frame; the caller's own."""
        starts = SceneStarts()
        self._cut(starts, self._timelines.of(video))
        return starts.stream

    def keep_only(self, videos: Iterable[StoredVideo]) -> None:
        """Drop what is known of all other videos: they were removed, here or by another process."""
        for key in self._known.keys() - {video.key for video in videos}:
            del self._known[key]

    def _cut(self, stream: SceneStarts, timeline: Timeline) -> list[float]:
        """Take the frames of a video into its stream that it lacks; when the scenes begin that were found."""
        starts: list[float] = []
        while stream.until < timeline.last_seconds:
            after = max(0.0, math.nextafter(stream.until, math.inf))
            pts, embeddings = self._store.embeddings(timeline.video.video_id, start=after, limit=_FRAMES_AT_ONCE)
            known = int(np.searchsorted(pts, timeline.last_seconds, side="right"))  # more may have come, or have left
            if not known:
                break
            starts += stream.push(pts[:known], embeddings[:known])
        return starts


def _scene(timeline: Timeline, start: int, end: int) -> Scene:
    """The scene of the frames at places [start, end)."""
    middle = (start + end) // 2
    return Scene(
        video_id=timeline.video.video_id,
        source=timeline.video.source,
        start=float(timeline.pts_seconds[start]),
        end=float(timeline.end_seconds[end - 1]),
        frames=end - start,
        shown_at=float(timeline.pts_seconds[middle]),
        thumbnail=timeline.thumbnails[middle],
        is_open=end == len(timeline) and not timeline.video.is_finished,
    )
