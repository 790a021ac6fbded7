"""What tracks say: when something was there, for how long, where last, and how that is told. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vidmem.index.objects import Box
from vidmem.pipelines.object_matching import at_place
from vidmem.pipelines.time_of_day import VIDEO_TIMES, Times
from vidmem.pipelines.track_questions import Want
from vidmem.types import Span

MIN_GAP_SECONDS = 2.0
"""What is out of sight for less has not been away: it passed behind something, or the tracker lost it for a moment."""
_EDGE_SECONDS = 1.5
"""A track that ends so short of the video's end, or begins so shortly after its beginning, covers that too: frames that
were looked at, here and by ingest, may be a second apart."""
_MAX_TOLD = 8
"""Stretches that a sentence lists."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one track, or several of things with one name, say of the times that were asked about."""

    stretches: tuple[Span, ...]
    """In which it was there, in time order and apart from each other. At least one."""
    followed: tuple[Span, ...]
    """In which it was looked for, in the same order. Of all other times nothing is known."""
    gaps: tuple[Span, ...]
    """Asked about, and not looked for."""
    box: Box | None = None
    """Where it was at the end of the last stretch, or at `moment`."""
    moment: float | None = None
    """The one time in seconds that is asked about; None if it is not one."""

    @property
    def seconds(self) -> float:
        return sum(span.seconds for span in self.stretches)


def facts_of(spans: Iterable[Span], followed: Iterable[Span], asked: Sequence[Span]) -> Facts | None:
    """What is known of the times asked about, but for places; None if it was not seen in them. Spans in any order.

    What was seen was looked for, too.

    Short gaps between spans are closed first, and spans are cut to the times asked about then.
    """
    seen = joined(spans, MIN_GAP_SECONDS)
    stretches = _cut(seen, asked)
    if not stretches:
        return None
    known = joined([*followed, *seen])
    gaps = tuple(span for span in _without(asked, known) if span.seconds > _EDGE_SECONDS)
    return Facts(stretches, known, gaps)


def joined(spans: Iterable[Span], gap_seconds: float = 0.0) -> tuple[Span, ...]:
    """Spans in time order, those as one that overlap, touch, or lie less than a gap apart."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and (span.start <= found[-1].end or span.start - found[-1].end < gap_seconds):
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)


def is_followed(span: Span, followed: Iterable[Span]) -> bool:
    """Whether something was looked for in a stretch from its begin to its end."""
    known = joined(followed, _EDGE_SECONDS)
    return any(one.start - _EDGE_SECONDS <= span.start and span.end <= one.end + _EDGE_SECONDS for one in known)


def _cut(spans: Iterable[Span], within: Iterable[Span]) -> tuple[Span, ...]:
    """What of spans that are apart lies within others."""
    cut = (
        Span(max(span.start, other.start), min(span.end, other.end))
        for span in spans
        for other in joined(within)
        if span.overlaps(other)
    )
    return tuple(span for span in cut if span.seconds > 0)


def _without(spans: Iterable[Span], others: Sequence[Span]) -> tuple[Span, ...]:
    """What of spans lies outside of others, which are apart and in time order."""
    found = []
    for span in joined(spans):
        start = span.start
        for other in others:
            if start < other.start < span.end:
                found.append(Span(start, other.start))
            if other.start < span.end:
                start = max(start, other.end)
        if start < span.end:
            found.append(Span(start, span.end))
    return tuple(found)


# -- in words --


def why(what: str, facts: Facts, *, times: Times = VIDEO_TIMES) -> str:
    """The facts and their source, for the evidence: `object 3, a red car: seen 28 s in 2 stretches, ...`."""
    number, known = len(facts.stretches), _known(facts, times)
    if facts.moment is not None and facts.box is not None:
        return f"{what}: {at_place(facts.box)} at {times.at(facts.moment)} (its track{known})"
    parts = [f"seen {_length(facts.seconds)}" + (f" in {number} stretches" if number > 1 else "")]
    parts.append(f"last {times.at(facts.stretches[-1].end)}")
    if facts.box is not None:
        parts[-1] += f" {at_place(facts.box)}"
    return f"{what}: {', '.join(parts)} (its track{known})"


def answer(want: Want, name: str, facts: Facts, *, times: Times = VIDEO_TIMES) -> str:
    """One or two sentences that answer a question for a thing, with `name` as they begin: `The red car`."""
    listed, last = _listed(facts.stretches, times), facts.stretches[-1]
    place = None if facts.box is None else at_place(facts.box)
    number, known = len(facts.stretches), _known(facts, times)
    told = f" It was tracked{known}." if known else ""
    if facts.moment is not None and place:
        return f"{name} was {place} at {times.at(facts.moment)}."
    if want == "how long":
        often = f", in {number} stretches" if number > 1 else ""
        where = f"; last {place}" if place else ""
        return f"{name} was there for {_length(facts.seconds)}{often}: {listed}{where}.{told}"
    if want == "how often":
        return f"{name} was there {f'{number} times' if number > 1 else 'once'}: {listed}.{told}"
    clock = f"at {times.at(last.end)}"
    if want == "where" and place:
        return f"{name} was last seen {place}, {clock}.{told}"
    return f"{name} was last seen {clock}{f', {place}' if place else ''}.{told}"


def _known(facts: Facts, times: Times) -> str:
    """Which of the times asked about a track covers, as it goes on behind `tracked`; nothing if it is all."""
    if not facts.gaps:
        return ""
    first, last = facts.followed[0].start, facts.followed[-1].end
    late, early = facts.gaps[0].start < first, last < facts.gaps[-1].end
    if len(facts.followed) > 1 and any(first < gap.start < last for gap in facts.gaps):
        return f" {_listed(facts.followed, times)} only"
    begin = f" from {times.at(first)}" if late else ""
    return begin + (f" until {times.at(last)}" if early else "")


def _listed(spans: Sequence[Span], times: Times) -> str:
    told = [times.over(span) for span in spans[:_MAX_TOLD]]
    if len(spans) > _MAX_TOLD:
        told.append(f"{len(spans) - _MAX_TOLD} more")
    return " and ".join(part for part in (", ".join(told[:-1]), told[-1]) if part)


def _length(seconds: float) -> str:
    """How long something is: `4.6 s`, `28 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = math.floor(seconds + 0.5)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = math.floor(seconds / 60 + 0.5)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
