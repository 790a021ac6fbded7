"""The timeline under the player, as a small model that its page draws (`timeline.html`, `.css`, `timeline_*.js`).

All here is pure: out of what is known of a video come lanes of segments, with what to draw as one where they lie close
together. The page chooses among that by how far it is zoomed in, and decides nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from vidmem.types import Hit, Span, VideoId
from vidmem.ui.pictures import common_folder

SCRIPTS = ("groups", "draw", "move", "hands", "told")
"""The body of one function, in parts that follow each other."""

Kind = Literal["evidence", "scene", "object", "gap"]

_COARSEST = 8
"""So many buttons of 24 pixels at most have room in the narrowest lane that is drawn, of about 200."""
_FINEST_SECONDS = 0.1
"""What lies closer together is not told apart at any zoom."""
_OBJECT_LANES = 6
"""More lanes than that push what is below the timeline off the screen; all further objects share one."""


class SceneLike(Protocol):
    """What is read of a `vidmem.pipelines.Scene`."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def thumbnail(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Followed:
    """An object with the stretches in which it was seen."""

    name: str
    spans: Sequence[Span]
    thumbnail: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch `[start, end)` of a lane, in seconds of the video."""

    start: float
    end: float
    label: str
    thumbnail: str | None = None
    note: str = ""
    """What else there is to say of it, in a few words."""


@dataclass(frozen=True, slots=True)
class Level:
    """What is drawn as one while less than a button's width lies between starts.

    Group i is the segments from index `first[i]` up to `first[i + 1]`.
    """

    seconds: float
    """Groups begin at least so far apart; on the last level only if any zoom can tell them apart."""
    first: Sequence[int]


@dataclass(frozen=True, slots=True)
class Lane:
    """Segments of one kind in the order of their starts, and their levels, the coarsest first."""

    kind: Kind
    name: str
    many: str
    """What several of its segments are called."""
    segments: Sequence[Segment]
    levels: Sequence[Level]


def levels_of(starts: Sequence[float], duration_seconds: float) -> tuple[Level, ...]:
    """Each level has half the distance of the one before; on the last one each segment stands for itself.

    A group takes in what begins less than the distance after its own beginning. So buttons as wide as the distance
    never lie on each other, there are at most duration / distance + 1 of them, and no segment is left out.

    Args:
        starts: of the segments, in order.
    """
    levels = []
    seconds = duration_seconds / _COARSEST
    while len(first := _grouped(starts, seconds)) < len(starts) and seconds > _FINEST_SECONDS:
        levels.append(Level(seconds, first))
        seconds /= 2
    return (*levels, Level(seconds, range(len(starts))))


def lanes_of(
    duration_seconds: float,
    *,
    scenes: Sequence[SceneLike] = (),
    objects: Sequence[Followed] = (),
    gaps: Sequence[Span] = (),
) -> list[Lane]:
    """The lanes of a video from top to bottom, those with nothing in them left out.

    Args:
        scenes: in the order of time.
        gaps: stretches in which nothing came from the source.
    """
    shown = [
        Segment(scene.start, scene.end, f"Scene {number}", scene.thumbnail)
        for number, scene in enumerate(scenes, start=1)
    ]
    missing = [Segment(gap.start, gap.end, "Gap", None, "Nothing came from the source") for gap in gaps]
    found = [
        _lane("scene", "Scenes", "scenes", shown, duration_seconds),
        *_object_lanes(objects, duration_seconds),
        _lane("gap", "Gaps", "gaps", missing, duration_seconds),
    ]
    return [lane for lane in found if lane.segments]


def evidence_lane(hits: Sequence[Hit], video_id: VideoId, duration_seconds: float) -> Lane:
    """What an answer cites of a video, numbered in the order of all its evidence."""
    segments = [
        Segment(hit.start, hit.end, f"Evidence {number}", hit.thumbnail, hit.why)
        for number, hit in enumerate(hits, start=1)
        if hit.video_id == video_id
    ]
    return _lane("evidence", "Evidence", "stretches of evidence", segments, duration_seconds)


def timeline(duration_seconds: float, lanes: Sequence[Lane], *, hours: bool | None = None) -> dict[str, Any]:
    """What the page draws, in JSON's types.

    Args:
        hours: whether times are written with them; by default from one hour on.
    """
    folder = common_folder(one.thumbnail for lane in lanes for one in lane.segments)
    return {
        "duration": duration_seconds,
        "hours": duration_seconds >= 3600 if hours is None else hours,
        "thumbnails": folder,
        "lanes": [_told(lane, len(folder)) for lane in lanes],
    }


# -- within --


def _lane(kind: Kind, name: str, many: str, segments: Iterable[Segment], duration_seconds: float) -> Lane:
    ordered = sorted(segments, key=lambda segment: (segment.start, segment.end))
    return Lane(kind, name, many, ordered, levels_of([segment.start for segment in ordered], duration_seconds))


def _object_lanes(objects: Sequence[Followed], duration_seconds: float) -> list[Lane]:
    """A lane for each object, for those that were seen longest if there are too many, in the order they came."""
    by_length = sorted(range(len(objects)), key=lambda index: -sum(span.seconds for span in objects[index].spans))
    own = set(by_length[: _OBJECT_LANES if len(objects) <= _OBJECT_LANES else _OBJECT_LANES - 1])
    lanes = [
        _lane("object", one.name, "times seen", _seen(one), duration_seconds)
        for index, one in enumerate(objects)
        if index in own
    ]
    rest = [segment for index, one in enumerate(objects) if index not in own for segment in _seen(one)]
    return [*lanes, _lane("object", f"{len(objects) - len(own)} more", "times seen", rest, duration_seconds)]


def _seen(one: Followed) -> list[Segment]:
    return [Segment(span.start, span.end, one.name, one.thumbnail) for span in one.spans]


def _grouped(starts: Sequence[float], seconds: float) -> list[int]:
    """The indices of segments that begin a group: each the first at least `seconds` after the one before."""
    first: list[int] = []
    index = 0
    while index < len(starts):
        first.append(index)
        index = max(index + 1, bisect_left(starts, starts[index] + seconds, lo=index))
    return first


def _told(lane: Lane, skipped: int) -> dict[str, Any]:
    return {
        "kind": lane.kind,
        "name": lane.name,
        "many": lane.many,
        "segments": [
            {
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "label": segment.label,
                **({"thumbnail": segment.thumbnail[skipped:]} if segment.thumbnail else {}),
                **({"note": segment.note} if segment.note else {}),
            }
            for segment in lane.segments
        ],
        # The last level has each segment for itself: that need not be told.
        "levels": [
            {"seconds": level.seconds, **({"first": list(level.first)} if level is not lane.levels[-1] else {})}
            for level in lane.levels
        ],
    }
