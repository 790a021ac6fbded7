"""Frames of a context where several come together, as those of one KV block do."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.index import FrameId, StoredVideo
from vidmem.pipelines.choosing import Terms, choose_frames
from vidmem.pipelines.finding import WEAK, Cited, Found, RecallConfig
from vidmem.pipelines.planning import Pick, Run
from vidmem.pipelines.question import read_question
from vidmem.pipelines.timeline import Timeline
from vidmem.types import VideoId

QUESTIONS = ("When did the dog appear?", "What was there at 0:10?", "What was there between 0:05 and 0:20?")
groups_of_frames = st.lists(st.tuples(st.integers(1, 4), st.integers(5, 21)), min_size=1, max_size=25)
"""How many frames come together, and the tokens that they cost."""


def line_of(sizes: list[int]) -> Timeline:
    block_ids = np.repeat(np.arange(len(sizes)), sizes)
    times = np.arange(float(len(block_ids)))
    frame_ids = tuple(map(FrameId, range(len(block_ids))))
    clip_ids, thumbnails = (0,) * len(block_ids), (None,) * len(block_ids)
    video = StoredVideo(VideoId("a"), "a", "", "", "")
    return Timeline(video, times, times + 1, frame_ids, clip_ids, thumbnails, block_ids, (0,) * len(sizes))


@given(groups_of_frames, st.integers(0, 400), st.sampled_from(QUESTIONS), st.data())
def test_frames_that_come_together_are_chosen_and_paid_once(
    groups: list[tuple[int, int]], budget: int, question: str, data: st.DataObject
) -> None:
    line = line_of([size for size, _ in groups])
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(line) - 1)] * 2)))
    found = Found(by_phrase=[[Run(0, first, last, first, 1.0)]])
    costs = [cost for _, cost in groups]
    firsts = [0, *accumulate(size for size, _ in groups)][:-1]
    terms = Terms(
        cost=lambda pick: costs[int(line.block_ids[pick.frame_index])],
        stand_in=lambda pick: Pick(0, firsts[int(line.block_ids[pick.frame_index])]),
    )
    asked = [read_question(question, float(len(line)))]
    config = RecallConfig(gist_elements=0)
    picks = choose_frames(config, asked, found, [line], {0}, terms, budget)
    chosen = [pick.frame_index for pick in picks]
    assert chosen == sorted(set(chosen)) and set(chosen) <= set(firsts)
    assert sum(map(terms.cost, picks)) <= budget
    if sum(costs) <= budget:
        assert chosen == firsts
    elif budget >= 4 * max(costs):
        assert chosen


@given(st.integers(1, 60), st.integers(0, 400), st.sampled_from(QUESTIONS))
def test_frames_that_stand_for_themselves_are_all_brought_back_if_they_fit(
    num_frames: int, budget: int, question: str
) -> None:
    line = line_of([1] * num_frames)
    asked = [read_question(question, float(num_frames))]
    picks = choose_frames(RecallConfig(), asked, Found(), [line], {0}, Terms(lambda pick: 10), budget)
    assert len(picks) <= budget // 10
    assert (picks == [Pick(0, place) for place in range(num_frames)]) == (10 * num_frames <= budget)


@given(groups_of_frames)
def test_a_timeline_goes_from_places_to_blocks_and_back(groups: list[tuple[int, int]]) -> None:
    line = line_of([size for size, _ in groups])
    assert line.num_blocks == len(groups)
    places = [list(line.places_in(block_id)) for block_id in range(line.num_blocks)]
    assert [place for held in places for place in held] == list(range(len(line)))
    for block_id, held in enumerate(places):
        assert {int(line.block_ids[place]) for place in held} == {block_id}
        span = line.span_of_block(block_id)
        assert (span.start, span.end) == (float(held[0]), float(held[-1] + 1))


def chosen_of(question: str, found: Found, *, num_frames: int = 3600, budget: int = 64) -> list[int]:
    line = line_of([1] * num_frames)
    asked = [read_question(question, float(num_frames))]
    config = RecallConfig(gist_elements=0)
    return [pick.frame_index for pick in choose_frames(config, asked, found, [line], {0}, Terms(lambda _: 1), budget)]


def found_at(place: int, why: str) -> Found:
    run = Run(0, place, place, place, 0.5)
    return Found(by_phrase=[[run]], cited=[Cited(run, why)])


@pytest.mark.parametrize("question", ["Summarize the video", "What is going on?", "Was there a dog?", "What is this?"])
def test_where_only_a_weak_match_was_found_the_whole_video_is_shown(question: str) -> None:
    chosen = chosen_of(question, found_at(100, WEAK))
    assert len({place // 600 for place in chosen}) == 6 and {0, 3598, 3599} <= set(chosen)


def test_where_something_was_found_only_it_and_what_is_around_it_is_shown() -> None:
    chosen = chosen_of("When did the dog appear?", found_at(100, "looks like 'a dog'"))
    assert {98, 99, 100, 101} <= set(chosen) and all(90 <= place <= 110 for place in chosen)


def test_a_stretch_of_time_takes_the_whole_budget() -> None:
    chosen = chosen_of("What happens between 1:00 and 5:00?", Found())
    assert len(chosen) == 64 and all(60 <= place < 300 for place in chosen)


def test_a_time_that_is_named_is_shown_and_nothing_far_from_it() -> None:
    chosen = chosen_of("What was on the left at 10:00?", Found())
    assert {599, 600, 601} <= set(chosen) and all(580 <= place <= 620 for place in chosen)
