"""What goes into the store and what comes out of it: plain values, checked when built."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NewType

import numpy as np

from vidmem.kv.records import Position
from vidmem.types import Answer, Gap, Span, VideoId

if TYPE_CHECKING:
    from torch import Tensor

FrameId = NewType("FrameId", int)
"""Stable number of one committed frame. Grows with every commit and is never given out twice."""

_FILE_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class VideoRow:
    """What is known of a video when its ingest begins.

    `content_id` and `settings_hash` together say "the same content with the same settings": the store holds such a
    pair once. `video_id` names files, so it is 1 to 64 letters, digits, `-` or `_`.
    """

    video_id: VideoId
    content_id: str
    settings_hash: str
    source: str
    name: str
    width: int | None = None
    height: int | None = None
    average_fps: float | None = None
    codec: str | None = None
    pts_offset_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not _FILE_SAFE.fullmatch(self.video_id):
            raise ValueError(f"{self.video_id!r} can't name files: use 1 to 64 letters, digits, '-' or '_'")


@dataclass(frozen=True, slots=True)
class StoredVideo(VideoRow):
    """A video of the store, with how far it was committed."""

    duration_seconds: float | None = None
    """None until the video is finished."""
    is_finished: bool = False
    committed_until: float = 0.0
    """End in seconds of the last committed clip; an ingest that was cut short goes on from here."""
    num_clips: int = 0
    num_frames: int = 0
    added_at: str = ""
    """RFC 3339 with zone, to the microsecond: tells a video from the same one that was removed before it came again."""

    @property
    def key(self) -> tuple[VideoId, str]:
        """What no two videos share, not even one that was removed and the same one ingested again."""
        return self.video_id, self.added_at

    @property
    def has_hours(self) -> bool:
        """Whether its times are written with hours: all of them, once it is an hour long."""
        return max(self.duration_seconds or 0.0, self.committed_until) >= 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class FrameRows:
    """One clip's frames on their way into the store, in time order.

    `pts_seconds` (F,) float64, strictly rising; `embeddings` (F, C) float32 of unit length; `tokens` (F, P, D)
    float16, bfloat16 or float32; `thumbnails` F JPEG files, or none at all. F may be 0: a span in which nothing
    was kept.
    """

    pts_seconds: np.ndarray
    embeddings: np.ndarray
    tokens: Tensor
    thumbnails: Sequence[bytes] = ()

    def __post_init__(self) -> None:
        pts = np.asarray(self.pts_seconds, dtype=np.float64)
        embeddings = np.ascontiguousarray(self.embeddings, dtype=np.float32)
        object.__setattr__(self, "pts_seconds", pts)
        object.__setattr__(self, "embeddings", embeddings)
        num_frames = len(pts)
        if pts.ndim != 1 or embeddings.ndim != 2 or self.tokens.ndim != 3:
            raise ValueError("frames need pts (F,), embeddings (F, C) and tokens (F, P, D)")
        if not len(embeddings) == len(self.tokens) == num_frames:
            raise ValueError(
                f"{num_frames} times, {len(embeddings)} embeddings and {len(self.tokens)} token rows differ"
            )
        if len(self.thumbnails) not in (0, num_frames):
            raise ValueError(f"{len(self.thumbnails)} thumbnails for {num_frames} frames: give one each, or none")
        if not np.isfinite(pts).all() or (np.diff(pts) <= 0).any() or (pts < 0).any():
            raise ValueError("frame times must be finite, not negative and strictly rising")
        length = np.linalg.norm(embeddings, axis=1)
        if not (np.abs(length - 1.0) <= _UNIT_TOLERANCE).all():
            raise ValueError("embeddings must be finite and of unit length")

    def __len__(self) -> int:
        return len(self.pts_seconds)


@dataclass(frozen=True, slots=True)
class LandmarkRow:
    """What internal retrieval looks at, of a few frames in a row: `vidmem.kv.landmarks.Landmarks.to_bytes`."""

    first_frame: int
    """The first one's place in its video, from 0 and with those that have left."""
    num_frames: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClipBlocks:
    """One clip's KV blocks on their way into the store.

    `position` is how far the video's log is durable with them, `block_ids` has the block of each frame. Blocks follow
    each other as frames do; one may hold several frames in a row, but none of another clip.
    """

    position: Position
    block_ids: Sequence[int]
    landmarks: Sequence[LandmarkRow] = ()
    """Of the clip's frames; for those that have none, the blocks are looked into."""

    def follow(self, before: Position) -> bool:
        """Whether they are all that the log holds behind `before`, each held by a frame, in order."""
        return are_in_order(self.block_ids, before.num_blocks, self.position.num_blocks)


@dataclass(frozen=True, slots=True, eq=False)
class NewClip:
    """A clip on its way into the store."""

    span: Span
    """Begins at or after the end of the clip before; time between both is a gap."""
    frames: FrameRows
    blocks: ClipBlocks | None = None
    """In kv mode, what the log in `blocks_folder` holds of this clip, behind those of the clip before."""
    wall_start: float | None = None
    """Of a stream: when the span begins, in seconds since 1970."""
    gap: Gap | None = None
    """Of a stream: what was not seen, between the clip before and this one."""


def are_in_order(block_ids: Sequence[int], start: int, end: int) -> bool:
    """Whether frames that follow each other hold the blocks [start, end): every one, and none that is passed over."""
    return list(block_ids) == sorted(block_ids) and sorted(set(block_ids)) == list(range(start, end))


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A committed frame. It stands for `[pts_seconds, end_seconds)`: up to the next frame, or its clip's end."""

    frame_id: FrameId
    video_id: VideoId
    clip_id: int
    pts_seconds: float
    end_seconds: float
    thumbnail_path: str | None
    block_id: int | None
    """Its KV block; None in tokens mode."""


@dataclass(frozen=True, slots=True)
class FrameHit:
    """A committed frame that a search found; `score` is the inner product with the query, larger is more alike."""

    frame_id: FrameId
    video_id: VideoId
    pts_seconds: float
    end_seconds: float
    score: float
    thumbnail_path: str | None


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """A question that was asked of the store, with its answer and when it was asked (RFC 3339 with zone)."""

    question_id: int
    asked_at: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class StoreState:
    """What the store holds, and the bytes of each part on disk."""

    num_videos: int
    num_clips: int
    num_frames: int
    num_questions: int
    catalogue_bytes: int
    index_bytes: int
    kv_bytes: int
    memory_bytes: int
    thumbs_bytes: int
    """Of the pictures of frames and of objects."""
    num_objects: int = 0

    @property
    def total_bytes(self) -> int:
        return self.catalogue_bytes + self.index_bytes + self.kv_bytes + self.memory_bytes + self.thumbs_bytes
