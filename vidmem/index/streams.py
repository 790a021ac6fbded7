"""Time of day along a stream, and what was not seen of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vidmem.types import Gap


@dataclass(frozen=True, slots=True, eq=False)
class StreamClock:
    """What the clock on the wall showed along a stream's timeline, and its gaps in the order of time.

    `starts` and `walls` (n,) float64: from `starts[i]` seconds on the time is `walls[i]`, in seconds since 1970, plus
    what has passed; up to the next one. n is at least 1, `starts` rise. `walls` do where nobody set the clock back.
    """

    starts: np.ndarray
    walls: np.ndarray
    gaps: tuple[Gap, ...] = ()

    def wall_at(self, seconds: float) -> float:
        """The time of day at a place on the timeline, in seconds since 1970."""
        index = max(0, int(np.searchsorted(self.starts, seconds, side="right")) - 1)
        return float(self.walls[index] + seconds - self.starts[index])

    def place_of(self, wall: float, until: float = math.inf) -> float:
        """The place on the timeline, which goes to `until`, at which a clock showed this time, the latest if it did so
        twice; below 0 for a time before the stream, and beyond its end for a later one."""
        places = self.starts + wall - self.walls
        shown = np.flatnonzero((places >= self.starts) & (places < np.append(self.starts[1:], until)))
        if len(shown):
            return float(places[shown[-1]])
        earlier = np.flatnonzero(self.walls <= wall)
        if not len(earlier):
            return float(places[0])
        index = int(earlier[-1])
        place = float(places[index])
        # A clock that was set forward skipped what it would have shown.
        return min(place, float(self.starts[index + 1])) if index + 1 < len(self.starts) else place
