"""What is gathered of an object: the same in whatever pieces it is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.index import Track
from vidmem.pipelines.sightings import LOOK_AGAIN_SECONDS, Glimpse, Presence, Sighting, Trail
from vidmem.types import Span

BOX = (0.25, 0.25, 0.75, 0.5)
STEP = 0.25


def seen_or_not(pattern: list[bool]) -> list[Sighting]:
    return [Sighting(index * STEP, BOX if is_seen else None, 0.5) for index, is_seen in enumerate(pattern)]


def spans_of(pattern: list[bool], until: float) -> list[Span]:
    """By looking at the whole: gaps of one frame are filled, then runs are read off."""
    filled = [
        is_seen or (0 < index < len(pattern) - 1 and pattern[index - 1] and pattern[index + 1])
        for index, is_seen in enumerate(pattern)
    ]
    spans, begun = [], None
    for index, is_seen in enumerate([*filled, False]):
        if is_seen and begun is None:
            begun = index
        elif not is_seen and begun is not None:
            end = until if index == len(pattern) else index * STEP
            spans.append(Span(begun * STEP, end))
            begun = None
    return spans


def merged(spans: list[Span]) -> list[Span]:
    """As the store joins what is told in pieces."""
    kept: list[Span] = []
    for span in spans:
        if kept and span.start <= kept[-1].end:
            kept[-1] = Span(kept[-1].start, max(kept[-1].end, span.end))
        else:
            kept.append(span)
    return kept


@given(pattern=st.lists(st.booleans(), max_size=30), cuts=st.sets(st.integers(0, 29)))
def test_spans_are_those_of_the_whole_in_whatever_pieces_they_are_taken(pattern: list[bool], cuts: set[int]) -> None:
    presence, told = Presence(), []
    for index, sighting in enumerate(seen_or_not(pattern)):
        presence.see(sighting.seconds, is_seen=sighting.box is not None)
        if index in cuts:
            told += presence.take(sighting.seconds)
    until = len(pattern) * STEP
    told += presence.take(until)
    assert merged(told) == spans_of(pattern, until)


def test_one_frame_without_it_is_no_absence_and_two_are() -> None:
    presence = Presence()
    for sighting in seen_or_not([True, False, True, False, False, True]):
        presence.see(sighting.seconds, is_seen=sighting.box is not None)
    assert presence.take(1.5) == (Span(0.0, 0.75), Span(1.25, 1.5))


@given(pattern=st.lists(st.booleans(), min_size=1, max_size=30), cut=st.integers(0, 29), replay=st.integers(0, 10))
def test_an_interrupted_trail_goes_on_as_if_it_had_not_been(pattern: list[bool], cut: int, replay: int) -> None:
    """What was committed is not told again, though the later pass begins some frames before that."""
    sightings, until = seen_or_not(pattern), len(pattern) * STEP
    cut = min(cut, len(pattern) - 1)
    first, whole = Trail(), Trail()
    for sighting in sightings:
        whole.see(sighting)
    for sighting in sightings[: cut + 1]:
        first.see(sighting)
    known_until = sightings[cut].seconds
    before = first.take(known_until)
    later = Trail(known_until=known_until)
    for sighting in sightings[max(0, cut - replay) :]:
        later.see(sighting)
    behind = later.take(until)
    track, spans = whole.take(until)
    assert np.array_equal(np.concatenate([before[0].seconds, behind[0].seconds]), track.seconds)
    assert np.array_equal(np.concatenate([before[0].boxes, behind[0].boxes]), track.boxes, equal_nan=True)
    assert all(span.end > known_until and span.start >= known_until for span in behind[1])
    if replay >= 2 or cut < 2:  # the later pass has seen enough of what was before to know of a gap
        assert merged([*before[1], *behind[1]]) == list(spans)


def test_a_track_has_nan_where_it_is_not_seen() -> None:
    trail = Trail()
    for sighting in seen_or_not([True, False]):
        trail.see(sighting)
    assert trail.has_news
    track, _ = trail.take(0.5)
    assert isinstance(track, Track) and not trail.has_news
    assert track.seconds.tolist() == [0.0, 0.25]
    assert track.is_seen.tolist() == [True, False]
    assert track.boxes[0].tolist() == pytest.approx(BOX)


def test_sure_large_and_whole_is_worth_most() -> None:
    whole, unsure = Sighting(0.0, BOX, 0.8), Sighting(0.0, BOX, 0.4)
    small = Sighting(0.0, (0.25, 0.25, 0.5, 0.375), 0.8)
    cut = Sighting(0.0, (0.0, 0.25, 0.5, 0.5), 0.8)
    assert whole.worth == pytest.approx(2 * unsure.worth) == pytest.approx(2 * small.worth)
    assert whole.worth == pytest.approx(2 * cut.worth)
    assert Sighting(0.0, None, 0.9).worth == 0.0


def glimpse(seconds: float, score: float) -> Glimpse:
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    return Glimpse(Sighting(seconds, BOX, score), np.ones((2, 2), dtype=bool), picture, picture)


def test_the_clearest_moment_since_the_last_commit_is_shown() -> None:
    trail = Trail()
    for seconds, score in ((0.0, 0.5), (1.0, 0.9), (2.0, 0.7)):
        one = glimpse(seconds, score)
        if trail.is_best(one.sighting):
            trail.show(one)
    assert trail.best is not None and trail.best.sighting.seconds == 1.0
    trail.take(3.0)
    assert trail.best is None and trail.is_best(Sighting(3.0, BOX, 0.1))
    assert not Trail(known_until=5.0).is_best(Sighting(5.0, BOX, 0.9)), "it was committed"


def test_a_look_is_kept_if_it_is_new_or_the_last_one_is_long_ago() -> None:
    trail, same, other = Trail(), np.eye(4)[0], np.eye(4)[1]
    trail.show(glimpse(0.0, 0.5))
    assert trail.is_new_look(same), "the first"
    trail.remember(0.0, same)
    trail.take(1.0)
    trail.show(glimpse(1.0, 0.5))
    assert not trail.is_new_look(same) and trail.is_new_look(other)
    trail.take(2.0)
    trail.show(glimpse(LOOK_AGAIN_SECONDS, 0.5))
    assert trail.is_new_look(same)


@given(
    pattern=st.lists(st.booleans(), min_size=1, max_size=30), cut=st.integers(0, 29), cuts=st.sets(st.integers(0, 29))
)
def test_what_was_seen_before_a_gap_and_behind_it_is_as_of_two(pattern: list[bool], cut: int, cuts: set[int]) -> None:
    cut, shift = min(cut, len(pattern) - 1), min(cut, len(pattern) - 1) * STEP + 7.0
    begins = max(0.0, (cut - 0.5) * STEP)
    presence, told = Presence(), []
    for index, is_seen in enumerate(pattern):
        if index == cut:
            presence.interrupt(begins)
        seconds = index * STEP + (7.0 if index >= cut else 0.0)
        presence.see(seconds, is_seen=is_seen)
        if index in cuts:
            told += presence.take(seconds)
    told += presence.take(len(pattern) * STEP + 7.0)
    behind = spans_of(pattern[cut:], (len(pattern) - cut) * STEP)
    assert merged(told) == [
        *spans_of(pattern[:cut], begins),
        *(Span(one.start + shift, one.end + shift) for one in behind),
    ]
