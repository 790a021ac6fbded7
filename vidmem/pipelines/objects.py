"""Objects that a store remembers: listing them, finding them by words, and saying where they were last seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vidmem.errors import StoreCorrupt
from vidmem.index import ObjectId, Origin, Store, StoredObject, StoredVideo, Track
from vidmem.index.objects import Box
from vidmem.pipelines.object_matching import MAX_OBJECTS, alike, is_named, place_in_words
from vidmem.pipelines.question import search_phrases
from vidmem.types import Hit, Span, VideoId

_CALLED = "called"


@dataclass(frozen=True, slots=True)
class RememberedObject:
    """An object that was followed, times in seconds of its video."""

    object_id: ObjectId
    video_id: VideoId
    source: str
    label: str
    """What it is called; "" if nobody knows."""
    label_score: float
    """How sure that is; 1 for what a person says."""
    origin: Origin
    """Whether somebody pointed at it (`asked`), or it was found."""
    spans: tuple[Span, ...]
    """In which it was seen, half-open and in the order of time."""
    tracked_from: float | None
    tracked_until: float | None
    """Time of the last frame that was looked at, whether it was seen there or not."""
    thumbnail: str | None
    """A picture of it."""
    score: float | None = None
    """Of a search: how much it looks like the words; None if it was not searched for by its looks."""
    why: str = ""
    """Of a search: why it was found."""

    @property
    def is_named(self) -> bool:
        """Of a search: whether it was found by what it is called."""
        return self.why.startswith(_CALLED)

    @property
    def last_seen(self) -> float | None:
        """End of the last span; None if it was never seen."""
        return self.spans[-1].end if self.spans else None


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where something was last seen."""

    what: str
    """What was looked for, or the object's label."""
    video_id: VideoId
    source: str
    seen_from: float
    """Begin, in seconds of its video, of the last stretch in which it was seen."""
    last_seen: float
    """End of that stretch."""
    place: str | None
    """In words, such as `top left`; None if only a frame is known that shows it."""
    box: Box | None
    """Left, top, right, bottom as fractions of the frame."""
    thumbnail: str | None
    still_there: bool
    """Whether it was seen on the last frame that was looked at."""
    from_track: bool
    """Whether an object was followed; if not, a search of frames found this."""
    object: RememberedObject | None = None
    wall_seen_from: float | None = None
    """Of a stream: when `seen_from` was, in seconds since 1970."""
    wall_last_seen: float | None = None


class Objects:
    """The objects of one store. Reads only."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self, videos: Sequence[StoredVideo]) -> list[RememberedObject]:
        """Those of some videos, in the order they came."""
        sources = {video.video_id: video.source for video in videos}
        return [_remembered(found, sources) for found in self._store.objects(list(sources))]

    def find(
        self, text: str, videos: Sequence[StoredVideo], embed: Callable[[str], np.ndarray], *, floor: float
    ) -> list[RememberedObject]:
        """Those that some words name, best first: by their label, then by their looks.

        Args:
            embed: words as a vector (C,), of the encoder that the store was made with.
            floor: cosine similarity below which looks are no match.
        """
        known = {found.object_id: found for found in self.all(videos)}
        if not known:
            return []
        phrase = (*search_phrases(text), text)[0]
        hits = self._store.search_objects(embed(phrase), MAX_OBJECTS, [video.video_id for video in videos])
        scores = {hit.object_id: hit.score for hit in hits}
        named = [found.object_id for found in known.values() if is_named(found.label, text)]
        named.sort(key=lambda object_id: (-known[object_id].label_score, -scores.get(object_id, -math.inf)))
        found = [(object_id, f"{_CALLED} {known[object_id].label!r}") for object_id in named]
        found += [
            (object_id, f"looks like {phrase!r}") for object_id in alike(hits, floor=floor) if object_id not in named
        ]
        return [replace(known[object_id], score=scores.get(object_id), why=why) for object_id, why in found]

    def where(self, found: RememberedObject) -> Whereabouts | None:
        """Where an object was last seen; None if it never was. No place is told if its track is damaged, and the store
        notices that."""
        if not found.spans:
            return None
        last, clock = found.spans[-1], self._store.stream_clock(found.video_id)
        try:
            track = self._store.track_of(found.object_id, start=last.start, end=math.nextafter(last.end, math.inf))
        except StoreCorrupt as error:
            self._store.notice(str(error))
            track = Track.empty()
        seen = np.flatnonzero(track.is_seen)
        newest = float(track.seconds[seen[-1]]) if len(seen) else None
        box = track.box(seen[-1]) if len(seen) else None
        return Whereabouts(
            what=found.label,
            video_id=found.video_id,
            source=found.source,
            seen_from=last.start,
            last_seen=last.end,
            place=None if box is None else place_in_words(box),
            box=box,
            thumbnail=found.thumbnail,
            still_there=newest is not None and newest == found.tracked_until,
            from_track=True,
            object=found,
            wall_seen_from=clock.wall_at(last.start) if clock else None,
            wall_last_seen=clock.wall_at(last.end) if clock else None,
        )


def latest(found: Sequence[RememberedObject], videos: Sequence[StoredVideo]) -> RememberedObject | None:
    """Of the objects that a search found, the one that was seen last in the last video; None if none was ever seen.

    Those that are called so go before those that look so.
    """
    order = {video.video_id: index for index, video in enumerate(videos)}
    named = [one for one in found if one.is_named]
    seen = [one for one in named or found if one.spans]
    return max(seen, key=lambda one: (order[one.video_id], one.spans[-1].end), default=None)


def where_of_frames(hits: Sequence[Hit], what: str, videos: Sequence[StoredVideo]) -> Whereabouts | None:
    """Where something was last seen by the stretches that show it: the last one in the last video."""
    order = {video.video_id: index for index, video in enumerate(videos)}
    last = max(hits, key=lambda hit: (order[hit.video_id], hit.end), default=None)
    if last is None:
        return None
    return Whereabouts(
        what=what,
        video_id=last.video_id,
        source=last.source,
        seen_from=last.start,
        last_seen=last.end,
        place=None,
        box=None,
        thumbnail=last.thumbnail,
        still_there=last.end >= videos[order[last.video_id]].committed_until,
        from_track=False,
        wall_seen_from=last.wall_start,
        wall_last_seen=last.wall_end,
    )


def _remembered(found: StoredObject, sources: dict[VideoId, str]) -> RememberedObject:
    return RememberedObject(
        object_id=found.object_id,
        video_id=found.video_id,
        source=sources[found.video_id],
        label=found.label,
        label_score=found.label_score,
        origin=found.origin,
        spans=found.spans,
        tracked_from=found.tracked_from,
        tracked_until=found.tracked_until,
        thumbnail=found.thumbnail_path,
    )
