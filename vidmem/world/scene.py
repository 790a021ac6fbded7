"""A stretch of the sample world as somebody saw it who looked at certain moments."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from vidmem.types import Span, format_time
from vidmem.world.script import THINGS, Chapter, Script, Stay


@dataclass(frozen=True, slots=True)
class Presence:
    """All copies of one thing that come and go together."""

    thing: str
    span: Span
    stays: tuple[Stay, ...]

    @property
    def mover(self) -> Stay | None:
        return next((stay for stay in self.stays if stay.moves_to is not None), None)


class Scene:
    """What can be asked about one stretch of a script.

    `times` are the moments that the asked one has seen; only what they show is asked. `hours` is how times are
    written, `shift` is added to each time that is spoken of.
    """

    def __init__(
        self, chapters: Sequence[Chapter], times: Sequence[float], *, hours: bool = False, shift: float = 0.0
    ) -> None:
        self.chapters, self.times, self.hours, self.shift = chapters, sorted(times), hours, shift
        groups: dict[tuple[str, float], list[Stay]] = {}
        for chapter in chapters:
            for stay in chapter.stays:
                if self.was_seen(stay.span):
                    groups.setdefault((stay.thing, stay.span.start), []).append(stay)
        self.presences = [Presence(thing, stays[0].span, tuple(stays)) for (thing, _), stays in groups.items()]
        self.presences.sort(key=lambda presence: presence.span.start)
        self.by_thing: dict[str, list[Presence]] = {}
        for presence in self.presences:
            self.by_thing.setdefault(presence.thing, []).append(presence)

    @classmethod
    def of(cls, script: Script, times: Sequence[float], *, hours: bool | None = None, shift: float = 0.0) -> Scene:
        indices = sorted({script.chapter_at(time).index for time in times})
        long = script.duration >= 3600 if hours is None else hours
        return cls([script.chapter(index) for index in indices], times, hours=long, shift=shift)

    def was_seen(self, span: Span) -> bool:
        index = bisect_left(self.times, span.start)
        return index < len(self.times) and self.times[index] < span.end

    def first_seen(self, span: Span) -> float:
        return self.times[bisect_left(self.times, span.start)]

    def last_seen(self, span: Span) -> float:
        return self.times[bisect_left(self.times, span.end) - 1]

    def clock(self, seconds: float) -> str:
        return format_time(seconds + self.shift, hours=self.hours)

    def chapter_at(self, seconds: float) -> Chapter:
        return next(chapter for chapter in self.chapters if chapter.span.start <= seconds < chapter.span.end)

    def once(self) -> list[Presence]:
        """Presences of things that come only once, as a single copy."""
        return [group[0] for group in self.by_thing.values() if len(group) == 1 and len(group[0].stays) == 1]

    def absent(self, rng: random.Random) -> str | None:
        """Something that was not seen, no sign; None where everything was, as in a world of hours."""
        left = [thing for thing in THINGS if thing not in self.by_thing and not thing.startswith("sign ")]
        return rng.choice(left) if left else None

    def around(self, seconds: float) -> Span:
        return Span(max(0.0, seconds - 0.5), seconds + 0.5)
