"""What the Objects screen shows: each object with where it was seen, and boxes that lie where they were."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.index import ObjectId, Track
from vidmem.models.tracker import Change
from vidmem.pipelines import RememberedObject
from vidmem.pipelines.stored_tracking import TrackedObject
from vidmem.types import Span, VideoId
from vidmem.ui.jobs import JobState
from vidmem.ui.object_view import SPANS, TOLERANCE, Seen, joined, lost, object_view, thinned


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    """Walks that stand, go straight, jump and hide."""
    num = draw(st.integers(0, 80))
    seed = draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    seconds = np.cumsum(random.uniform(0.05, 0.4, num))
    speed = np.repeat(random.normal(0, 0.01, (num // 8 + 1, 2)), 8, axis=0)[:num]
    middle = np.clip(0.5 + np.cumsum(speed * (random.uniform(size=(num, 1)) < 0.9), axis=0), 0.2, 0.8)
    boxes = np.concatenate([middle - 0.1, middle + 0.1], axis=1)
    hidden = np.repeat(random.uniform(size=num // 5 + 1) < 0.3, 5)[:num]
    boxes[hidden] = np.nan
    return Track(seconds, boxes, np.ones(num))


@given(tracks())
def test_a_thinned_track_lies_where_the_whole_one_does_at_every_time(track: Track) -> None:
    places = thinned(track)
    assert places.tolist() == sorted(set(places.tolist()))
    kept = track.seconds[places]
    for place, seconds in enumerate(track.seconds):
        before = places[np.searchsorted(kept, seconds, side="right") - 1]
        after = places[np.searchsorted(kept, seconds, side="left")]
        assert track.is_seen[before] == track.is_seen[place] == track.is_seen[after]
        if track.is_seen[place]:
            wide = track.seconds[after] - track.seconds[before]
            share = (seconds - track.seconds[before]) / wide if wide else 0.0
            drawn = track.boxes[before] + share * (track.boxes[after] - track.boxes[before])
            assert np.abs(drawn - track.boxes[place]).max() <= TOLERANCE + 1e-6


def test_what_stands_or_goes_straight_takes_two_boxes() -> None:
    seconds = np.arange(1000) / 5
    left = 0.0005 * np.arange(1000)
    boxes = np.stack([left, np.full(1000, 0.1), left + 0.3, np.full(1000, 0.4)], axis=1)
    assert thinned(Track(seconds, boxes, np.ones(1000))).tolist() == [0, 999]
    assert thinned(Track.empty()).tolist() == []


def remembered(number: int, *, label: str = "dog", spans: int = 1, thumbnail: str | None = None) -> RememberedObject:
    seen = tuple(Span(10.0 * n, 10.0 * n + 2) for n in range(spans))
    return RememberedObject(
        ObjectId(number), VideoId("0" * 16), "/v/a.mp4", label, 0.9, "asked", seen, 0.0, 95.0, thumbnail
    )


def test_each_object_is_told_with_its_name_spans_and_boxes() -> None:
    track = Track(
        np.array([0.0, 1.0, 2.0]), np.array([[0.1, 0.1, 0.2, 0.2], [np.nan] * 4, [0.5, 0.5, 0.75, 1]]), np.ones(3)
    )
    objects = [
        Seen(remembered(1, thumbnail="/s/crops/1/0.jpg"), track),
        Seen(remembered(2, label="", spans=40, thumbnail="/s/crops/2/0.jpg"), Track.empty()),
    ]
    told = object_view(objects, [], video="a", hours=False)
    assert json.loads(json.dumps(told)) == told
    assert told["thumbnails"] == "/s/crops/"
    first, second = told["objects"]
    assert (first["name"], first["thumbnail"], first["how"]) == ("dog", "1/0.jpg", "you pointed at it")
    assert (
        first["spans"] == [{"at": 0.0, "end": 2.0, "text": "00:00-00:02"}] and first["until"] == "followed until 01:35"
    )
    assert first["track"] == [[0.0, 0.1, 0.1, 0.2, 0.2], [1.0], [2.0, 0.5, 0.5, 0.75, 1.0]]
    assert second["name"] == "Object 2" and second["track"] == []
    assert (len(second["spans"]), second["more"]) == (SPANS, 40 - SPANS)


@pytest.mark.parametrize("phase, over", [("waiting", False), ("running", False), ("failed", True), ("cancelled", True)])
def test_work_is_told_with_how_far_it_is(phase: str, over: bool) -> None:
    job = JobState(7, "follow", "s", "/v/a.mp4", phase=phase, message="Followed 00:03 of 00:10", fraction=0.3)  # type: ignore[arg-type]
    (told,) = object_view([], [job], video="a", hours=False)["jobs"]
    assert (told["id"], told["over"], told["fraction"]) == (7, over, 0.3)
    assert told["title"] == "Following what you pointed at"


def test_that_an_object_was_lost_is_told_if_it_did_not_come_back() -> None:
    gone, back = Change(3, "lost", 65.2), Change(3, "back", 70.0)
    tracked = TrackedObject(ObjectId(3), "", (), 0.0, 95.0, 475, (), ())
    assert lost(tracked) == lost(replace(tracked, changes=(gone, back))) == []
    assert lost(replace(tracked, changes=(gone, back, replace(gone, seconds=80.0)), label="key")) == [
        "key is lost at 01:20 and did not come back."
    ]
    assert lost(replace(tracked, changes=(gone,)))[0].startswith("Object 3 is lost at 01:05 ")


def test_of_a_damaged_track_the_cure_is_told_and_the_others_go_on() -> None:
    objects = [Seen(remembered(1), None), Seen(remembered(2), Track.empty())]
    first, second = object_view(objects, [], video="a", hours=False)["objects"]
    assert first["until"] == "its track is damaged: forget it, and follow it again" and first["track"] == []
    assert first["spans"] and second["until"] == "followed until 01:35"


def test_stretches_that_nobody_sees_apart_are_one() -> None:
    spans = [Span(0, 1), Span(1.0000001, 2), Span(2.05, 3), Span(3.2, 4)]
    assert joined(spans) == [Span(0, 3), Span(3.2, 4)] and joined([]) == []
