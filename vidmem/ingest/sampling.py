"""Which frames a sampling rate asks for: pure decisions on presentation times, no pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ticks:
    """The times `start + k / fps`, k = 0, 1, ...; without `fps`, every time from `start` on is one."""

    start: float = 0.0
    fps: float | None = None

    def at_or_after(self, seconds: float) -> float:
        """The first tick at `seconds` or later, exact in the very floats that `start + k / fps` gives."""
        if seconds <= self.start:
            return self.start
        if self.fps is None:
            return seconds
        k = max(0, math.ceil((seconds - self.start) * self.fps) - 1)
        while self.start + k / self.fps < seconds:
            k += 1
        return self.start + k / self.fps


def next_tick(seconds: float, *, fps: float, start: float = 0.0) -> float:
    """Where to continue a pass that was cut off at `seconds`: the next tick of the same grid."""
    return Ticks(start, fps).at_or_after(seconds)


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """Anything with a place on the timeline: a decoded picture, an array, a file name."""

    pts_seconds: float
    end_seconds: float
    """When it would leave the display if nothing followed."""
    item: T


def on_display(timed: Iterable[Timed[T]], ticks: Ticks) -> Iterator[Timed[T]]:
    """Keep what is on display at a tick, each once; times must rise. The rule itself, so also the tests' oracle.

    One element is held back until the next one shows how long it stays on display; the last stays until its
    `end_seconds`, and a tick there or later finds nothing.
    """
    held: Timed[T] | None = None
    for current in timed:
        if held is not None and ticks.at_or_after(held.pts_seconds) < current.pts_seconds:
            yield held
        held = current
    if held is not None:
        # Even a picture of no length is on display at its own time.
        end = max(held.end_seconds, math.nextafter(held.pts_seconds, math.inf))
        if ticks.at_or_after(held.pts_seconds) < end:
            yield held
