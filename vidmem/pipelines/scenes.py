"""Scenes of a store's videos, cut out of the embeddings that were committed (docs/decisions/0011-scenes.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class _Cuts:
    """How far a video was cut."""

    stream: SceneStream = field(default_factory=SceneStream)
    after: list[int] = field(default_factory=list)


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
        if known is None or known.stream.num_frames > len(timeline):
            known = _Cuts()
        known.after += self._cut(known.stream, timeline)
        self._known[video.key] = known
        ranges = scene_ranges(known.after, known.stream.num_frames)
        return [_scene(timeline, start, end) for start, end in ranges]

    def stream_of(self, video: StoredVideo) -> SceneStream:
        """What goes on cutting a video behind its last committed frame; the caller's own."""
        stream = SceneStream()
        self._cut(stream, self._timelines.of(video))
        return stream

    def keep_only(self, videos: Iterable[StoredVideo]) -> None:
        """Drop what is known of all other videos: they were removed, here or by another process."""
        for key in self._known.keys() - {video.key for video in videos}:
            del self._known[key]

    def _cut(self, stream: SceneStream, timeline: Timeline) -> list[int]:
        """Take the frames of a video into its stream that it lacks; the frames after which scenes were found to end."""
        cut_after: list[int] = []
        for first in range(stream.num_frames, len(timeline), _FRAMES_AT_ONCE):
            num = min(_FRAMES_AT_ONCE, len(timeline) - first)  # more may have been committed since
            start = float(timeline.pts_seconds[first])
            _, embeddings = self._store.embeddings(timeline.video.video_id, start=start, limit=num)
            cut_after += stream.push(torch.tensor(embeddings))
        return cut_after


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
