"""Choosing the frames of a context: what is found and named, spent on a budget of tokens. Reads no store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from vidmem.pipelines.finding import Found, RecallConfig
from vidmem.pipelines.planning import (
    Pick,
    around_moment,
    around_run,
    interleave,
    places_within,
    spend,
    spread,
)
from vidmem.pipelines.question import Asked
from vidmem.pipelines.timeline import Timeline

Cost = Callable[[Pick], int]
"""Tokens of one frame with its time mark."""

Take = Callable[[Sequence[Pick], Iterator[Pick], int], Sequence[Pick]]
"""Spends a budget of tokens: on frames that the question names, then on those that it is about, best first."""

_SPREAD_FRAMES = 96
"""Frames of a range or a sketch that are offered to the budget; more than any context takes."""


def choose_frames(
    config: RecallConfig,
    asked: Sequence[Asked],
    found: Found,
    lines: Sequence[Timeline],
    videos: set[int],
    cost: Cost,
    budget: int,
    take: Take | None = None,
) -> list[Pick]:
    """The frames of the context out of some of the videos, in temporal order. All of them if they fit.

    Args:
        take: how found frames are chosen, where not all fit; None takes them in the order given.
    """
    a_frame = cost(Pick(min(videos), 0))
    if sum(len(lines[index]) for index in videos) * a_frame <= 2 * budget:
        all_picks = [Pick(index, place) for index in sorted(videos) for place in range(len(lines[index]))]
        if sum(map(cost, all_picks)) <= budget:
            return all_picks
    if found.by_phrase:
        budget -= config.gist_elements * a_frame
    named = [pick for pick in _named(asked, lines) if pick.video_index in videos]
    telling = (pick for pick in _telling(config, asked, found, lines) if pick.video_index in videos)
    filling = (pick for pick in _filling(config, found, lines) if pick.video_index in videos)
    share = int(budget * (1 - config.sketch_share))
    first = take(named, telling, share) if take else spend(chain(named, telling), cost, share)
    return spend(filling, cost, budget, taken=first)


def _named(asked: Sequence[Asked], lines: Sequence[Timeline]) -> list[Pick]:
    """Frames around the moments that the question names, the nearest first."""
    return [
        pick
        for index, (one, line) in enumerate(zip(asked, lines, strict=True))
        for moment in one.moments
        for pick in around_moment(line.pts_seconds, moment, index, look=one.look)
    ]


def _telling(config: RecallConfig, asked: Sequence[Asked], found: Found, lines: Sequence[Timeline]) -> Iterator[Pick]:
    """Frames that the question is about, the most telling first."""
    look = asked[0].look
    ranges = [
        [Pick(index, places[place]) for place in spread(len(places), _SPREAD_FRAMES)]
        for index, (one, line) in enumerate(zip(asked, lines, strict=True))
        for places in (places_within(line.pts_seconds, span) for span in one.ranges)
    ]
    full = config.full_runs
    groups = [around_run(run, len(lines[run.video_index])) for run in found.runs]
    looking = [around_run(run, len(lines[run.video_index]), look=look) for run in found.runs[:2]] if look else []
    return chain(*groups[:1], *looking, *groups[1:full], interleave(groups[full:]), interleave(ranges))


def _filling(config: RecallConfig, found: Found, lines: Sequence[Timeline]) -> list[Pick]:
    """Frames for what is left: the newest, what surrounds the best run, and a sketch of the whole."""
    newest = [Pick(index, len(line) - back) for index, line in enumerate(lines) for back in (1, 2) if len(line) >= back]
    sketch = interleave(
        [[Pick(index, place) for place in spread(len(line), _SPREAD_FRAMES)] for index, line in enumerate(lines)]
    )
    wide: list[Pick] = []
    for run in (found.runs or [cited.run for cited in found.cited])[:1]:
        reach = range(1, config.widen_frames + 1)
        places = [place for step in reach for place in (run.first - step, run.last + step)]
        wide = [Pick(run.video_index, place) for place in places if 0 <= place < len(lines[run.video_index])]
    return [*newest, *interleave([wide, sketch])]
