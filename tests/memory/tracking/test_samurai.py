"""SAMURAI's selection against its rules written out, and what our form does otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidmem.memory.tracking import kalman
from vidmem.memory.tracking.samurai import Samurai
from vidmem.memory.tracking.samurai_reference import CodedSamurai
from vidmem.memory.tracking.selection import Candidates, Limits

from .naive_samurai import NaiveFilter, NaiveSamurai
from .scripts import GRID, SIZE, SQUARE, Script, check_kept, play, run, scripts


@pytest.mark.parametrize("kind", [Samurai, CodedSamurai])
@given(script=scripts, num_stable=st.sampled_from((2, 5, 15)))
@settings(max_examples=40, deadline=None)
def test_all_frames_written_out_give_the_same(kind: type[Samurai], script: Script, num_stable: int) -> None:
    selection = kind(num_stable=num_stable)
    frames = play(script)
    prompt = frames[0][0]
    first = np.array(selection.boxes(replace(prompt, masks=prompt.masks[:1]))[0])
    naive = NaiveSamurai(kind is CodedSamurai, first, num_stable=num_stable)
    for step in run(selection, frames):
        (reading,), (choice,), (found,) = step.readings, step.choices, frames[step.frame]
        assert list(reading.frames) == naive.read(step.frame)
        assert reading.pointer_frames == (0, *range(step.frame - 1, max(0, step.frame - 16), -1))
        assert reading.distances == tuple(step.frame - index for index in reading.pointer_frames)
        assert reading.rows == (6, *range(len(reading.frames) - 2, -1, -1))
        boxes = np.array(selection.boxes(found))
        assert choice.candidate == naive.choose(step.frame, found.ious, boxes, found.object_score)
        assert choice.state.num_stable == naive.stable
        if naive.stable and naive.state is not None:
            np.testing.assert_allclose(choice.state.motion.mean, naive.state[0], rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(choice.state.motion.covariance, naive.state[1], rtol=1e-9, atol=1e-9)


@given(script=scripts, num_memories=st.integers(2, 8), num_pointers=st.integers(0, 9), every=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_what_is_read_was_kept_and_little_is(script: Script, num_memories: int, num_pointers: int, every: int) -> None:
    selection = Samurai(Limits(num_memories, num_pointers), max_prompted=2)
    prompts = tuple(range(0, script.num_frames, 13))
    steps = run(selection, play(script), prompts, every)
    check_kept(steps, prompts)
    for step in steps:
        assert len(step.kept[0].frames) <= 2 + num_memories
        assert len(step.kept[0].pointer_frames) <= 2 + max(num_pointers - 1, 1)


@given(seed=st.integers(0, 2**32 - 1), shape=st.lists(st.integers(1, 3), max_size=2))
@settings(max_examples=30, deadline=None)
def test_filters_of_many_objects_are_those_of_each(seed: int, shape: list[int]) -> None:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 90, (*shape, 2)), rng.uniform(0.5, 40, (*shape, 2))
    first = np.concatenate([corner, corner + size], -1)
    second = first + rng.normal(0, 3, (*shape, 4))
    began, seen_later = (tuple(np.moveaxis(edges, -1, 0)) for edges in (first, second))
    ours = kalman.update(kalman.predict(kalman.initiate(began)), seen_later)
    naive = NaiveFilter()
    for place in np.ndindex(*shape):
        want = naive.update(*naive.predict(*naive.initiate(first[place])), second[place])
        np.testing.assert_allclose(ours.mean[place], want[0], rtol=1e-10)
        np.testing.assert_allclose(ours.covariance[place], want[1], rtol=1e-9, atol=1e-12)


def seen(x: int, *, iou: float, score: float = 5.0, other: int | None = None, other_iou: float = 0.0) -> Candidates:
    """An object of 5 x 5 cells at a column, and perhaps another one."""
    masks = torch.full((2, GRID, GRID), -8.0)
    masks[0, 8:13, x : x + 5] = 8.0
    if other is not None:
        masks[1, 8:13, other : other + 5] = 8.0
    return Candidates((iou, other_iou), score, masks if score > -1 else torch.full_like(masks, -1024.0), SQUARE, SIZE)


def test_a_better_looking_thing_elsewhere_does_not_take_over() -> None:
    frames = [[seen(3, iou=0.9)] for _ in range(20)] + [[seen(3, iou=0.7, other=14, other_iou=0.8)]]
    (choice,) = run(Samurai(), frames)[-1].choices
    assert choice.candidate == 0
    unmoved = run(Samurai(motion_weight=0.0), frames)[-1].choices[0]
    assert unmoved.candidate == 1


@pytest.mark.parametrize(("kind", "stays"), [(Samurai, True), (CodedSamurai, False)])
def test_an_absent_object_does_not_move_the_filter_as_it_does_in_the_code(kind: type[Samurai], stays: bool) -> None:
    frames = [[seen(3, iou=0.9)] for _ in range(18)] + [[seen(3, iou=0.9, score=-5.0)]]
    steps = run(kind(), frames)
    before, after = steps[16].choices[0].state.motion, steps[-1].choices[0].state.motion
    assert np.allclose(before.measurement.box, after.measurement.box, atol=1.0) == stays


def test_the_prompt_starts_the_filter_and_the_first_tracked_frame_stays_readable() -> None:
    frames = [[seen(3, iou=0.9)] for _ in range(6)]
    ours, coded = run(Samurai(), frames), run(CodedSamurai(), frames)
    assert [step.choices[0].state.num_stable for step in ours] == [2, 3, 4, 5, 6]
    assert [step.choices[0].state.num_stable for step in coded] == [1, 2, 3, 4, 5]
    assert ours[-1].readings[0].frames == (0, 1, 2, 3, 4)
    assert coded[-1].readings[0].frames == (0, 2, 3, 4)


def test_good_frames_from_before_a_long_absence_are_still_read() -> None:
    frames = [[seen(3, iou=0.9)] for _ in range(10)] + [[seen(3, iou=0.1, score=-5.0)] for _ in range(500)]
    (reading,) = run(Samurai(), frames)[-1].readings
    assert reading.frames == (0, 5, 6, 7, 8, 9, 508)


def test_after_a_prompt_the_bad_frame_before_it_is_not_read() -> None:
    frames = [[seen(3, iou=0.9)] for _ in range(4)] + [[seen(3, iou=0.1)], [seen(3, iou=0.9)], [seen(3, iou=0.9)]]
    assert run(Samurai(), frames[:6])[-1].readings[0].frames == (0, 1, 2, 3, 4)
    assert run(Samurai(), frames, prompts=(0, 5))[-1].readings[0].frames == (0, 5, 1, 2, 3)


def test_no_more_prompts_are_read_than_the_network_takes() -> None:
    frames = [[seen(3, iou=0.9)] for _ in range(12)]
    for most, read in ((-1, (0, 3, 5, 7, 9)), (3, (0, 7, 9)), (1, (0,))):
        (reading,) = run(Samurai(Limits(max_conditioning=most)), frames, prompts=(0, 3, 5, 7, 9))[-1].readings
        assert tuple(frame for frame in reading.frames if frame in (0, 3, 5, 7, 9)) == read
