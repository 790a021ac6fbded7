"""Clips to follow objects in: things that walk about, meet their doubles, pass behind others, leave and come back.

The world of `script` holds its things at places, never two at one. Here nothing stands still for long, and what is
hard about following is planned: `drama` says what kind of hard. Frames, files and truth are made as of any script;
`object_masks` tells doubles apart, which `truth` only names.

Seeds below 2**31 are for training.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np

from vidmem.types import Span
from vidmem.world.render import Renderer
from vidmem.world.script import THINGS, Chapter, Place, Script, ScriptConfig, Stay

Drama = Literal["stroll", "doubles", "hidden", "away", "all"]
"""What happens to what is followed, the first of the chapter's stays: it walks among other things; doubles cross its
way; it passes behind larger things; it leaves the frame and returns; all of that at once. Whatever walks comes nearer
and goes away, and faces the way it goes."""
DRAMAS: tuple[Drama, ...] = get_args(Drama)

Knot = tuple[float, float, float]
"""A time in seconds, and where the middle of a thing then is, in fractions of the frame."""

_PACE = (1.4, 3.0)
"""Seconds between knots."""
_NEARING = 0.3
"""Most that a thing's size changes by."""
_ROUND = (7.0, 15.0)
"""Seconds in which it comes nearer and goes away once."""
_GRID = tuple(product((0.2, 0.5, 0.8), (0.25, 0.75)))
"""Where things are at the beginning, no two at one of these."""


@dataclass(frozen=True, slots=True)
class Walk(Stay):
    """A stay on a smooth way through its knots, which may lead out of the frame. `place` says nothing."""

    knots: tuple[Knot, ...] = ()
    nearing: float = 0.0
    """It grows by up to this share of `size`, and shrinks as much, once in `round_seconds`."""
    round_seconds: float = 10.0
    phase: float = 0.0
    """Where in that round it begins, in [0, 1)."""

    def centre(self, seconds: float) -> tuple[float, float]:
        """By cubic Hermite pieces with the slopes of a Catmull-Rom spline, for knots at any times."""
        index = self._index(seconds)
        (start, *first), (end, *last) = self._piece(seconds)
        part = min(max((seconds - start) / (end - start), 0.0), 1.0)
        x, y = (
            _hermite(part, first[axis], last[axis], self._slope(index, axis), self._slope(index + 1, axis), end - start)
            for axis in (0, 1)
        )
        return x, y

    def look(self, seconds: float) -> tuple[float, bool]:
        """It faces the next knot, if it is no sign, so it turns at one."""
        nearer = 1 + self.nearing * math.sin(2 * math.pi * (seconds / self.round_seconds + self.phase))
        (_, x, _), (_, next_x, _) = self._piece(seconds)
        turned = next_x < x and not self.thing.startswith("sign ")
        return self.size * nearer, self.flipped != turned

    def place_at(self, seconds: float) -> Place | None:
        """None: it is always on its way."""
        return None

    def places(self) -> set[Place]:
        return set()

    def _index(self, seconds: float) -> int:
        return min(max(bisect_right(self.knots, (seconds, 2.0, 2.0)) - 1, 0), len(self.knots) - 2)

    def _piece(self, seconds: float) -> tuple[Knot, Knot]:
        index = self._index(seconds)
        return self.knots[index], self.knots[index + 1]

    def _slope(self, index: int, axis: int) -> float:
        before, after = self.knots[max(index - 1, 0)], self.knots[min(index + 1, len(self.knots) - 1)]
        return (after[axis + 1] - before[axis + 1]) / (after[0] - before[0])


def _hermite(part: float, first: float, last: float, slope: float, slope_after: float, seconds: float) -> float:
    two, three = part * part, part**3
    return (
        (2 * three - 3 * two + 1) * first
        + (three - 2 * two + part) * seconds * slope
        + (3 * two - 2 * three) * last
        + (three - two) * seconds * slope_after
    )


class TrackingScript(Script):
    """One chapter of `duration` seconds, made from its seed. Its first stay is what the drama is about.

    All stays last from the beginning to the end; what has left is outside the frame.
    """

    def __init__(self, seed: int, duration: float = 20.0, drama: Drama = "all") -> None:
        self.drama: Drama = drama
        super().__init__(ScriptConfig(seed=seed, duration=duration, chapter_seconds=duration))

    def _make_chapter(self, index: int) -> Chapter:
        rng = random.Random(f"{self.config.seed}:tracking:{self.drama}")
        span = self.chapter_span(index)
        changes = rng.uniform(span.start + 1, span.end) if span.seconds >= 4 and rng.random() < 0.25 else None
        stays = list(_cast(rng, span, self.drama))
        return Chapter(index, span, rng.randrange(2**31), tuple(stays), rng.random() < 0.3, changes)


