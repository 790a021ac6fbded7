"""Where a video's committed frames lie in time, in arrays, so that recall does not ask the catalogue frame by frame."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np

from vidmem.index import Expired, FrameId, FrameRow, Store, StoredVideo, StreamClock
from vidmem.pipelines.time_of_day import Times
from vidmem.types import Span, VideoId


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """All committed frames of one video in time order; a frame's index in these is its *place*."""

    video: StoredVideo
    pts_seconds: np.ndarray
    """(n,) float64, rising."""
    end_seconds: np.ndarray
    """(n,) float64: until when each frame stands."""
    frame_ids: tuple[FrameId, ...]
    clip_ids: tuple[int, ...]
    thumbnails: tuple[str | None, ...]
    block_ids: np.ndarray
    """(n,) int64: the KV block of each frame, by its place among the m blocks of these frames: from 0 and rising by 0
    or 1. Of no use in tokens mode."""
    clip_of_block: tuple[int, ...]
    """The clip of each block: no block holds frames of two."""
    clock: StreamClock | None = None
    """Of a stream, time of day along it."""
    log_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """(m,) int64: each block's id in the video's log. The same as its place, where nothing has left."""
    expired: Expired = Expired()
    """What has left."""

    def __len__(self) -> int:
        return len(self.frame_ids)

    @property
    def duration_seconds(self) -> float:
        """The video's length, as far as it was committed."""
        return max(self.video.committed_until, float(self.end_seconds[-1]) if len(self) else 0.0)

    @property
    def times(self) -> Times:
        """How places on it are written."""
        until = self.duration_seconds
        return Times(hours=until >= 3600, clock=self.clock, until=until)

    @property
    def last_seconds(self) -> float:
        """Time of the newest frame; before all if there is none."""
        return float(self.pts_seconds[-1]) if len(self) else -1.0

    def span_of(self, place: int) -> Span:
        """The stretch that a frame stands for."""
        return Span(float(self.pts_seconds[place]), float(self.end_seconds[place]))

    @property
    def num_blocks(self) -> int:
        """How many blocks these frames have."""
        return int(self.block_ids[-1]) + 1 if len(self) else 0

    def blocks_of(self, log_ids: Sequence[int]) -> list[int]:
        """Places of blocks of these frames, by their ids in the log."""
        return np.searchsorted(self.log_ids, np.asarray(log_ids, np.int64)).tolist()

    def places_in(self, block_id: int) -> range:
        """The places of the frames that a block holds."""
        return range(*np.searchsorted(self.block_ids, (block_id, block_id + 1)).tolist())

    def span_of_block(self, block_id: int) -> Span:
        """The stretch that a block's frames stand for."""
        places = self.places_in(block_id)
        return Span(float(self.pts_seconds[places[0]]), float(self.end_seconds[places[-1]]))

    def is_in_gap(self, seconds: float) -> bool:
        """Whether this is a stream, and nothing was seen of it then."""
        return self.clock is not None and any(gap.start <= seconds < gap.end for gap in self.clock.gaps)

    def has_expired(self, seconds: float) -> bool:
        """Whether what was seen then has left."""
        if not 0 <= seconds < self.expired.until or self.is_in_gap(seconds):
            return False
        place = int(np.searchsorted(self.pts_seconds, seconds, side="right")) - 1
        return place < 0 or float(self.end_seconds[place]) <= seconds

    def without(self, expired: Expired, stays: np.ndarray) -> Timeline:
        """The same without the frames that have left: `stays` (n,) is True for all others."""
        blocks, block_ids = np.unique(self.block_ids[stays], return_inverse=True)
        return replace(
            self,
            pts_seconds=self.pts_seconds[stays],
            end_seconds=self.end_seconds[stays],
            frame_ids=tuple(compress(self.frame_ids, stays)),
            clip_ids=tuple(compress(self.clip_ids, stays)),
            thumbnails=tuple(compress(self.thumbnails, stays)),
            block_ids=block_ids.astype(np.int64),
            clip_of_block=tuple(self.clip_of_block[block] for block in blocks.tolist()),
            log_ids=self.log_ids[blocks],
            expired=expired,
        )

    def place_of(self, pts_seconds: float) -> int:
        """The place of the frame with exactly this time; the last, if that one was committed since this was read."""
        return min(int(np.searchsorted(self.pts_seconds, pts_seconds)), len(self) - 1)


class Timelines:
    """Timelines of a store's videos. Each is read once; later reads only add what was committed since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[VideoId, Timeline] = {}

    def of(self, video: StoredVideo) -> Timeline:
        known = self._known.get(video.video_id)
        if known is not None and known.video.added_at != video.added_at:
            known = None  # removed and ingested again: all its frames are others
        expired = self._store.expired(video.video_id)
        if known is None:
            known = Timeline(video, np.empty(0), np.empty(0), (), (), (), np.empty(0, np.int64), (), expired=expired)
        elif known.expired != expired:
            known = self._without_expired(known, expired)
        if len(known) and len(known) == video.num_frames:
            return known if known.video == video else self._keep(_extended(known, video, [], known.clock))
        since = float(known.pts_seconds[-1]) if len(known) else -1.0
        rows = self._store.frames_between(video.video_id, max(0.0, since), sys.float_info.max)
        clock = self._store.stream_clock(video.video_id)
        return self._keep(_extended(known, video, [row for row in rows if row.pts_seconds > since], clock))

    def _without_expired(self, known: Timeline, expired: Expired) -> Timeline:
        behind = self._store.frame_ids_before(known.video.video_id, expired.until)
        stays = (known.pts_seconds >= expired.until) | np.isin(np.array(known.frame_ids, np.int64), behind)
        return known.without(expired, stays)

    def keep_only(self, videos: Iterable[StoredVideo]) -> None:
        """Drop the timelines of all other videos: they were removed, here or by another process."""
        for video_id in self._known.keys() - {video.video_id for video in videos}:
            del self._known[video_id]

    def _keep(self, timeline: Timeline) -> Timeline:
        self._known[timeline.video.video_id] = timeline
        return timeline


def _extended(known: Timeline, video: StoredVideo, rows: list[FrameRow], clock: StreamClock | None) -> Timeline:
    log_id = int(known.log_ids[-1]) if known.num_blocks else -1
    block_ids, log_ids, clip_of_block = [], [], []
    for row in rows:
        own = log_id + 1 if row.block_id is None else row.block_id
        if own != log_id:
            log_ids.append(own)
            clip_of_block.append(row.clip_id)
            log_id = own
        block_ids.append(known.num_blocks + len(log_ids) - 1)
    return Timeline(
        video,
        np.concatenate([known.pts_seconds, [row.pts_seconds for row in rows]]),
        np.concatenate([known.end_seconds, [row.end_seconds for row in rows]]),
        (*known.frame_ids, *(row.frame_id for row in rows)),
        (*known.clip_ids, *(row.clip_id for row in rows)),
        (*known.thumbnails, *(row.thumbnail_path for row in rows)),
        np.concatenate([known.block_ids, np.array(block_ids, np.int64)]),
        (*known.clip_of_block, *clip_of_block),
        clock,
        np.concatenate([known.log_ids, np.array(log_ids, np.int64)]),
        known.expired,
    )
