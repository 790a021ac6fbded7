"""Questions are true, and the grader tells right answers from wrong ones."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidmem.types import Span
from vidmem.world.answers import KINDS, Facts, Question, is_right
from vidmem.world.questions import ask_many
from vidmem.world.scene import Scene
from vidmem.world.script import THINGS, Script, ScriptConfig
from vidmem.world.words import a, numbers_in, places_in, plural, seconds_in, things_in


def scene_of(seed: int, duration: float = 28.0) -> tuple[Script, Scene]:
    script = Script(ScriptConfig(seed=seed, duration=duration, chapter_seconds=duration))
    return script, Scene.of(script, [float(second) for second in range(int(duration))])


@given(seed=st.integers(0, 2**40), duration=st.floats(8, 32))
@settings(max_examples=60, deadline=None)
def test_a_question_s_own_answer_is_right_and_its_evidence_lies_in_the_video(seed: int, duration: float) -> None:
    _, scene = scene_of(seed, duration)
    for question in ask_many(scene, random.Random(seed), 14):
        assert is_right(question, question.answer), question
        assert question.evidence.start <= duration


@given(seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_appearances_are_told_within_the_tolerance_of_the_truth(seed: int) -> None:
    script, scene = scene_of(seed)
    for question in ask_many(scene, random.Random(seed), 20, ["when"]):
        if "become" in question.text:
            continue
        thing = things_in(question.text)[0]
        stays = [stay for stay in script.stays() if stay.thing == thing]
        assert len({stay.span for stay in stays}) == 1
        asked_end = "leave" in question.text or "last seen" in question.text
        truth = stays[0].span.end if asked_end else stays[0].span.start
        assert abs(seconds_in(question.answer)[0] - truth) <= 1.0


@given(seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_was_there_follows_the_script(seed: int) -> None:
    script, scene = scene_of(seed)
    present = {stay.thing for stay in script.stays() if any(stay.span.start <= t < stay.span.end for t in scene.times)}
    for question in ask_many(scene, random.Random(seed), 12, ["was there"]):
        if question.text.startswith("Was there a") and " at " not in question.text:
            assert (things_in(question.text)[0] in present) == question.facts.yes


def test_every_kind_is_asked_in_turn() -> None:
    kinds = Counter(q.kind for seed in range(60) for q in ask_many(scene_of(seed)[1], random.Random(seed), 14))
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) > 0.6 * max(kinds.values())


def question(**facts: object) -> Question:
    return Question("what", "?", "", Facts(**facts), Span(0, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "right", "wrong"),
    [
        ({"thing": "dog"}, "A dog appeared.", "A cat appeared, not a dog."),
        ({"thing": "sign EXIT"}, "The sign said EXIT.", "The sign said OPEN."),
        ({"thing": "grapes"}, "It was the bunch of grapes.", "It was the banana."),
        ({"places": ("left",)}, "It was on the left.", "It was on the right."),
        ({"places": ("left", "top")}, "From the left to the top.", "From the top to the left."),
        ({"seconds": 12.4}, "It came at 00:13.", "It came at 00:14."),
        ({"seconds": 3661.0}, "It came at 01:01:02.", "It came at 01:02."),
        ({"number": 3}, "There were three dogs.", "There were 2 dogs."),
        ({"number": 0}, "There were no things at 00:02.", "There were 2 things."),
        ({"yes": True}, "Yes, there was a dog.", "No, there was no dog."),
        ({"yes": False}, "No dog was seen.", "The dog left at 00:03."),
        ({"yes": False}, "There was nothing on the left.", "A dog was on the left."),
        ({"light": "night"}, "It became night.", "It became day."),
    ],
)
def test_the_grader_tells_right_from_wrong(facts: dict[str, object], right: str, wrong: str) -> None:
    assert is_right(question(**facts), right)
    assert not is_right(question(**facts), wrong)
    assert not is_right(question(**facts), "")
    assert not is_right(question(**facts), "Now perhaps.")


def test_things_are_read_back_in_all_their_forms() -> None:
    for thing in THINGS:
        assert things_in(f"There was {a(thing)}.") == [thing]
        assert things_in(f"There were 2 {plural(thing)}.") == [thing]


def test_counts_places_and_times_do_not_mix() -> None:
    text = "At 00:12 there were 2 cups at the top and one on the left."
    assert numbers_in(text) == [2, 1]
    assert places_in(text) == ["top", "left"]
    assert seconds_in(text) == [12.0]
