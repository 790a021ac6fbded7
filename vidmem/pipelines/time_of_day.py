"""Time of day, as questions and answers about a stream write it; in the zone of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from vidmem.index import StreamClock
from vidmem.types import Gap, Span, format_span, format_time

_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d)(?:\.\d+)?)?\s*([ap]m)?", re.I)
_CLOCK_FORM, _DATED_FORM = "%H:%M:%S", "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Times:
    """How places on a video's timeline are written: `01:25`, and of a stream `01:25 (14:01:45)`."""

    hours: bool = False
    """In all times."""
    clock: StreamClock | None = None
    """Of a stream."""
    until: float = 0.0
    """Where the stream ends so far: of other days than that one the dates are written."""

    def at(self, seconds: float) -> str:
        shown = format_time(seconds, hours=self.hours)
        if self.clock is None:
            return shown
        wall = self.clock.wall_at(seconds)
        return f"{shown} ({datetime.fromtimestamp(wall).strftime(self._form(wall))})"

    def over(self, span: Span) -> str:
        shown = format_span(span.start, span.end, hours=self.hours)
        if self.clock is None:
            return shown
        walls = self.clock.wall_at(span.start), self.clock.wall_at(span.end)
        return f"{shown} ({clock_range(*walls, today=self._today)})"

    def _form(self, wall: float) -> str:
        return _CLOCK_FORM if datetime.fromtimestamp(wall).date() == self._today else _DATED_FORM

    @property
    def _today(self) -> date | None:
        return datetime.fromtimestamp(self.clock.wall_at(self.until)).date() if self.clock is not None else None


VIDEO_TIMES = Times()
"""Of a video that is no stream and shorter than an hour."""


def place_of_clock(text: str, clock: StreamClock, until: float) -> float | None:
    """Where on a stream's timeline a clock showed `14:05`, `14:05:30` or `2:05 pm`; the last time that it did.

    A time that no day of the stream had is taken on the day that brings it nearest to the stream: it lies before 0, or
    after `until`, the stream's end. A minute in which the stream begins is its beginning. None if this is no time of
    day.
    """
    read = _CLOCK.fullmatch(text.strip())
    hour = int(read[1]) if read else 24
    if read is not None and read[4] and 1 <= hour <= 12:
        hour = hour % 12 + (12 if read[4].lower() == "pm" else 0)
    if read is None or hour > 23 or int(read[2]) > 59 or int(read[3] or 0) > 59:
        return None
    shown = time(hour, int(read[2]), int(read[3] or 0))
    begun, end = clock.wall_at(float(clock.starts[0])), clock.wall_at(until)
    last_day = datetime.fromtimestamp(end).date()
    walls = [_wall(last_day + timedelta(days=days), shown) for days in (1, 0, -1)]
    walls += [_wall(datetime.fromtimestamp(begun).date(), shown)]
    slack = 0.0 if read[3] else 60.0
    within = [wall for wall in walls if begun - slack < wall <= end]
    if within:
        return clock.place_of(max(begun, *within), until)
    return clock.place_of(min(walls, key=lambda wall: max(begun - wall, wall - end)), until)


def clock_label(wall: float) -> str:
    """What a clock shows, `14:05:03`, as it stands before frames of streams whatever the model family.

    Families' own forms (`Family.label`) are for places in a video: as one of these, a time of day would be `50703.0
    seconds` to Qwen3-VL and `845:03` to SmolVLM. What stands around it (`Family.mark`) is the family's own.
    """
    return datetime.fromtimestamp(wall).strftime(_CLOCK_FORM)


def clock_range(start: float, end: float, *, today: date | None = None) -> str:
    """`14:05:03 to 14:09:59`, with the dates where a day is not `today`, which is by default that of `end`."""
    first, last = datetime.fromtimestamp(start), datetime.fromtimestamp(end)
    form = _CLOCK_FORM if first.date() == last.date() == (today or last.date()) else _DATED_FORM
    return f"{first.strftime(form)} to {last.strftime(form)}"


def gap_sentence(gap: Gap) -> str:
    return f"Nothing was seen from {clock_range(gap.wall_start, gap.wall_end)}: {gap.reason}."


def _wall(day: date, shown: time) -> float:
    return datetime.combine(day, shown).timestamp()
