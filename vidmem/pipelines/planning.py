"""Which frames go before the model: pure functions over times, scores and places, so that recall can be proven.

A *place* is a frame's index on its video's timeline; a `Pick` adds which video. Groups of picks come in order of
importance, and the budget is spent on them front to back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from vidmem.pipelines.question import Look
from vidmem.types import Span


class Pick(NamedTuple):
    """One frame: its video's place in the list of videos asked about, and its own place on that video's timeline."""

    video_index: int
    frame_index: int


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring frames that a search found: places `first` to `last`, both of them in it."""

    video_index: int
    first: int
    last: int
    peak: int
    """Place of the best frame."""
    score: float
    """Score of the best frame."""


RELATIVE = 0.5
"""How far towards the best score, from the floor, one must come to count as found, where nobody says otherwise."""


def strong(scores: np.ndarray, *, floor: float, relative: float = RELATIVE) -> np.ndarray:
    """Which scores (n,) of one search count as found: at least `floor`, and not far below the best.

    Not far is: at least `relative` of the way from the floor to the best. Returns booleans (n,).
    """
    if not len(scores):
        return np.zeros(0, dtype=bool)
    best = float(scores.max())
    # The best counts itself, whatever rounding makes of the sum.
    return scores >= max(floor, min(best, floor + relative * (best - floor)))


def runs_of(picks: Sequence[Pick], scores: Sequence[float], *, max_gap: int = 2) -> list[Run]:
    """Join found frames that lie at most `max_gap` places apart into runs, the best first.

    One frame that a search missed inside an event does not cut it in two.
    """
    runs: list[list[tuple[Pick, float]]] = []
    for pick, score in sorted(zip(picks, scores, strict=True)):
        last = runs[-1][-1][0] if runs else None
        if last and last.video_index == pick.video_index and pick.frame_index - last.frame_index <= max_gap:
            runs[-1].append((pick, score))
        else:
            runs.append([(pick, score)])
    found = []
    for run in runs:
        peak, best = max(run, key=lambda entry: (entry[1], -entry[0].frame_index))
        first, last = run[0][0], run[-1][0]
        found.append(Run(first.video_index, first.frame_index, last.frame_index, peak.frame_index, float(best)))
    return sorted(found, key=lambda run: (-run.score, run.video_index, run.first))


def around_run(run: Run, num_frames: int, *, look: Look | None = None, look_frames: int = 12) -> list[Pick]:
    """The frames that tell what a run is: how it begins and ends, and what is around it, the telling ones first.

    With `look`, the frames on that side follow one by one, so that what came next, or before, is among them.
    """
    first, last = run.first, run.last
    places = [first, first - 1, last, (first + last) // 2, last + 1, first + 1, first - 2]
    if look == "after":
        places += range(first + 2, max(first + look_frames, last + 2) + 1)
    elif look == "before":
        places += range(first - 3, first - look_frames - 1, -1)
    inside = dict.fromkeys(place for place in places if 0 <= place < num_frames)
    return [Pick(run.video_index, place) for place in inside]


def around_moment(
    pts_seconds: np.ndarray, moment: float, video_index: int, *, look: Look | None = None, look_frames: int = 12
) -> list[Pick]:
    """The frame on display at a moment and its neighbours, the nearest first; none for one outside the video."""
    if not len(pts_seconds) or not 0 <= moment <= _end_of(pts_seconds):
        return []
    place = max(0, int(np.searchsorted(pts_seconds, moment, side="right")) - 1)
    return around_run(Run(video_index, place, place, place, 0.0), len(pts_seconds), look=look, look_frames=look_frames)


def _end_of(pts_seconds: np.ndarray) -> float:
    step = float(pts_seconds[-1] - pts_seconds[-2]) if len(pts_seconds) > 1 else 1.0
    return float(pts_seconds[-1]) + 1.5 * step


def places_within(pts_seconds: np.ndarray, span: Span) -> range:
    """Places of the frames that a half-open span shows, the one on display at its start among them."""
    if not len(pts_seconds) or span.start > _end_of(pts_seconds):
        return range(0)
    first = max(0, int(np.searchsorted(pts_seconds, span.start, side="right")) - 1)
    return range(first, max(first, int(np.searchsorted(pts_seconds, span.end, side="left"))))


def spread(num_frames: int, count: int) -> list[int]:
    """At most `count` places evenly over `num_frames`, the first and the last among them; coarse ones come first.

    The order is such that every beginning of the list is spread as well: a budget may cut it anywhere.
    """
    if num_frames <= 0 or count <= 0:
        return []
    places = np.unique(np.linspace(0, num_frames - 1, min(count, num_frames)).round().astype(int)).tolist()
    ordered: list[int] = []
    for step in (2**power for power in range(len(places).bit_length(), -1, -1)):
        ordered += places[::step]
    return list(dict.fromkeys([places[0], places[-1], *ordered]))


def interleave(groups: Iterable[Sequence[Pick]]) -> list[Pick]:
    """One pick of each group in turn, so that no group takes all."""
    return [pick for row in zip_longest(*groups) for pick in row if pick is not None]


def rounds(runs_by_phrase: Sequence[Sequence[Run]]) -> list[Run]:
    """The best run of every phrase, then the second best of every phrase, and so on, each run once."""
    return list(dict.fromkeys(run for row in zip_longest(*runs_by_phrase) for run in row if run is not None))


def spend(picks: Iterable[Pick], cost: Callable[[Pick], int], budget: int, *, taken: Iterable[Pick] = ()) -> list[Pick]:
    """Take picks front to back until one more would cost more than the budget, each once.

    `taken` were paid before, from this same budget. Returns all that is taken, in temporal order video by video.
    """
    chosen = set(taken)
    left = budget - sum(cost(pick) for pick in chosen)
    for pick in picks:
        if pick in chosen:
            continue
        price = cost(pick)
        if price > left:
            break
        chosen.add(pick)
        left -= price
    return sorted(chosen)
