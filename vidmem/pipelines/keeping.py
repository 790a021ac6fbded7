"""How the streams of a store grow, what would leave them now, and letting it go at rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vidmem.index import Expired, Store, StoreState
from vidmem.pipelines.retention import DAY_SECONDS, Keeper, place_of_now
from vidmem.types import Retention, VideoId


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a store keeps what its streams show, and how large that makes it."""

    retention: Retention
    """What was last said of how long clips are kept."""
    held_seconds: float
    """Of all streams, what clips are there of; without what stayed behind."""
    bytes_an_hour: float
    """By which the store grows for each hour that it watches one of its streams, as it did so far."""
    expired_clips: int
    """That have left."""
    due_clips: int
    """That are older than they may be; some of them may be important and stay behind."""
    due_bytes: int
    """Above what the store may take."""

    def predicted_bytes(self, now_bytes: int, hours: float) -> float:
        """The store's size on disk after so many more hours of watching, of all its streams together."""
        grown = now_bytes + hours * self.bytes_an_hour
        return grown if self.retention.num_bytes is None else min(grown, float(self.retention.num_bytes))


@dataclass(frozen=True, slots=True)
class Pruned:
    """What left a store, and its size on disk before and after."""

    clips: int
    frames: int
    bytes_before: int
    bytes_after: int


def keeping_of(store: Store, retention: Retention | None = None) -> Keeping | None:
    """None if no stream was watched into the store. `retention`: in place of what the store notes."""
    retention = retention or store.retention()
    streams = {one: store.expired(one) for one in store.stream_ids()}
    streams = {one: expired for one, expired in streams.items() if store.stream_clock(one) is not None}
    if not streams:
        return None
    state = store.state()
    growths = [_growth(store, state, one, expired) for one, expired in streams.items()]
    seconds = sum(growth.seconds for growth in growths)
    over = 0 if retention.num_bytes is None else max(0, state.total_bytes - retention.num_bytes)
    return Keeping(
        retention=retention,
        held_seconds=seconds,
        bytes_an_hour=3600.0 * sum(growth.num_bytes for growth in growths) / seconds if seconds else 0.0,
        expired_clips=sum(expired.num_clips for expired in streams.values()),
        due_clips=sum(_too_old(store, one, expired, retention) for one, expired in streams.items()),
        due_bytes=over,
    )


def prune(store: Store, keeper: Keeper, retention: Retention) -> Pruned:
    """Let all go that is not to be kept, and note what is. `keeper` is the store's."""
    before, expired_before = store.state(), _expired(store)
    store.set_retention(retention)
    while keeper.step():
        pass
    store.shrink()
    clips, frames = (now - then for now, then in zip(_expired(store), expired_before, strict=True))
    return Pruned(clips, frames, before.total_bytes, store.state().total_bytes)


@dataclass(frozen=True, slots=True)
class _Growth:
    seconds: float
    num_bytes: float


def _growth(store: Store, state: StoreState, video_id: VideoId, expired: Expired) -> _Growth:
    """Seconds that a stream's clips cover, but for those that stayed behind, and what they take on disk."""
    files, seconds = store.files_bytes(video_id, expired.until, math.inf)
    num_frames = store.num_frames_from(video_id, expired.until)
    rows = num_frames * (state.catalogue_bytes - store.free_bytes()) / max(1, state.num_frames)
    vectors = num_frames * 2 * store.identity.embedding_dim
    return _Growth(seconds, files + rows + vectors + num_frames * _block_bytes(store, video_id, expired))


def _block_bytes(store: Store, video_id: VideoId, expired: Expired) -> float:
    """Of a frame's keys and values: of all blocks that are there, over the frames that they were made of."""
    position = store.blocks_position(video_id)
    num_held = position.num_blocks - expired.begin.block
    frames_ever = store.video(video_id).num_frames + expired.num_frames
    if not num_held or not frames_ever:
        return 0.0
    return sum(store.segment_bytes(video_id).values()) / num_held * position.num_blocks / frames_ever


def _too_old(store: Store, video_id: VideoId, expired: Expired, retention: Retention) -> int:
    """How many clips nobody has looked at yet that are older than they may be."""
    clock = store.stream_clock(video_id)
    if retention.days is None or clock is None:
        return 0
    limit = place_of_now(store, video_id, clock) - retention.days * DAY_SECONDS
    return store.num_clips_between(video_id, expired.until, limit)


def _expired(store: Store) -> tuple[int, int]:
    """Clips and frames that have left all streams."""
    found = [store.expired(one) for one in store.stream_ids()]
    return sum(one.num_clips for one in found), sum(one.num_frames for one in found)
