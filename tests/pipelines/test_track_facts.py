"""What tracks say, as pure functions of spans: any spans, any times asked about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.index import ObjectHit, ObjectId, StoredObject
from vidmem.pipelines.object_matching import at_place, is_named, match_objects, place_in_words
from vidmem.pipelines.question import read_question
from vidmem.pipelines.time_of_day import Times
from vidmem.pipelines.track_facts import MIN_GAP_SECONDS, Facts, answer, facts_of, is_followed, joined, why
from vidmem.pipelines.track_questions import is_plain, thing_of, want_of
from vidmem.types import Span, VideoId
from vidmem.world.words import numbers_in, seconds_in

CELLS = 120
"""Half seconds of a minute, on which spans begin and end: what spans do can be counted there."""
spans_on_cells = st.lists(st.tuples(st.integers(0, CELLS), st.integers(1, 20)), max_size=8).map(
    lambda pairs: [Span(first / 2, min(first + length, CELLS + 20) / 2) for first, length in pairs]
)


def cells(spans: list[Span] | tuple[Span, ...]) -> np.ndarray:
    covered = np.zeros(CELLS + 40, dtype=bool)
    for span in spans:
        covered[round(span.start * 2) : round(span.end * 2)] = True
    return covered


def closed(covered: np.ndarray, gap: int) -> np.ndarray:
    """The same with gaps of fewer cells filled, one cell after the other."""
    filled, places = covered.copy(), np.flatnonzero(covered)
    for one, other in zip(places, places[1:], strict=False):
        if other - one - 1 < gap:
            filled[one:other] = True
    return filled


@given(spans_on_cells, st.sampled_from([0.0, 0.5, MIN_GAP_SECONDS, 5.0]))
def test_joined_spans_cover_the_same_and_gaps_that_are_short(spans: list[Span], gap: float) -> None:
    found = joined(spans, gap)
    assert list(found) == sorted(found)
    assert all(later.start - one.end >= max(gap, 0.5) for one, later in zip(found, found[1:], strict=False))
    assert np.array_equal(cells(found), closed(cells(spans), round(gap * 2)))
    assert joined(found, gap) == found


@given(spans_on_cells, spans_on_cells, spans_on_cells.filter(bool))
def test_facts_are_of_the_times_asked_about_alone(spans: list[Span], followed: list[Span], asked: list[Span]) -> None:
    facts = facts_of(spans, followed, asked)
    there = closed(cells(spans), round(MIN_GAP_SECONDS * 2)) & cells(asked)
    assert (facts is None) == (not there.any())
    if facts is None:
        return
    assert np.array_equal(cells(facts.stretches), there)
    assert facts.seconds == pytest.approx(there.sum() / 2)
    unknown = cells(asked) & ~cells(followed) & ~closed(cells(spans), round(MIN_GAP_SECONDS * 2))
    assert not (cells(facts.gaps) & ~unknown).any()
    left_out = joined(Span(cell / 2, cell / 2 + 0.5) for cell in np.flatnonzero(unknown & ~cells(facts.gaps)))
    assert all(span.seconds <= 1.5 for span in left_out)
    for want in ("how long", "how often", "where", "when"):
        text = answer(want, "The dog", facts)  # type: ignore[arg-type]
        assert text.startswith("The dog was ") and text.endswith(".")
        assert ("tracked" in text) == bool(facts.gaps)
    assert numbers_in(answer("how often", "The dog", facts))[0] == len(facts.stretches)
    assert seconds_in(answer("when", "The dog", facts))[0] == int(facts.stretches[-1].end)


@given(spans_on_cells.filter(bool), st.integers(0, CELLS), st.integers(1, 20))
def test_what_is_looked_for_from_begin_to_end_is_followed(followed: list[Span], first: int, length: int) -> None:
    span = Span(first / 2, (first + length) / 2)
    inside = cells(followed)[first : first + length]
    if inside.all():
        assert is_followed(span, followed)
    if not cells(followed)[max(0, first - 3) : first + length + 3].any():
        assert not is_followed(span, followed)


FACTS = Facts((Span(2, 20), Span(30, 40)), (Span(0, 60),), (), (0.05, 0.4, 0.2, 0.6))


@pytest.mark.parametrize(
    ("want", "facts", "text"),
    [
        (
            "how long",
            FACTS,
            "The car was there for 28 s, in 2 stretches: 00:02-00:20 and 00:30-00:40; last on the left.",
        ),
        ("how often", FACTS, "The car was there 2 times: 00:02-00:20 and 00:30-00:40."),
        ("where", FACTS, "The car was last seen on the left, at 00:40."),
        ("when", FACTS, "The car was last seen at 00:40, on the left."),
        ("when", replace(FACTS, box=None), "The car was last seen at 00:40."),
        ("where", replace(FACTS, moment=31.0), "The car was on the left at 00:31."),
        ("how often", replace(FACTS, stretches=(Span(2, 20),)), "The car was there once: 00:02-00:20."),
        (
            "where",
            replace(FACTS, followed=(Span(0, 300),), gaps=(Span(300, 600),)),
            "The car was last seen on the left, at 00:40. It was tracked until 05:00.",
        ),
        (
            "how long",
            replace(FACTS, stretches=(Span(12, 215),), followed=(Span(12, 300),), gaps=(Span(0, 12), Span(300, 600))),
            "The car was there for 3 min 23 s: 00:12-03:35; last on the left. It was tracked from 00:12 until 05:00.",
        ),
        (
            "how often",
            replace(FACTS, followed=(Span(0, 21), Span(30, 60)), gaps=(Span(21, 30),)),
            "The car was there 2 times: 00:02-00:20 and 00:30-00:40. It was tracked 00:00-00:21 and 00:30-01:00 only.",
        ),
        (
            "how often",
            replace(FACTS, stretches=tuple(Span(10 * index, 10 * index + 4) for index in range(10))),
            "The car was there 10 times: 00:00-00:04, 00:10-00:14, 00:20-00:24, 00:30-00:34, 00:40-00:44, 00:50-00:54,"
            " 01:00-01:04, 01:10-01:14 and 2 more.",
        ),
    ],
)
def test_facts_are_told_in_a_sentence(want: str, facts: Facts, text: str) -> None:
    assert answer(want, "The car", facts) == text  # type: ignore[arg-type]


def test_evidence_says_the_fact_and_its_source() -> None:
    assert why("object 3, a car", FACTS) == (
        "object 3, a car: seen 28 s in 2 stretches, last 00:40 on the left (its track)"
    )
    late = replace(FACTS, followed=(Span(12, 300),), gaps=(Span(300, 600),))
    assert why("object 3", late).endswith("last 00:40 on the left (its track until 05:00)")
    assert why("object 3", replace(FACTS, moment=4.0)) == "object 3: on the left at 00:04 (its track)"
    hours = replace(FACTS, stretches=(Span(3600, 3600 + 7500),), box=None)
    assert why("object 3", hours, times=Times(hours=True)) == "object 3: seen 2 h 5 min, last 03:05:00 (its track)"


@pytest.mark.parametrize(
    ("box", "place", "told"),
    [
        ((0.0, 0.4, 0.2, 0.6), "left", "on the left"),
        ((0.4, 0.0, 0.6, 0.3), "top", "at the top"),
        ((0.4, 0.4, 0.6, 0.6), "middle", "in the middle"),
        ((0.8, 0.8, 1.0, 1.0), "bottom right", "at the bottom right"),
        ((0.0, 0.0, 1.0, 1.0), "middle", "in the middle"),
        ((1.0, 1.0, 1.0, 1.0), "bottom right", "at the bottom right"),
    ],
)
def test_places_in_words(box: tuple[float, float, float, float], place: str, told: str) -> None:
    assert (place_in_words(box), at_place(box)) == (place, told)


@pytest.mark.parametrize(
    ("question", "want", "plain"),
    [
        ("How long was the dog there?", "how long", True),
        ("For how many seconds was the bunch of grapes visible?", "how long", True),
        ("How long did the dog stay in the first 30 seconds?", "how long", True),
        ("How much time did the dog spend in view?", "how long", True),
        ("How often did the dog appear?", "how often", True),
        ("How many times was the dog seen between 0:10 and 0:50?", "how often", True),
        ("Where did I put my keys?", "where", True),
        ("Where is my key now?", "where", True),
        ("Where was the dog at 0:20?", "where", True),
        ("When was the red car last seen?", "when", True),
        ("When did the dog appear?", "when", False),
        ("When did the dog leave?", "when", False),
        ("Where did the dog appear?", "where", False),
        ("How long did the dog sleep?", "how long", False),
        ("How many times did the dog move?", "how often", False),
        ("How often did the dog leave?", "how often", False),
        ("How long was the dog there before the cat came?", "how long", False),
        ("How long ago was the dog there?", "how long", False),
        ("How long was the dog not there?", "how long", False),
        ("Where was the dog when the cat came?", "where", False),
        ("What came after the dog?", None, None),
        ("How many dogs were there?", None, None),
        ("Was the dog there?", None, None),
    ],
)
def test_questions_to_tracks_are_recognised(question: str, want: str | None, plain: bool | None) -> None:
    assert want_of(question) == want
    if want is not None:
        thing = thing_of(read_question(question, 60.0).phrases[0], want)  # type: ignore[arg-type]
        exact = is_named("dog", thing) and is_named(thing, "dog") or "dog" not in question
        assert (exact and is_plain(question, want, thing)) == plain  # type: ignore[arg-type]


def stored(number: int, label: str, score: float = 0.4) -> StoredObject:
    object_id, video_id = ObjectId(number), VideoId("a")
    return StoredObject(object_id, video_id, label, score, "found", "", (Span(0, 1),), 0.0, 1.0, 1, None)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("a car", [(5, "exactly"), (1, "exactly")]),
        ("cars", [(5, "exactly"), (1, "exactly")]),
        ("a red car", [(2, "exactly")]),
        ("a blue car", [(5, "partly")]),
        ("a vehicle", [(5, "by looks"), (4, "by looks")]),
    ],
)
def test_labels_count_before_looks_and_exact_ones_alone(words: str, found: list[tuple[int, str]]) -> None:
    objects = [stored(1, "car"), stored(2, "red car"), stored(3, "van", 1.0), stored(4, ""), stored(5, "a car")]
    scores = {5: 0.5, 3: 0.48, 4: 0.45, 2: 0.3, 1: 0.1}
    hits = [ObjectHit(ObjectId(number), VideoId("a"), score, 0.5, "crop") for number, score in scores.items()]
    matches = match_objects(words, objects, hits, floor=0.27)
    assert [(one.object.object_id, one.named) for one in matches] == found
    assert [one.score for one in matches] == [scores[one.object.object_id] for one in matches]
