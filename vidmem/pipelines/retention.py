"""What leaves the streams of a store, and when: by age, by bytes, and later where something happened.

The oldest clips leave first. A clip that is due is looked at once: if it is important it stays behind, else it leaves.
Important is a clip that an answer cites, in which a key moment of an object lies, or a scene begins. What stayed behind
leaves, oldest first, when it is older than `important_days`, or while the store is too large and it takes more than
half of what the store may.

What was asked and told goes the same way: with the age of what is important, and it is bounded beside the bytes.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import takewhile

from vidmem.errors import NotFound
from vidmem.index import Expired, HeldClip, Store, StreamClock
from vidmem.pipelines.finding import WEAK
from vidmem.pipelines.scenes import SceneStarts
from vidmem.types import Retention, Span, VideoId

NEWEST_CLIPS = 256
"""Of each stream, so many always stay: the memory's state, which is committed with every 32nd clip, and the window of
the model are made again from them."""
CLIPS_AT_ONCE = 64
"""In one transaction: what ingest waits for is some ten milliseconds."""
_FILLED = 0.95
"""Of the bytes allowed, above which clips leave: the rest is for what comes meanwhile, and for a new index file."""
_BEHIND = 0.5
"""Of the bytes allowed, what important clips may take that stayed behind."""
_SAID = 10_000
"""So many answered questions are kept, and alerts: each step looks for citations in them."""
_BYTES_FOR_EACH_SAID = 100_000
"""Of the bytes allowed: an answer with its evidence takes some thousand."""
_CITED_SECONDS = 60.0
"""A stretch that an answer cites counts for so long: of hours in which a thing stood still, the first minute."""
_AHEAD_SECONDS = 10.0
"""A change of scene is known a frame or a few later."""
_FRAMES_AT_ONCE = 256
DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Leaving:
    """One step: clips that leave a stream, and up to where all of them were looked at."""

    video_id: VideoId
    clip_ids: tuple[int, ...]
    until: float


@dataclass(frozen=True, slots=True, eq=False)
class _Stream:
    video_id: VideoId
    clock: StreamClock
    expired: Expired
    newest: float
    """When the clips begin that always stay."""


class Keeper:
    """Lets go of what a store's streams are not to keep, as the store notes it, a step at a time.

    A store has one: two that take a step at the same time would let the same clips go.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._scenes: dict[VideoId, tuple[SceneStarts, list[float]]] = {}
        self._lock = threading.Lock()

    def step(self) -> bool:
        """Let a few clips go if some are due; whether there may be more to do. For any thread.

        Raises StorageFull and StoreCorrupt.
        """
        with self._lock:
            retention = self._store.retention()
            if not retention.is_bounded:
                return False
            try:
                leaving = self._due(retention)
                if leaving is not None:
                    self._store.expire(leaving.video_id, leaving.clip_ids, leaving.until)
                else:
                    self._forget_said(retention)
            except NotFound:
                return True  # somebody removed the stream meanwhile
            has_more = self._store.give_back()
        return has_more or leaving is not None

    def _forget_said(self, retention: Retention) -> None:
        allowed = _SAID if retention.num_bytes is None else min(_SAID, retention.num_bytes // _BYTES_FOR_EACH_SAID)
        self._store.forget_said(retention.important_days or retention.days, allowed)

    def _due(self, retention: Retention) -> Leaving | None:
        streams = self._streams()
        for stream in streams:
            if (leaving := self._too_old(stream, retention)) is not None:
                return leaving
        return self._too_much(streams, retention.num_bytes)

    def _streams(self) -> list[_Stream]:
        found = []
        for video_id in self._store.stream_ids():
            clock = self._store.stream_clock(video_id)
            if clock is not None:
                newest = self._store.start_of_newest(video_id, NEWEST_CLIPS)
                found.append(_Stream(video_id, clock, self._store.expired(video_id), newest))
        return found

    def _too_old(self, stream: _Stream, retention: Retention) -> Leaving | None:
        if retention.days is None:
            return None
        now = place_of_now(self._store, stream.video_id, stream.clock)
        limit = now - retention.days * DAY_SECONDS
        important_limit = now - (retention.important_days or retention.days) * DAY_SECONDS
        front = self._front(stream)
        old = list(takewhile(lambda clip: clip.span.end <= limit, front))
        if old:
            kept = self._important(stream, old) if important_limit < limit else set()
            return Leaving(stream.video_id, _others(old, kept), old[-1].span.end)
        behind = self._store.held_clips(stream.video_id, 0.0, stream.expired.until, CLIPS_AT_ONCE)
        old = list(takewhile(lambda clip: clip.span.end <= important_limit, behind))
        return Leaving(stream.video_id, _others(old), stream.expired.until) if old else None

    def _too_much(self, streams: Sequence[_Stream], allowed: int | None) -> Leaving | None:
        if allowed is None:
            return None
        state = self._store.state()
        over = state.total_bytes - self._store.free_bytes() - _FILLED * allowed
        if over <= 0:
            return None
        row_bytes = state.catalogue_bytes // max(1, state.num_frames)
        behind_bytes = sum(self._store.files_bytes(one.video_id, 0.0, one.expired.until)[0] for one in streams)
        fronts = [
            (one.clock.wall_at(clips[0].span.start), one, clips) for one in streams if (clips := self._front(one))
        ]
        if fronts and behind_bytes <= _BEHIND * allowed:
            _, stream, clips = min(fronts, key=lambda front: front[0])
            return self._passing(stream, clips, over, row_bytes)
        return self._from_behind(streams, over, row_bytes)

    def _passing(self, stream: _Stream, clips: Sequence[HeldClip], over: float, row_bytes: int) -> Leaving:
        """As many of a stream's oldest clips as make room enough, the important ones left behind."""
        important, sizes = self._important(stream, clips), self._store.segment_bytes(stream.video_id)
        freed, segment, passed = 0, stream.expired.begin.segment, 0
        for clip in clips:
            if freed >= over:
                break
            passed += 1
            if clip.clip_id not in important:
                freed += clip.num_bytes + clip.num_frames * row_bytes
            if clip.log_segment is not None and clip.log_segment > segment:
                freed += sum(sizes.get(number, 0) for number in range(segment, clip.log_segment))
                segment = clip.log_segment
        return Leaving(stream.video_id, _others(clips[:passed], important), clips[passed - 1].span.end)

    def _from_behind(self, streams: Sequence[_Stream], over: float, row_bytes: int) -> Leaving | None:
        """The oldest of the clips that stayed behind; None if there is none."""
        behind = [
            (one.clock.wall_at(clips[0].span.start), one, clips)
            for one in streams
            if (clips := self._store.held_clips(one.video_id, 0.0, one.expired.until, CLIPS_AT_ONCE))
        ]
        if not behind:
            return None
        _, stream, clips = min(behind, key=lambda one: one[0])
        freed, gone = 0, 0
        while gone < len(clips) and freed < over:
            freed += clips[gone].num_bytes + clips[gone].num_frames * row_bytes
            gone += 1
        return Leaving(stream.video_id, _others(clips[:gone]), stream.expired.until)

    def _front(self, stream: _Stream) -> list[HeldClip]:
        """The oldest clips that nobody has looked at yet, but for the newest."""
        return self._store.held_clips(stream.video_id, stream.expired.until, stream.newest, CLIPS_AT_ONCE)

    # -- what is important --

    def _important(self, stream: _Stream, clips: Sequence[HeldClip]) -> set[int]:
        """Ids of those of some clips in a row in which something happened."""
        start, end = clips[0].span.start, clips[-1].span.end
        shown = self._store.shown_spans(stream.video_id, start, end, but=WEAK)
        happened = [Span(span.start, min(span.end, span.start + _CITED_SECONDS)) for span in shown]
        happened += [Span(begun, begun) for begun in self._scene_starts(stream, end)]
        return {clip.clip_id for clip in clips if any(_meet(span, clip.span) for span in happened)}

    def _scene_starts(self, stream: _Stream, until: float) -> list[float]:
        """When scenes begin that nobody has looked at yet, at least up to a time."""
        video_id, begun = stream.video_id, stream.expired.until
        cuts, starts = self._scenes.setdefault(video_id, (SceneStarts(begun), []))
        while cuts.until < until + _AHEAD_SECONDS:
            after = math.nextafter(cuts.until, math.inf) if cuts.stream.num_frames else cuts.until
            pts, embeddings = self._store.embeddings(video_id, start=after, limit=_FRAMES_AT_ONCE)
            if not len(pts):
                break
            starts += cuts.push(pts, embeddings)
        starts[:] = [start for start in starts if start >= begun]
        return starts


class Upkeep:
    """What a watch does for its store between clips: a `Keeper`'s step every so many of them, or after each one while
    there is more to do."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper, self._num_clips, self._has_more = keeper, 0, True

    def committed(self, num_clips: int) -> bool:
        """After so many clips were committed; whether a step was done."""
        self._num_clips += num_clips
        if not self._has_more and self._num_clips < CLIPS_AT_ONCE:
            return False
        self._num_clips, self._has_more = 0, self._keeper.step()
        return True


def place_of_now(store: Store, video_id: VideoId, clock: StreamClock) -> float:
    """Where a stream's timeline would be by now: ages are counted back from there.

    Not by its times of day: a clock that was wrong for a while and is set right would make clips older at a stroke than
    they are, and what has left is lost. The timeline goes on over that. The clock says only what has passed since the
    newest clip, which is nothing where it was set back or a file is played fast.
    """
    newest = store.video(video_id).committed_until
    return newest + max(0.0, time.time() - clock.wall_at(newest))


def _others(clips: Sequence[HeldClip], kept: AbstractSet[int] = frozenset()) -> tuple[int, ...]:
    return tuple(clip.clip_id for clip in clips if clip.clip_id not in kept)


def _meet(span: Span, clip: Span) -> bool:
    """A moment meets the clip that it lies in."""
    return span.start < clip.end and (span.end > clip.start or span.start >= clip.start)
