"""Scripts of the sample world: which things are where and when, made from a seed, lazily, for any length.

A script is cut into chapters. Each chapter is generated on its own from `(seed, chapter index)`, so that any
moment of a 24 hour world can be asked for without making what comes before it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

from vidmem.types import Span
from vidmem.world.things import EMOJI, SIGN_WORDS

Place = Literal["left", "right", "top", "bottom", "middle"]
PLACES: tuple[Place, ...] = get_args(Place)
CENTRE: dict[Place, tuple[float, float]] = {
    "left": (0.17, 0.5),
    "right": (0.83, 0.5),
    "top": (0.5, 0.19),
    "bottom": (0.5, 0.81),
    "middle": (0.5, 0.5),
}
"""Middle of each place as fractions of the frame's width and height."""

MOVE_SECONDS = 1.0
"""How long a thing takes from one place to another."""

SIGNS = tuple(f"sign {word}" for word in SIGN_WORDS)
THINGS: tuple[str, ...] = (*EMOJI, *SIGNS)
"""All that can appear: the sprites by name, and `sign WORD` for each text sign."""


@dataclass(frozen=True, slots=True)
class Stay:
    """One uninterrupted presence of one object: it holds `place`, and from `moves_at` on goes to `moves_to`.

    `size` is a fraction of the frame's height, `offset` shifts the centre by fractions of width and height;
    of two stays that overlap, the one with the larger `depth` is in front.
    """

    thing: str
    span: Span
    place: Place
    size: float
    offset: tuple[float, float] = (0.0, 0.0)
    depth: float = 0.0
    flipped: bool = False
    moves_at: float | None = None
    moves_to: Place | None = None

    def centre(self, seconds: float) -> tuple[float, float]:
        """Where the middle of the object is at a time within its span, as fractions of the frame."""
        x, y = CENTRE[self.place]
        if self.moves_at is not None and self.moves_to is not None and seconds > self.moves_at:
            progress = min(1.0, (seconds - self.moves_at) / MOVE_SECONDS)
            to_x, to_y = CENTRE[self.moves_to]
            x, y = x + (to_x - x) * progress, y + (to_y - y) * progress
        return x + self.offset[0], y + self.offset[1]

    def look(self, seconds: float) -> tuple[float, bool]:
        """Its size, a fraction of the frame's height, and whether it is flipped, at a time within its span."""
        return self.size, self.flipped

    def place_at(self, seconds: float) -> Place | None:
        """The place that is held at a time; None while it is absent or on its way."""
        if not self.span.start <= seconds < self.span.end:
            return None
        if self.moves_at is None or seconds <= self.moves_at:
            return self.place
        return self.moves_to if seconds >= self.moves_at + MOVE_SECONDS else None

    def places(self) -> set[Place]:
        return {self.place} if self.moves_to is None else {self.place, self.moves_to}


@dataclass(frozen=True, slots=True)
class Chapter:
    """One stretch of the world with one background. `night_from` and `day_from` are times at which light changes."""

    index: int
    span: Span
    background_seed: int
    stays: tuple[Stay, ...]
    starts_at_night: bool = False
    light_changes_at: float | None = None

    def is_night(self, seconds: float) -> bool:
        changed = self.light_changes_at is not None and seconds >= self.light_changes_at
        return self.starts_at_night != changed

    def visible(self, seconds: float) -> list[Stay]:
        """What is present at a time, the furthest first."""
        present = [stay for stay in self.stays if stay.span.start <= seconds < stay.span.end]
        return sorted(present, key=lambda stay: stay.depth)


@dataclass(frozen=True, slots=True)
class ScriptConfig:
    """What a script is made of. Times are seconds."""

    seed: int
    duration: float
    chapter_seconds: float = 60.0
    seconds_per_stay: float = 4.5
    """A new stay begins about this often."""
    max_together: int = 3
    """Different things that are present at once (copies of one thing count once)."""
    things: tuple[str, ...] = field(default=THINGS)
    needle: str | None = None
    """A thing that appears exactly once in the whole script, and nowhere else."""


