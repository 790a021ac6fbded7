"""Follow-up questions stand by themselves once the things and times that they mean are named."""

from __future__ import annotations

from datetime import datetime

import pytest

from vidmem.pipelines.finding import WEAK
from vidmem.pipelines.following_up import in_context
from vidmem.pipelines.question import read_question
from vidmem.types import Answer, Hit, VideoId


def answer(
    question: str, text: str = "Yes.", *, start: float = 18.0, end: float = 23.0, why: str = "looks like"
) -> Answer:
    return Answer(question, text, (Hit(VideoId("0" * 16), "a.mp4", start, end, 0.5, 1, why=why),))


DOG = answer("When did the dog appear?", "The dog appeared at 00:18.")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("Where was it?", "Where was the dog?"),
        ("Where was it then?", "Where was the dog at 00:18?"),
        ("What was its colour?", "What was the dog's colour?"),
        ("What else was there at that moment?", "What else was there at 00:18?"),
        ("What came after that?", "What came after 00:23?"),
        ("What was there right before it?", "What was there right before 00:18?"),
        ("Then what happened?", "What happened after 00:23?"),
        ("And what happened next?", "What happened after 00:23?"),
        ("And the red cup?", "When did the red cup appear?"),
        ("What about cats?", "When did the cats appear?"),
        ("how about a cat", "When did a cat appear?"),
    ],
)
def test_what_is_meant_is_named(asked: str, meant: str) -> None:
    assert in_context(asked, [DOG]) == meant


@pytest.mark.parametrize("asked", ["Where was it then?", "And the cup?", "What came after that?"])
def test_without_anything_said_before_a_question_stays_as_it_is(asked: str) -> None:
    assert in_context(asked, []) == asked


@pytest.mark.parametrize(
    "asked", ["When did the cup appear?", "What happened before 00:10?", "Did the dog come back after the cat?"]
)
def test_a_question_that_stands_by_itself_stays_as_it_is(asked: str) -> None:
    assert in_context(asked, [DOG]) == asked


def test_a_thing_may_have_been_named_two_questions_ago_and_a_time_not() -> None:
    later = answer("What was there at 00:40?", "Yes.", start=40, end=41)
    assert in_context("Where was it then?", [DOG, later]) == "Where was the dog at 00:40?"


def test_a_thing_may_have_been_named_by_the_answer_alone() -> None:
    said = answer("What appeared at 00:18?", "A pizza appeared at 00:18.")
    assert in_context("Where was it?", [said]) == "Where was the pizza?"


def test_a_guess_tells_no_time() -> None:
    assert in_context("What came after that?", [answer("Was there a dog?", why=WEAK)]) == "What came after that?"


def test_of_a_stream_the_time_is_the_clocks() -> None:
    wall = datetime(2026, 11, 22, 14, 5, 30).timestamp()
    hit = Hit(VideoId("0" * 16), "door", 330.0, 340.0, 0.5, 1, why="looks", wall_start=wall, wall_end=wall + 10)
    assert (
        in_context("What came after that?", [Answer("Was there a dog?", "Yes.", (hit,))]) == "What came after 14:05:40?"
    )


def test_what_is_named_is_what_the_search_reads() -> None:
    asked = read_question(in_context("Where was it then?", [DOG]))
    assert asked.phrases == ("a dog",) and asked.moments == (18.0,)
