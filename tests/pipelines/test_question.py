from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.pipelines.question import MAX_PHRASES, read_question, seconds_of, singular
from vidmem.types import Span


@pytest.mark.parametrize(
    ("question", "phrases"),
    [
        ("When did the dog appear?", ("a dog",)),
        ("Where was the apple?", ("an apple",)),
        ("Was there a dog?", ("a dog",)),
        ("Was there an EXIT sign?", ("an EXIT sign",)),
        ("What came after the pair of scissors?", ("a pair of scissors",)),
        ("Which came first, the bus or the bunch of grapes?", ("a bus", "a bunch of grapes")),
        ("How many buses were there?", ("a bus",)),
        ("How many pairs of glasses were there?", ("a pair of glasses",)),
        ("How many times did the dog appear?", ("a dog",)),
        ("Did the dog move?", ("a dog",)),
        ("What was on the left at 00:12?", ()),
        ("Which thing changed its place?", ()),
        ("How many things were there at 01:00:12?", ()),
        ("When did it become night?", ("night",)),
        ("Was there a cup on the left?", ("a cup on the left",)),
        ("When did the man with the red hat pour tea?", ("a man", "a red hat pour tea")),
        ("When did Anna hug the dog?", ("a dog", "Anna hug the dog")),
        ("When do people clap?", ("people clap",)),
        ("a dog on the left", ("a dog on the left",)),
        ("", ()),
    ],
)
def test_questions_turn_into_captions(question: str, phrases: tuple[str, ...]) -> None:
    assert read_question(question).phrases == phrases


@pytest.mark.parametrize(
    ("question", "moments", "ranges"),
    [
        ("What was there at 12:04?", (724.0,), ()),
        ("What was there at 1:02:03?", (3723.0,), ()),
        ("What could be seen at 43 seconds?", (43.0,), ()),
        ("What was it around 2 minutes and 5 seconds?", (125.0,), ()),
        ("What happened between 1:00 and 2:00?", (), (Span(60, 120),)),
        ("What happened from 30s to 1:30?", (), (Span(30, 90),)),
        ("What happened 0:10-0:20?", (), (Span(10, 20),)),
        ("What came after minute 3?", (180.0,), (Span(180, 600),)),
        ("Was there a dog before 2:00?", (120.0,), (Span(0, 120),)),
        ("Was there a dog in the first 30 seconds?", (), (Span(0, 30),)),
        ("Was there a dog during the last minute?", (), (Span(540, 600),)),
        ("What was there at the end of the video?", (), (Span(590, 600),)),
        ("What was there at the beginning?", (), (Span(0, 10),)),
        ("How many dogs were there?", (), ()),
        ("What was there at 0:05 and at 0:09?", (5.0, 9.0), ()),
    ],
)
def test_times_are_read(question: str, moments: tuple[float, ...], ranges: tuple[Span, ...]) -> None:
    asked = read_question(question, 600.0)
    assert (asked.moments, asked.ranges) == (moments, ranges)


@pytest.mark.parametrize(
    ("question", "look"),
    [
        ("What came after the cat?", "after"),
        ("What came before the cat?", "before"),
        ("What came next?", "after"),
        ("What was there before 0:20?", "before"),
        ("Where was the cat?", None),
    ],
)
def test_the_way_to_look_is_read(question: str, look: str | None) -> None:
    assert read_question(question).look == look


def test_times_do_not_become_things() -> None:
    assert read_question("Was there a dog between 1:00 and 2 minutes?").phrases == ("a dog",)


@pytest.mark.parametrize(
    ("plural", "one"),
    [("dogs", "dog"), ("buses", "bus"), ("cactuses", "cactus"), ("strawberries", "strawberry"), ("boxes", "box"),
     ("fish", "fish"), ("people", "person"), ("glass", "glass"), ("shoes", "shoe"), ("cheeses", "cheese"),
     ("octopuses", "octopus"), ("torches", "torch")],
)  # fmt: skip
def test_singular(plural: str, one: str) -> None:
    assert singular(plural) == one


def test_seconds_of_every_form() -> None:
    assert [seconds_of(text) for text in ("0:07", "43 seconds", "2 min 5 s", "minute 3", "1.5 hours")] == [
        7.0, 43.0, 125.0, 180.0, 5400.0,
    ]  # fmt: skip


@pytest.mark.parametrize("digits", [12, 400])
def test_a_number_of_any_length_is_no_time_that_could_not_be_written(digits: int) -> None:
    nines = "9" * digits
    for question in (f"What came after {nines} seconds?", f"What was there in minute {nines}?"):
        asked = read_question(question, 100.0)
        assert asked.moments == () and asked.ranges == ()


@given(st.text(max_size=200))
def test_any_text_is_read_without_failing(text: str) -> None:
    asked = read_question(text, 100.0)
    assert len(asked.phrases) <= MAX_PHRASES
    assert all(phrase.strip() for phrase in asked.phrases)