def object_masks(renderer: Renderer, chapter: Chapter, seconds: float) -> np.ndarray:
    """What of each of a chapter's stays is seen at a time: bool (stays, H, W), all False of what is hidden or away."""
    masks = np.zeros((len(chapter.stays), renderer.height, renderer.width), dtype=bool)
    number = {id(stay): index for index, stay in enumerate(chapter.stays)}
    for item in renderer.shown(chapter, seconds):
        masks[number[id(item.stay)]] = item.mask
    return masks


def _cast(rng: random.Random, span: Span, drama: Drama) -> Iterator[Walk]:
    """The one that is followed, then its doubles, what may hide it, and others."""
    spots = rng.sample(_GRID, len(_GRID))
    thing, *others = rng.sample(THINGS, 6)
    hero = _way(rng, span, spots.pop())
    doubles = rng.choice((1, 2, 2, 3)) if drama in ("doubles", "all") else 0
    screens = rng.choice((1, 2)) if drama in ("hidden", "all") else 0
    standing = [spots.pop() for _ in range(screens)]
    if drama in ("away", "all"):
        hero = _leave(rng, hero)
    hero = _pass_behind(rng, hero, standing)
    size = rng.uniform(0.17, 0.34)
    yield _walk(rng, span, thing, size, hero, depth=rng.uniform(0.3, 0.6))
    for _ in range(doubles):
        way = _meet(rng, _way(rng, span, spots.pop()), hero)
        yield _walk(rng, span, thing, size * rng.uniform(0.92, 1.08), way, depth=rng.uniform(0.0, 0.9))
    for x, y in standing:
        larger = min(0.62, size * rng.uniform(1.5, 2.1))
        knots = ((span.start, x, y), (span.end, x + rng.uniform(-0.1, 0.1), y))
        yield _walk(rng, span, others.pop(), larger, knots, depth=rng.uniform(0.91, 1.0), nearing=0.0)
    for _ in range(rng.randint(0 if doubles + screens else 1, min(2, len(spots)))):
        yield _walk(rng, span, others.pop(), rng.uniform(0.15, 0.36), _way(rng, span, spots.pop()), depth=rng.random())


def _walk(
    rng: random.Random,
    span: Span,
    thing: str,
    size: float,
    knots: tuple[Knot, ...],
    *,
    depth: float,
    nearing: float = _NEARING,
) -> Walk:
    flipped = not thing.startswith("sign ") and rng.random() < 0.5
    lasts, phase = rng.uniform(*_ROUND), rng.random()
    return Walk(
        thing,
        span,
        "middle",
        size,
        depth=depth,
        flipped=flipped,
        knots=knots,
        nearing=nearing * rng.random(),
        round_seconds=lasts,
        phase=phase,
    )


def _way(rng: random.Random, span: Span, spot: tuple[float, float]) -> tuple[Knot, ...]:
    """From a spot to somewhere else again and again, to the end of the span and beyond."""
    seconds, (x, y) = span.start, spot
    knots = [(seconds, x + rng.uniform(-0.05, 0.05), y + rng.uniform(-0.06, 0.06))]
    while seconds <= span.end:
        seconds += rng.uniform(*_PACE)
        for _ in range(20):  # a place that is not where it was
            x, y = rng.uniform(0.1, 0.9), rng.uniform(0.14, 0.86)
            if abs(x - knots[-1][1]) + abs(y - knots[-1][2]) > 0.35:
                break
        knots.append((seconds, x, y))
    return tuple(knots)


def _leave(rng: random.Random, knots: tuple[Knot, ...]) -> tuple[Knot, ...]:
    """Once every few knots, two of them beyond an edge: mostly the same one, sometimes it returns elsewhere."""
    moved, index = list(knots), rng.randint(2, 3)
    while index + 2 < len(moved):
        left = rng.random() < 0.5
        for step in (0, 1):
            seconds, _, y = moved[index + step]
            moved[index + step] = (seconds, -0.35 if left else 1.35, y)
            left = left if rng.random() < 0.8 else not left
        index += rng.randint(4, 6)
    return tuple(moved)


def _pass_behind(rng: random.Random, knots: tuple[Knot, ...], standing: list[tuple[float, float]]) -> tuple[Knot, ...]:
    """About every second knot within the frame becomes a place where something larger stands."""
    if not standing:
        return knots
    return tuple(
        (seconds, *rng.choice(standing)) if index and 0 < x < 1 and rng.random() < 0.5 else (seconds, x, y)
        for index, (seconds, x, y) in enumerate(knots)
    )


def _meet(rng: random.Random, knots: tuple[Knot, ...], hero: tuple[Knot, ...]) -> tuple[Knot, ...]:
    """Now and then a double is where the one that is followed is at that moment, and then goes its own way."""
    met = [knots[0]]
    for own, other in zip(knots[1:], hero[1:], strict=False):
        near = (other[0], other[1] + rng.uniform(-0.06, 0.06), other[2] + rng.uniform(-0.06, 0.06))
        met.append(near if rng.random() < 0.45 else (other[0], own[1], own[2]))
    return (*met, (max(met[-1][0], knots[-1][0]) + 1.0, *knots[-1][1:]))
