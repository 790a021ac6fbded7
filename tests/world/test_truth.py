"""The truth agrees with the pixels, the file with the script, and the questions with the grader."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidmem.errors import BadInput, NotFound
from vidmem.samples import samples
from vidmem.world.answers import KINDS, is_right
from vidmem.world.needle import needle_questions, needle_script
from vidmem.world.questions import ask_many
from vidmem.world.render import Renderer
from vidmem.world.scene import Scene
from vidmem.world.script import Script, ScriptConfig
from vidmem.world.truth import (
    boxes,
    decode_mask,
    encode_mask,
    events,
    load_truth,
    questions_about,
    sampled_times,
    truth,
    write_truth,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_masks_come_back_from_their_runs(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    runs = encode_mask(mask)
    assert sum(runs["counts"]) == mask.size
    assert np.array_equal(decode_mask(runs), mask)


def test_a_mask_covers_exactly_what_an_object_changed() -> None:
    script = Script(ScriptConfig(seed=8, duration=60.0))
    stay = next(s for s in script.stays() if len(script.chapter(0).visible(s.span.start + 0.1)) == 1)
    seconds, size = stay.span.start + 0.1, (320, 180)
    renderer, chapter = Renderer(*size), script.chapter(0)
    moment = truth(script, seconds, size)
    empty = next(t for t in np.arange(0, 60, 0.5) if not chapter.visible(t) and chapter.is_night(t) == moment.night)
    changed = (renderer.draw(chapter, seconds) != renderer.draw(chapter, empty)).any(axis=-1)
    [shown] = moment.objects
    mask = decode_mask(shown.mask)
    left, top, right, bottom = shown.box
    assert shown.thing == stay.thing and shown.place == stay.place
    assert mask[top:bottom, left:right].sum() == mask.sum() > 500
    assert (mask & ~changed).sum() < 0.05 * mask.sum()


def test_the_truth_file_says_what_the_script_says(tmp_path: Path) -> None:
    script = Script(ScriptConfig(seed=21, duration=90.0))
    path = write_truth(tmp_path / "w.mp4", script, size=(160, 90), fps=Fraction(30), num_questions=16)
    document = json.loads(path.read_text())
    assert document["events"] == events(script)
    assert sum(len(event["places"]) for event in document["events"]) == len(script.stays())
    assert [entry["at"] for entry in document["boxes"]] == list(range(90))
    assert document["boxes"] == json.loads(json.dumps(boxes(script, (160, 90))))
    assert load_truth(path) == load_truth(tmp_path / "w.mp4") == questions_about(script, 16)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("duration", [60.0, 180.0])
def test_questions_are_mixed_and_their_own_answers_right(seed: int, duration: float) -> None:
    questions = questions_about(Script(ScriptConfig(seed=seed, duration=duration)), 16)
    assert len(questions) >= 12
    assert {question.kind for question in questions} == set(KINDS)
    assert len({question.text for question in questions}) == len(questions)
    for question in questions:
        assert is_right(question, question.answer), question
        assert 0.0 <= question.evidence.start <= question.evidence.end <= duration


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_an_answer_to_another_question_of_its_kind_is_wrong_if_its_facts_differ(seed: int) -> None:
    script = Script(ScriptConfig(seed=seed, duration=24.0))
    questions = ask_many(Scene.of(script, sampled_times(24.0)), random.Random(seed), 14)
    for one in questions:
        assert is_right(one, one.answer)
        for other in questions:
            if one.kind == other.kind == "where" and one.facts != other.facts:
                assert not is_right(one, other.answer)


def test_a_needle_comes_once_and_can_be_asked_for() -> None:
    script = needle_script(seed=4, duration=600.0, count=5)
    needles = script.needles()
    assert len({stay.thing for stay in needles}) == 5
    for stay in needles:
        assert [s for s in script.stays() if s.thing == stay.thing] == [stay]
        for question in needle_questions(stay):
            assert is_right(question, question.answer)
        what = needle_questions(stay)[0]
        middle = (what.evidence.start + what.evidence.end) / 2
        shown = {s.thing: s.place_at(middle) for s in script.chapter_at(middle).visible(middle)}
        assert shown[stay.thing] == stay.place


def test_the_questions_of_a_needle_video_begin_with_the_needle() -> None:
    questions = questions_about(Script(ScriptConfig(seed=4, duration=120.0, needle="anchor")), 12)
    assert len(questions) == 12
    assert all("anchor" in question.text + question.answer for question in questions[:2])


def test_a_missing_or_foreign_truth_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no ground truth"):
        load_truth(tmp_path / "w.mp4")
    (tmp_path / "w.json").write_text('{"questions": 3}')
    with pytest.raises(BadInput, match="no ground truth of the sample world"):
        load_truth(tmp_path / "w.mp4")


def test_every_sample_is_small_and_has_questions() -> None:
    videos = [sample.path for sample in samples()]
    assert len(videos) >= 3
    for video in videos:
        assert video.stat().st_size < 4_000_000
        assert len(load_truth(video)) >= 12


def test_a_sample_is_what_its_command_makes(tmp_path: Path) -> None:
    path = samples()[0].path
    document = json.loads(path.with_suffix(".json").read_text())
    script = Script(ScriptConfig(seed=document["seed"], duration=document["duration"]))
    assert document["events"] == events(script)
    assert load_truth(path) == questions_about(script, 16)


def test_a_world_in_which_everything_appears_can_still_be_asked_about() -> None:
    questions = questions_about(Script(ScriptConfig(seed=1, duration=4 * 3600.0)), 12)
    assert len(questions) == 12
    assert all(is_right(question, question.answer) for question in questions)
