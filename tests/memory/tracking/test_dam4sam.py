"""DAM4SAM's selection against its rules written out, and what our form does otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vidmem.memory.tracking.components import largest_component
from vidmem.memory.tracking.dam4sam import Dam4Sam
from vidmem.memory.tracking.dam4sam_reference import CodedDam4Sam
from vidmem.memory.tracking.selection import Candidates, Limits

from .naive_dam4sam import NaiveDam4Sam, largest_part
from .scripts import GRID, SIZE, SQUARE, Script, check_kept, play, run, scripts


@pytest.mark.parametrize("kind", [Dam4Sam, CodedDam4Sam])
@given(
    script=scripts,
    num_memories=st.integers(2, 8),
    num_pointers=st.integers(2, 17),
    max_anchors=st.integers(2, 6),
    step=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_all_frames_written_out_give_the_same(
    kind: type[Dam4Sam], script: Script, num_memories: int, num_pointers: int, max_anchors: int, step: int
) -> None:
    max_anchors = min(max_anchors, num_memories)
    selection = kind(Limits(num_memories, num_pointers), max_anchors=max_anchors, step=step)
    frames = play(script)
    naive = NaiveDam4Sam(kind is CodedDam4Sam, num_memories, num_pointers, max_anchors, step)
    for at in run(selection, frames):
        (reading,), (choice,), (found,) = at.readings, at.choices, frames[at.frame]
        memories, pointers = naive.read(at.frame)
        assert (list(reading.frames), list(reading.pointer_frames)) == (memories, pointers)
        assert reading.distances == tuple(at.frame - index for index in pointers)
        num_anchors = len(naive.anchors(at.frame))
        assert reading.rows[:num_anchors] == (num_memories - 1,) * num_anchors
        assert reading.rows[num_anchors:] == tuple(range(len(memories) - num_anchors - 1, -1, -1))
        best = found.ious.index(max(found.ious))
        shows = bool((found.masks[best] > 0).any())
        expected = naive.choose(at.frame, found.ious, selection.masks(found).numpy(), shows=shows)
        assert (choice.candidate, choice.binarise) == expected


@given(
    script=scripts,
    num_memories=st.integers(2, 8),
    num_pointers=st.integers(0, 9),
    max_anchors=st.integers(1, 6),
    every=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_what_is_read_was_kept_and_little_is(
    script: Script, num_memories: int, num_pointers: int, max_anchors: int, every: int
) -> None:
    selection = Dam4Sam(Limits(num_memories, num_pointers), max_anchors=max_anchors, spacing=1)
    prompts = tuple(range(0, script.num_frames, 13))
    steps = run(selection, play(script), prompts, every)
    check_kept(steps, prompts)
    for step in steps:
        (reading,), (kept,) = step.readings, step.kept
        assert len(reading.frames) <= max(num_memories, max_anchors)
        assert len(kept.frames) <= 2 * max_anchors + num_memories + 1
        assert len(kept.pointer_frames) <= 2 * max_anchors + max(num_pointers, 3)


@given(mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=300, deadline=None)
def test_largest_component_is_the_one_found_by_walking(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(largest_component(mask), largest_part(mask))


def test_a_spiral_is_one_component() -> None:
    mask = np.ones((41, 41), bool)
    for ring in range(1, 20, 2):
        mask[ring, ring : 41 - ring] = mask[41 - 1 - ring, ring : 41 - ring] = False
        mask[ring : 41 - ring, ring] = mask[ring : 41 - ring, 41 - 1 - ring] = False
        mask[ring, ring + 1] = True
    np.testing.assert_array_equal(largest_component(mask), mask)


def seen(*, iou: float = 0.9, distractor: int | None = None, width: int = 4, score: float = 5.0) -> Candidates:
    """An object of 4 x `width` cells; its second mask may show something else too."""
    masks = torch.full((2, GRID, GRID), -8.0)
    masks[:, 4:8, 2 : 2 + width] = 8.0
    if distractor is not None:
        masks[1, 4:8, distractor : distractor + 4] = 8.0
    return Candidates((iou, 0.5), score, masks if score > 0 else torch.full_like(masks, -1024.0), SQUARE, SIZE)


def anchors(frames: list[Candidates], selection: Dam4Sam | None = None) -> list[int]:
    steps = run(selection or Dam4Sam(), [[found] for found in frames])
    return [step.frame for step in steps if step.choices[0].binarise]


def test_a_distractor_makes_an_anchor_and_the_next_waits() -> None:
    assert anchors([seen()] * 4 + [seen(distractor=12)] * 12) == [4, 10]


@pytest.mark.parametrize(
    "found",
    [
        seen(distractor=12, iou=0.8),
        seen(distractor=12, width=5),
        seen(distractor=3),
        seen(),
        seen(distractor=12, score=-1.0),
    ],
    ids=["uncertain", "changed in size", "too near", "nothing else", "absent"],
)
def test_no_anchor_without_a_reliable_object_and_a_distractor(found: Candidates) -> None:
    assert anchors([seen()] * 8 + [found]) == []


def test_anchors_are_read_from_the_frame_after_next_and_take_the_place_of_recent_frames() -> None:
    frames = [[seen(distractor=12 if index in (10, 20, 30, 40) else None)] for index in range(60)]
    read = {step.frame: step.readings[0].frames for step in run(Dam4Sam(), frames)}
    assert read[10] == (0, 5, 9)
    assert read[11] == (0, 5, 10)
    assert read[12] == (10, 0, 5, 11)
    assert read[59] == (40, 0, 30, 20, 50, 55, 58)


def test_memory_stands_still_while_the_object_is_away() -> None:
    frames = [[seen()] for _ in range(20)] + [[seen(score=-5.0)] for _ in range(400)]
    steps = run(Dam4Sam(), frames)
    assert {step.readings[0].frames for step in steps[25:]} == {(0, 5, 10, 15, 19)}
    assert steps[-1].kept[0].frames == {0, 5, 10, 15, 19}
    assert steps[-1].readings[0].pointer_frames == (0,)


def test_a_thin_object_has_a_box_where_the_code_has_none() -> None:
    masks = torch.full((2, GRID, GRID), -8.0)
    masks[:, 3:17, 5] = 8.0
    masks[1, 3:17, 6:8] = 8.0
    thin = Candidates((0.9, 0.5), 5.0, masks, SQUARE, (GRID, GRID))
    near = torch.full((2, GRID, GRID), -8.0)
    near[:, 3:17, 5] = 8.0
    near[1, 16, 6:7] = 8.0
    spurious = Candidates((0.9, 0.5), 5.0, near, SQUARE, (GRID, GRID))
    assert anchors([thin] * 3) == [2]
    assert Dam4Sam().overlap((5, 3, 5, 16), (5, 3, 6, 16)) == pytest.approx(0.5)
    assert CodedDam4Sam().overlap((5, 3, 5, 16), (5, 3, 7, 16)) == 0.0
    assert anchors([spurious] * 3, CodedDam4Sam()) == []
