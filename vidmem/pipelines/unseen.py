"""What memory can say by itself: that it saw nothing of the times that a question names."""

from __future__ import annotations

from collections.abc import Sequence

from vidmem.pipelines.finding import WEAK
from vidmem.pipelines.question import Asked, read_question
from vidmem.pipelines.time_of_day import clock_range, gap_sentence, place_of_clock
from vidmem.pipelines.timeline import Timeline
from vidmem.types import Gap, Hit, Span, format_time

_MAX_GAPS = 3
"""So many are said under one answer, the longest."""


def asked_of(question: str, line: Timeline) -> Asked:
    """What a question names, on the timeline of a video; times of day where that is a stream."""
    clock, until = line.clock, line.duration_seconds
    return read_question(question, until, None if clock is None else lambda text: place_of_clock(text, clock, until))


def unseen(asked: Sequence[Asked], lines: Sequence[Timeline]) -> str | None:
    """What to say if nothing was seen of any time that the question names; else None.

    Args:
        asked, lines: one entry a video.
    """
    if not any(one.moments or one.ranges for one in asked):
        return None
    spans = [_spans(one) for one in asked]
    reached = [
        (line, [span for span in of_line if span.end >= 0 and span.start <= line.duration_seconds])
        for of_line, line in zip(spans, lines, strict=True)
    ]
    if not any(of_line for _, of_line in reached):
        return _outside(asked, lines)
    hidden: list[Gap] = []
    for line, of_line in reached:
        for span in of_line:
            holding = [gap for gap in _gaps(line) if gap.start <= span.start and span.end <= gap.end]
            if not holding:
                return None
            hidden += holding
    return " ".join(map(gap_sentence, dict.fromkeys(hidden)))


def gaps_touched(asked: Sequence[Asked], evidence: Sequence[Hit], lines: Sequence[Timeline]) -> list[Gap]:
    """The gaps that an answer has to do with: in the times that the question names, or in a stretch that is cited."""
    touched = []
    for one, line in zip(asked, lines, strict=True):
        cited = [
            Span(hit.start, hit.end) for hit in evidence if hit.video_id == line.video.video_id and hit.why != WEAK
        ]
        spans = [*_spans(one), *cited]
        touched += [gap for gap in _gaps(line) if any(gap.start < s.end and s.start < gap.end for s in spans)]
    longest = sorted(touched, key=lambda gap: gap.start - gap.end)[:_MAX_GAPS]
    return sorted(longest, key=lambda gap: gap.wall_start)


def _spans(asked: Asked) -> list[Span]:
    """Moments before the beginning are none."""
    moments = [Span(moment, moment) for moment in asked.moments if moment >= 0 and not asked.look]
    return [*moments, *asked.ranges]


def _gaps(line: Timeline) -> Sequence[Gap]:
    return line.clock.gaps if line.clock is not None else ()


def _outside(asked: Sequence[Asked], lines: Sequence[Timeline]) -> str:
    clock = lines[0].clock
    if len(lines) == 1 and clock is not None:
        begun, end = clock.wall_at(float(clock.starts[0])), clock.wall_at(lines[0].duration_seconds)
        return f"Nothing is in memory of that time: it goes from {clock_range(begun, end)}."
    latest = max(line.duration_seconds for line in lines)
    asked_for = min(time for one in asked for time in (*one.moments, *(span.start for span in one.ranges)))
    hours = max(asked_for, latest) >= 3600
    shown = [format_time(seconds, hours=hours) for seconds in (max(0.0, asked_for), latest)]
    return f"Nothing is in memory at {shown[0]}: it ends at {shown[1]}."
