"""SAM2Long's selection against its rules written out, and what our form does otherwise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidmem.memory.tracking.sam2long import Sam2Long, key_scales
from vidmem.memory.tracking.sam2long_reference import CodedSam2Long
from vidmem.memory.tracking.selection import Candidates, Limits

from .naive_sam2long import NaiveSam2Long
from .scripts import GRID, SIZE, SQUARE, Script, check_kept, play, run, scripts


@pytest.mark.parametrize("kind", [Sam2Long, CodedSam2Long])
@given(
    script=scripts,
    num_pathways=st.integers(1, 4),
    min_memory_iou=st.sampled_from((0.1, 0.5)),
    certain_above=st.sampled_from((0.0, 1.0, 2.0, 20.0)),
)
@settings(max_examples=60, deadline=None)
def test_all_frames_written_out_give_the_same(
    kind: type[Sam2Long], script: Script, num_pathways: int, min_memory_iou: float, certain_above: float
) -> None:
    selection = kind(num_pathways=num_pathways, min_memory_iou=min_memory_iou, certain_above=certain_above)
    naive = NaiveSam2Long(kind is CodedSam2Long, num_pathways, min_memory_iou, certain_above)
    frames = play(script, num_pathways)
    for step in run(selection, frames):
        for slot, reading in enumerate(step.readings):
            memories, pointers, memory_scales, pointer_scales = naive.read(slot, step.frame)
            assert list(reading.frames) == memories
            assert list(reading.pointer_frames) == pointers
            assert list(reading.frame_scales) == pytest.approx(memory_scales)
            assert list(reading.pointer_scales) == pytest.approx(pointer_scales)
            assert reading.distances == (step.frame, *range(1, len(pointers)))
            assert reading.rows == (6, *range(len(memories) - 2, -1, -1))
        found = frames[step.frame][: len(step.readings)]
        expected = naive.choose(step.frame, [given.ious for given in found], [given.object_score for given in found])
        assert [(choice.pathway, choice.candidate) for choice in step.choices] == expected
        assert [choice.state.score for choice in step.choices] == pytest.approx(naive.scores)


@given(
    script=scripts,
    num_memories=st.integers(2, 8),
    num_pointers=st.integers(0, 9),
    num_pathways=st.integers(1, 4),
    every=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_what_is_read_was_kept_and_little_is(
    script: Script, num_memories: int, num_pointers: int, num_pathways: int, every: int
) -> None:
    selection = Sam2Long(Limits(num_memories, num_pointers), max_prompted=2, num_pathways=num_pathways)
    prompts = tuple(range(0, script.num_frames, 13))
    steps = run(selection, play(script, num_pathways), prompts, every)
    check_kept(steps, prompts)
    for step in steps:
        assert 1 <= len(step.choices) <= num_pathways
        for kept in step.kept:
            assert len(kept.frames) <= 2 + num_memories
            assert len(kept.pointer_frames) <= 2 + num_pointers


def offer(*ious: float, score: float = 5.0) -> Candidates:
    return Candidates(ious, score, torch.zeros(len(ious), GRID, GRID), SQUARE, SIZE)


def test_pathways_stay_different_where_the_code_copies_one() -> None:
    frames = [[offer(0.9, 0.6, 0.3)] * 3 for _ in range(3)]
    ours, coded = run(Sam2Long(), frames)[-1], run(CodedSam2Long(), frames)[-1]
    assert [(choice.pathway, choice.candidate) for choice in ours.choices] == [(0, 0), (0, 1), (0, 2)]
    assert [(choice.pathway, choice.candidate) for choice in coded.choices] == [(0, 0), (1, 0), (2, 0)]


def test_a_hypothesis_that_scores_better_in_the_long_run_is_shown() -> None:
    start = [[offer(0.9)], [offer(0.9)], [offer(0.8, 0.7)]]
    later = [[offer(0.5), offer(0.95)] for _ in range(3)]
    steps = run(Sam2Long(num_pathways=2), start + later)
    assert [(choice.pathway, choice.candidate) for choice in steps[1].choices] == [(0, 0), (0, 1)]
    assert steps[2].choices[0].pathway == 1


def test_uncertain_frames_keep_masks_of_different_quality() -> None:
    found = offer(0.901, 0.902, 0.4, 0.3, score=1.0)
    certain = offer(0.901, 0.902, 0.4, 0.3, score=3.0)
    before = [[offer(0.9)], [offer(0.9)]]
    for last, chosen in ((found, [1, 2, 3]), (certain, [1, 0, 2])):
        step = run(Sam2Long(), [*before, [last]])[-1]
        assert [choice.candidate for choice in step.choices] == chosen


def test_prompts_outrank_all_other_frames() -> None:
    frames = [[offer(0.9, score=14.0)] * 3 for _ in range(4)]
    (ours, *_), (coded, *_) = run(Sam2Long(), frames)[-1].readings, run(CodedSam2Long(), frames)[-1].readings
    assert ours.frame_scales == pytest.approx((1.05, 0.95, 1.0))
    assert coded.frame_scales == pytest.approx((0.95, 1.0, 1.05))


@given(scores=st.lists(st.floats(-20, 20), min_size=1, max_size=16))
@settings(deadline=None)
def test_key_scales_are_spread_evenly_by_rank(scores: list[float]) -> None:
    scales = key_scales(scores)
    assert sum(scales) == pytest.approx(len(scores))
    ranked = sorted(zip(scores, scales, strict=True))
    assert all(a[1] < b[1] for a, b in zip(ranked, ranked[1:], strict=False))


def test_score_of_a_long_stream_stays_exact_and_its_state_small() -> None:
    frames = [[offer(0.9, 0.2), offer(0.9, 0.2)] for _ in range(2000)]
    step = run(Sam2Long(num_pathways=2), frames)[-1]
    best = step.choices[0].state
    assert best.score == pytest.approx(1998 * math.log(0.9 + 1e-5), rel=1e-12), "the first tracked frame is not counted"
    assert len(best.good) == 15
    assert step.kept[0].frames == {0, *range(1994, 2000)}


def test_a_prompt_starts_a_new_tree_that_remembers_what_was_good() -> None:
    frames = [[offer(0.9, 0.6)] * 3 for _ in range(4)] + [[offer(0.05, score=-9.0)] * 3] + [[offer(0.9, 0.6)] * 3] * 3
    steps = run(Sam2Long(), frames, prompts=(0, 5))
    assert [len(step.choices) for step in steps] == [1, 2, 3, 3, 1, 2]
    assert steps[-2].readings[0].frames == (0, 5, 1, 2, 3)
