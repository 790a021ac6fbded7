"""Needles: things that appear exactly once in a long stretch of the sample world, and what to ask about them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from vidmem.types import Span, format_time
from vidmem.world.answers import Facts, Question
from vidmem.world.script import Chapter, Script, ScriptConfig, Stay, make_chapter
from vidmem.world.things import EMOJI
from vidmem.world.words import PLACE_PHRASES, a, noun, sentence


class NeedleScript(Script):
    """A world in which each of several things appears exactly once, as a single copy that holds its place.

    Each has a chapter of its own, drawn from the seed, so there can be as many needles as chapters.
    """

    def __init__(self, config: ScriptConfig, needles: Sequence[str], *, within: float = math.inf) -> None:
        """`within`: needles are in chapters that end by this many seconds."""
        super().__init__(replace(config, things=tuple(thing for thing in config.things if thing not in needles)))
        free = [index for index in range(self.num_chapters) if self.chapter_span(index).end <= within]
        if len(needles) > len(free):
            raise ValueError(f"{len(needles)} needles need as many chapters, and there are {len(free)}")
        chosen = random.Random(f"{config.seed}:needles").sample(free, len(needles))
        self.needle_chapters = dict(zip(chosen, needles, strict=True))

    def _make_chapter(self, index: int) -> Chapter:
        needle = self.needle_chapters.get(index)
        return make_chapter(replace(self.config, needle=needle), index, self.chapter_span(index), needle=needle)

    def needles(self) -> list[Stay]:
        """The one stay of each needle, in time order."""
        wanted = sorted(self.needle_chapters.items())
        return [next(s for s in self.chapter(index).stays if s.thing == thing) for index, thing in wanted]


def needle_script(seed: int, duration: float, count: int, *, within: float = math.inf) -> NeedleScript:
    """A world with `count` needles drawn from the seed, at most one a minute, all of them `within` so many seconds."""
    things = random.Random(f"{seed}:which").sample(list(EMOJI), count)
    return NeedleScript(ScriptConfig(seed=seed, duration=duration), things, within=within)


def moved(stay: Stay, seconds: float) -> Stay:
    """The stay of a needle as it is in a video that begins so many seconds earlier."""
    return replace(stay, span=Span(stay.span.start + seconds, stay.span.end + seconds))


def needle_questions(stay: Stay, *, hours: bool = False) -> list[Question]:
    """What, when and where about a thing that appears once and does not move, as seen at whole seconds.

    `hours` says how times are written. A stay that began with the video has not been seen to appear.
    """
    name, place = noun(stay.thing), PLACE_PHRASES[stay.place]
    first = float(math.ceil(stay.span.start))
    middle = float(int((stay.span.start + stay.span.end) / 2))
    clock = format_time(middle, hours=hours)
    around = Span(max(0.0, middle - 0.5), middle + 0.5)
    asked = [
        Question(
            "what",
            f"What was {place} at {clock}?",
            f"{sentence(a(stay.thing))} was {place}.",
            Facts(thing=stay.thing),
            around,
        ),
        Question(
            "where",
            f"Where was the {name}?",
            f"The {name} was {place}.",
            Facts(places=(stay.place,)),
            stay.span,
        ),
    ]
    if stay.span.start > 1.0:
        appeared = f"The {name} appeared at {format_time(first, hours=hours)}."
        when = Question("when", f"When did the {name} appear?", appeared, Facts(seconds=stay.span.start), stay.span)
        asked.insert(1, when)
    return asked
