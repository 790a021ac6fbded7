"""The remembered objects on the page, as a small model that its page draws (`object_view.html`, `.css`, `.js`).

All here is pure: out of what is remembered of objects come a list, and for each of them the boxes that are drawn over
the player.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vidmem.index import Track
from vidmem.pipelines import RememberedObject
from vidmem.types import Span, format_span, format_time
from vidmem.ui.jobs import JobState
from vidmem.ui.pictures import common_folder

if TYPE_CHECKING:
    from vidmem.pipelines.stored_tracking import TrackedObject

TOLERANCE = 0.004
"""Of the frame's side, by which a box between two that are sent may be off: two pixels of a player."""
SPANS = 12
"""Stretches that are listed of one object, at most; the rest are told by their number."""
_UNNOTICED_SECONDS = 0.1
NAMES = {"follow": "Following what you pointed at", "find": "Looking for objects", "forget": "Forgetting an object"}
"""What jobs on objects are called, by their kinds."""


@dataclass(frozen=True)
class Seen:
    """An object with its track."""

    remembered: RememberedObject
    track: Track | None
    """None if it is damaged."""

    @cached_property
    def boxes(self) -> list[list[float]]:
        """Time, left, top, right, bottom of each box that is sent; only the time where it is not seen."""
        track = self.track
        if track is None:
            return []
        return [
            [round(float(track.seconds[place]), 3), *(round(float(side), 4) for side in track.boxes[place])]
            if track.is_seen[place]
            else [round(float(track.seconds[place]), 3)]
            for place in thinned(track)
        ]


def object_view(objects: Sequence[Seen], jobs: Sequence[JobState], *, video: str, hours: bool) -> dict[str, Any]:
    """What the page draws, in JSON's types.

    Args:
        video: what names the video; another one is another view.
        jobs: those of `NAMES` on the video, the newest last.
    """
    folder = common_folder(one.remembered.thumbnail for one in objects)
    return {
        "video": video,
        "hours": hours,
        "thumbnails": folder,
        "objects": [_told(one, len(folder), hours) for one in objects],
        "jobs": [_job(job) for job in jobs],
    }


def lost(done: TrackedObject) -> list[str]:
    """That an object was lost and when, in a sentence, if it did not come back."""
    if not done.changes or done.changes[-1].kind != "lost":
        return []
    seconds = done.changes[-1].seconds
    return [f"{done.label or f'Object {done.object_id}'} is lost at {format_time(seconds)} and did not come back."]


def thinned(track: Track, tolerance: float = TOLERANCE) -> np.ndarray:
    """The places of the boxes that are enough to draw a track by straight lines between them; the first and the last
    are among them, and all at which it is seen and was not before, or the other way round.

    At every time of the track the drawn box is off by the tolerance at most.
    """
    kept: list[int] = []
    for start, end in _runs(track.is_seen):
        at = start
        kept.append(at)
        while at < end - 1:
            at = _reach(track, at, end, tolerance) if track.is_seen[start] else end - 1
            kept.append(at)
    return np.array(kept, dtype=np.int64)


def joined(spans: Sequence[Span]) -> list[Span]:
    """Stretches in the order of time, those as one between which there is too little to be noticed."""
    found: list[Span] = []
    for span in spans:
        if found and span.start - found[-1].end < _UNNOTICED_SECONDS:
            span = Span(found.pop().start, span.end)
        found.append(span)
    return found


# -- within --


def _runs(is_seen: np.ndarray) -> list[tuple[int, int]]:
    """Stretches [start, end) of places in which it is seen all the time, or never."""
    changes = np.flatnonzero(np.diff(is_seen)) + 1
    edges = [0, *changes.tolist(), len(is_seen)]
    return [(start, end) for start, end in zip(edges, edges[1:], strict=False) if start < end]


def _reach(track: Track, at: int, end: int, tolerance: float) -> int:
    """The furthest place that a straight line reaches from one, doubling and then halving the step."""
    step = 1
    while at + 2 * step < end and _is_straight(track, at, at + 2 * step, tolerance):
        step *= 2
    reach, step = at + step, step // 2
    while step:
        if reach + step < end and _is_straight(track, at, reach + step, tolerance):
            reach += step
        step //= 2
    return reach


def _is_straight(track: Track, first: int, last: int, tolerance: float) -> bool:
    places = slice(first, last + 1)
    seconds, boxes = track.seconds[places], track.boxes[places].astype(np.float64)
    share = ((seconds - seconds[0]) / (seconds[-1] - seconds[0]))[:, None]
    return bool(np.abs(boxes[0] + share * (boxes[-1] - boxes[0]) - boxes).max() <= tolerance)


def _told(one: Seen, skipped: int, hours: bool) -> dict[str, Any]:
    known = one.remembered
    spans = joined(known.spans)
    listed = spans[:SPANS]
    return {
        "id": int(known.object_id),
        "name": known.label or f"Object {known.object_id}",
        "how": "you pointed at it" if known.origin == "asked" else "found by itself",
        "thumbnail": known.thumbnail[skipped:] if known.thumbnail else "",
        "spans": [
            {"at": span.start, "end": span.end, "text": format_span(span.start, span.end, hours=hours)}
            for span in listed
        ],
        "more": len(spans) - len(listed),
        "until": _until(one, hours),
        "track": one.boxes,
    }


def _until(one: Seen, hours: bool) -> str:
    if one.track is None:
        return "its track is damaged: forget it, and follow it again"
    until = one.remembered.tracked_until
    return "" if until is None else f"followed until {format_time(until, hours=hours)}"


def _job(job: JobState) -> dict[str, Any]:
    return {
        "id": job.job_id,
        "title": NAMES[job.kind],
        "phase": job.phase,
        "message": job.message,
        "fraction": job.fraction,
        "over": job.is_over,
    }