class Script:
    """A world of `config.duration` seconds. Chapters are made when they are asked for, and always the same."""

    def __init__(self, config: ScriptConfig) -> None:
        if config.duration <= 0:
            raise ValueError(f"a script needs a duration above 0 s, got {config.duration}")
        self.config = config
        self.num_chapters = max(1, round(config.duration / config.chapter_seconds))
        self.needle_chapter: int | None = None
        if config.needle is not None:
            self.needle_chapter = random.Random(f"{config.seed}:needle").randrange(self.num_chapters)
        self.chapter = lru_cache(maxsize=64)(self._make_chapter)

    @property
    def duration(self) -> float:
        return self.config.duration

    def chapter_span(self, index: int) -> Span:
        config = self.config
        end = config.duration if index == self.num_chapters - 1 else (index + 1) * config.chapter_seconds
        return Span(index * config.chapter_seconds, end)

    def chapter_at(self, seconds: float) -> Chapter:
        index = min(int(seconds // self.config.chapter_seconds), self.num_chapters - 1)
        return self.chapter(index)

    def chapters(self) -> Iterator[Chapter]:
        return (self.chapter(index) for index in range(self.num_chapters))

    def stays(self) -> list[Stay]:
        return [stay for chapter in self.chapters() for stay in chapter.stays]

    def _make_chapter(self, index: int) -> Chapter:
        needle = self.config.needle if index == self.needle_chapter else None
        return make_chapter(self.config, index, self.chapter_span(index), needle=needle)


def make_chapter(config: ScriptConfig, index: int, span: Span, *, needle: str | None = None) -> Chapter:
    """Fill one chapter: things that come, stay, move, leave and come back, never two at one place."""
    rng = random.Random(f"{config.seed}:{index}")
    pool = [thing for thing in config.things if thing != config.needle]
    rng.shuffle(pool)
    target = max(2, round(span.seconds / config.seconds_per_stay * rng.uniform(0.7, 1.3)))
    stays: list[Stay] = []
    if needle is not None:
        stays += place_stay(rng, span, needle, stays, config.max_together, copies=1, may_move=False)
    moved, placed = False, 0
    for _ in range(target * 3):
        if placed >= target:
            break
        comes_back = bool(stays) and rng.random() < 0.22
        earlier = [stay.thing for stay in stays if stay.thing != config.needle and not stay.thing.startswith("sign ")]
        if comes_back and earlier:
            thing = rng.choice(earlier)
        else:
            signs_used = any(stay.thing.startswith("sign ") for stay in stays)
            thing = next((t for t in pool if not (signs_used and t.startswith("sign "))), pool[0])
            pool.remove(thing)
            pool.append(thing)
        is_sign = thing.startswith("sign ")
        copies = 1 if is_sign or rng.random() > 0.2 else rng.choice((2, 2, 3, 3, 4))
        may_move = not moved and not is_sign and copies == 1 and rng.random() < 0.45
        new = place_stay(rng, span, thing, stays, config.max_together, copies=copies, may_move=may_move)
        moved = moved or any(stay.moves_to is not None for stay in new)
        stays += new
        placed += bool(new)
    changes = rng.uniform(span.start + 3, span.end - 3) if span.seconds >= 8 and rng.random() < 0.25 else None
    return Chapter(
        index=index,
        span=span,
        background_seed=rng.randrange(2**31),
        stays=tuple(sorted(stays, key=lambda stay: stay.span.start)),
        starts_at_night=rng.random() < 0.25,
        light_changes_at=changes,
    )


def place_stay(
    rng: random.Random,
    chapter: Span,
    thing: str,
    others: list[Stay],
    max_together: int,
    *,
    copies: int,
    may_move: bool,
) -> list[Stay]:
    """Find room in a chapter for one more presence of a thing; an empty list if there is none."""
    for _ in range(8):
        length = min(rng.uniform(2.2, 10.0), chapter.seconds - 0.5)
        start = chapter.start if rng.random() < 0.12 else rng.uniform(chapter.start, chapter.end - length)
        span = Span(start, start + length)
        near = [stay for stay in others if _close(stay.span, span, gap=0.0)]
        same = any(stay.thing == thing and _close(stay.span, span, gap=2.5) for stay in others)
        if same or len({stay.thing for stay in near}) >= max_together:
            continue
        taken = {place for stay in near for place in stay.places()}
        free = [place for place in PLACES if place not in taken]
        moves = may_move and length >= 5.0
        if len(free) < max(copies, 2 if moves else 1):
            continue
        if any(abs(stay.span.start - start) < 1.6 for stay in others):
            continue  # beginnings are kept apart, so that "what came after" has one answer
        rng.shuffle(free)
        size = rng.uniform(0.27, 0.36) if copies > 1 else rng.uniform(0.27, 0.42)
        flipped = not thing.startswith("sign ") and rng.random() < 0.5
        moves_at = rng.uniform(start + 2.0, start + length - 3.0) if moves else None
        return [
            Stay(
                thing=thing,
                span=span,
                place=free[copy],
                size=size,
                offset=(rng.uniform(-0.03, 0.03), rng.uniform(-0.02, 0.02)),
                depth=rng.random(),
                flipped=flipped,
                moves_at=moves_at,
                moves_to=free[copies] if moves else None,
            )
            for copy in range(copies)
        ]
    return []


def _close(first: Span, second: Span, *, gap: float) -> bool:
    return first.start - gap < second.end and second.start - gap < first.end
