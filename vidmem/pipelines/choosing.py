"""Choosing the frames of a context: what is found and named, spent on a budget of tokens. Reads no store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from vidmem.types import Span

Cost = Callable[[Pick], int]
"""Tokens of one frame with its time mark."""

Take = Callable[[Sequence[Pick], Iterator[Pick], int], Sequence[Pick]]
"""Spends a budget of tokens: on frames that the question names, then on those that it is about, best first."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What frames cost, and how a budget is spent on them."""

    cost: Cost
    take: Take | None = None
    """How found frames are chosen, where not all fit; None takes them in the order given."""
    stand_in: Callable[[Pick], Pick] = lambda pick: pick
    """The frame that stands for a frame: where several come together and cost once, the first of them."""


_SPREAD_FRAMES = 96
"""Frames of a range or a sketch that are offered to the budget; more than any context takes."""


def choose_frames(
    config: RecallConfig,
    asked: Sequence[Asked],
    found: Found,
    lines: Sequence[Timeline],
    videos: set[int],
    terms: Terms,
    budget: int,
) -> list[Pick]:
    """The frames of the context out of some of the videos, in temporal order. All of them if they fit.

    Each stands for itself, or for those that come with it (`Terms.stand_in`).
    """

    def of_videos(picks: Iterable[Pick]) -> Iterator[Pick]:
        return (terms.stand_in(pick) for pick in picks if pick.video_index in videos)

    every = spend(of_videos(_every(lines)), terms.cost, budget)
    last = max(videos)
    if every and every[-1] == terms.stand_in(Pick(last, len(lines[last]) - 1)):
        return every
    if found.by_phrase:
        budget -= config.gist_elements * terms.cost(Pick(min(videos), 0))
    named = list(of_videos([*_named(asked, lines), *_tracked(found)]))
    telling = of_videos(_telling(config, asked, found, lines))
    # What is asked about was found, or its time is known: nothing else is shown.
    is_found = bool(asked[0].phrases) and found.is_any_real
    is_known = is_found or any(one.moments or one.ranges for one in asked)
    share = budget if is_known else int(budget * (1 - config.sketch_share))
    first = terms.take(named, telling, share) if terms.take else spend(chain(named, telling), terms.cost, share)
    filling = chain(_around_best(config, found, lines), () if is_known else _overview(lines))
    return spend(of_videos(filling), terms.cost, budget, taken=first)


def _every(lines: Sequence[Timeline]) -> Iterator[Pick]:
    return (Pick(index, place) for index, line in enumerate(lines) for place in range(len(line)))


def _named(asked: Sequence[Asked], lines: Sequence[Timeline]) -> list[Pick]:
    """Frames around the moments that the question names, the nearest first."""
    return [
        pick
        for index, (one, line) in enumerate(zip(asked, lines, strict=True))
        for moment in one.moments
        if not line.has_expired(moment)
        for pick in around_moment(line.pts_seconds, moment, index, look=one.look)
    ]


def _places_shown(line: Timeline, span: Span) -> range:
    """Places of the frames that a stretch shows; where frames have left, the one before is not on display."""
    places = places_within(line.pts_seconds, span)
    is_over = len(places) and line.expired.until and float(line.end_seconds[places[0]]) <= span.start
    return places[1:] if is_over else places


def _tracked(found: Found) -> list[Pick]:
    """The frames that show what tracks say: the first, the last and the clearest of each stretch."""
    runs = [cited.run for cited in found.tracked]
    return [Pick(run.video_index, place) for run in runs for place in (run.first, run.last, run.peak)]


def _telling(config: RecallConfig, asked: Sequence[Asked], found: Found, lines: Sequence[Timeline]) -> Iterator[Pick]:
    """Frames that the question is about, the most telling first."""
    look = asked[0].look
    ranges = [
        [Pick(index, places[place]) for place in spread(len(places), _SPREAD_FRAMES)]
        for index, (one, line) in enumerate(zip(asked, lines, strict=True))
        for places in (_places_shown(line, span) for span in one.ranges)
    ]
    full = config.full_runs
    groups = [around_run(run, len(lines[run.video_index])) for run in found.runs]
    looking = [around_run(run, len(lines[run.video_index]), look=look) for run in found.runs[:2]] if look else []
    return chain(*groups[:1], *looking, *groups[1:full], interleave(groups[full:]), interleave(ranges))


def _around_best(config: RecallConfig, found: Found, lines: Sequence[Timeline]) -> list[Pick]:
    """Frames on both sides of the best run, the nearest first."""
    for run in (found.runs or [cited.run for cited in found.cited])[:1]:
        reach = range(1, config.widen_frames + 1)
        places = [place for step in reach for place in (run.first - step, run.last + step)]
        return [Pick(run.video_index, place) for place in places if 0 <= place < len(lines[run.video_index])]
    return []


def _overview(lines: Sequence[Timeline]) -> list[Pick]:
    """The newest frames and a sketch of the whole, for a question that nothing real was found for.

    Others do without: of 60 answers about things planted in six hours 34 were right where each context was filled up
    so, with 64 frames, and 59 where it was not, with 15 (docs/decisions/0010-landmarks.md).
    """
    newest = [Pick(index, len(line) - back) for index, line in enumerate(lines) for back in (1, 2) if len(line) >= back]
    sketch = [[Pick(index, place) for place in spread(len(line), _SPREAD_FRAMES)] for index, line in enumerate(lines)]
    return [*newest, *interleave(sketch)]
