from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidmem.pipelines.planning import (
    Pick,
    Run,
    around_moment,
    around_run,
    interleave,
    places_within,
    rounds,
    runs_of,
    spend,
    spread,
    strong,
)
from vidmem.types import Span

picks = st.lists(st.builds(Pick, st.integers(0, 2), st.integers(0, 60)), max_size=40)


@given(picks.map(lambda found: list(dict.fromkeys(found))), st.integers(1, 4))
def test_runs_cover_every_hit_once_and_nothing_far_from_one(found: list[Pick], max_gap: int) -> None:
    scores = [0.1 + pick.frame_index / 100 for pick in found]
    runs = runs_of(found, scores, max_gap=max_gap)
    for pick in found:
        covering = [
            run for run in runs if run.video_index == pick.video_index and run.first <= pick.frame_index <= run.last
        ]
        assert len(covering) == 1
    for run in runs:
        inside = sorted(
            p.frame_index for p in found if p.video_index == run.video_index and run.first <= p.frame_index <= run.last
        )
        assert (inside[0], inside[-1]) == (run.first, run.last)
        assert all(later - earlier <= max_gap for earlier, later in zip(inside, inside[1:], strict=False))
        assert run.peak in inside
    assert [run.score for run in runs] == sorted((run.score for run in runs), reverse=True)


def test_a_missed_frame_does_not_cut_an_event_in_two() -> None:
    found = [Pick(0, 3), Pick(0, 5), Pick(0, 6), Pick(0, 9), Pick(1, 10)]
    runs = runs_of(found, [0.3, 0.5, 0.4, 0.9, 0.2])
    assert runs == [Run(0, 9, 9, 9, 0.9), Run(0, 3, 6, 5, 0.5), Run(1, 10, 10, 10, 0.2)]


@given(st.lists(st.floats(-1, 1), max_size=30), st.floats(-0.5, 0.5), st.floats(0, 1))
@example([0.25], -0.28264517656875426, 1.0)
def test_strong_scores_pass_the_floor_and_keep_the_best(scores: list[float], floor: float, relative: float) -> None:
    values = np.array(scores)
    kept = strong(values, floor=floor, relative=relative)
    assert (values[kept] >= floor).all()
    if len(values) and values.max() >= floor:
        assert kept[values.argmax()]


@given(picks, picks, st.integers(0, 900), st.integers(1, 30))
def test_the_budget_is_never_exceeded_and_time_never_runs_back(
    first: list[Pick], second: list[Pick], budget: int, price: int
) -> None:
    def cost(pick: Pick) -> int:
        return price + pick.frame_index % 3

    early = spend(first, cost, budget // 2)
    chosen = spend(second, cost, budget, taken=early)
    assert sum(map(cost, chosen)) <= budget
    assert chosen == sorted(set(chosen))
    assert set(early) <= set(chosen) <= {*first, *second}
    if len(chosen) < len({*early, *second}):
        assert sum(map(cost, chosen)) + price + 2 > budget


@given(st.integers(0, 500), st.integers(0, 60), st.integers(0, 60))
def test_every_beginning_of_a_spread_is_spread(num_frames: int, count: int, cut: int) -> None:
    places = spread(num_frames, count)
    assert len(places) == len(set(places)) == min(num_frames, count)
    assert all(0 <= place < num_frames for place in places)
    if 2 <= cut <= len(places) and num_frames > 1:
        begun = sorted(places[:cut])
        assert (begun[0], begun[-1]) == (0, num_frames - 1)
        widest = max(later - earlier for earlier, later in zip(begun, begun[1:], strict=False))
        assert widest <= 4 * num_frames / cut + 2


def test_a_run_is_told_by_its_beginning_and_end() -> None:
    told = [pick.frame_index for pick in around_run(Run(0, 10, 20, 15, 0.9), 100)]
    assert told == [10, 9, 20, 15, 21, 11, 8]
    assert [pick.frame_index for pick in around_run(Run(0, 0, 0, 0, 0.9), 1)] == [0]


def test_looking_after_and_before_reaches_that_way_from_the_beginning() -> None:
    run = Run(0, 10, 12, 10, 0.9)
    after = {pick.frame_index for pick in around_run(run, 100, look="after")}
    assert after >= set(range(8, 23))
    before = {pick.frame_index for pick in around_run(run, 100, look="before")}
    assert before >= set(range(11)) - {0, 1} and max(before) == 13


@pytest.mark.parametrize(
    ("moment", "place"), [(0.0, 0), (0.4, 0), (2.0, 2), (2.9, 2), (9.9, 9), (10.2, 9), (14.0, None)]
)
def test_a_moment_is_the_frame_on_display(moment: float, place: int | None) -> None:
    found = around_moment(np.arange(10.0), moment, 0)
    assert (found[0].frame_index if found else None) == place


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=50, unique=True).map(sorted), st.floats(0, 120), st.floats(0, 50)
)
def test_places_within_a_span(pts: list[float], start: float, seconds: float) -> None:
    span = Span(start, start + seconds)
    places = places_within(np.array(pts), span)
    assert all(0 <= place < len(pts) for place in places)
    assert {place for place, time in enumerate(pts) if span.start <= time < span.end} <= set(places)
    assert all(pts[place] < span.end for place in places if place != places[0])


def test_phrases_and_groups_take_turns() -> None:
    one, two, three = (Run(0, at, at, at, 0.5) for at in (1, 5, 9))
    assert rounds([[one, two], [three]]) == [one, three, two]
    assert rounds([[one], [one]]) == [one]
    groups = [[Pick(0, 1), Pick(0, 2)], [], [Pick(1, 7)]]
    assert interleave(groups) == [Pick(0, 1), Pick(1, 7), Pick(0, 2)]
