"""What the timeline shows: nothing is left out, and no button lies on another, at any zoom."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.types import Hit, Span, VideoId
from vidmem.ui.timeline import Followed, Segment, evidence_lane, lanes_of, levels_of, timeline

DAY = 86_400.0
STARTS = st.lists(st.floats(0, DAY, exclude_max=True), min_size=1, max_size=200).map(sorted)


@given(STARTS)
def test_every_segment_is_in_one_group_of_each_level(starts: list[float]) -> None:
    for level in levels_of(starts, DAY):
        first = list(level.first)
        assert first[0] == 0 and first == sorted(set(first)) and first[-1] < len(starts)
    assert list(levels_of(starts, DAY)[-1].first) == list(range(len(starts)))


@given(STARTS)
def test_groups_begin_apart_and_take_in_only_what_lies_close(starts: list[float]) -> None:
    for level in levels_of(starts, DAY)[:-1]:
        begun = [starts[index] for index in level.first]
        assert all(later >= start + level.seconds for start, later in zip(begun, begun[1:], strict=False))
        assert len(begun) <= DAY / level.seconds + 1
        for start in starts:
            own = max(begin for begin in begun if begin <= start)
            assert start < own + level.seconds or start == own


@given(STARTS)
def test_levels_halve_down_to_the_first_that_tells_all_apart(starts: list[float]) -> None:
    levels = levels_of(starts, DAY)
    assert levels[0].seconds == DAY / 8
    for coarse, fine in zip(levels, levels[1:], strict=False):
        assert coarse.seconds == 2 * fine.seconds and len(coarse.first) < len(starts)
        assert len(fine.first) >= len(coarse.first)
    apart = min((later - start for start, later in zip(starts, starts[1:], strict=False)), default=DAY)
    assert levels[-1].seconds <= max(apart, 0.1) * 2 or len(levels) == 1


def test_an_hour_of_scenes_a_second_long_is_few_buttons_from_afar() -> None:
    levels = levels_of([float(second) for second in range(3600)], 3600.0)
    assert [len(level.first) for level in levels[:3]] == [8, 16, 32]
    assert levels[0].first[:3] == [0, 450, 900]
    assert len(levels[-1].first) == 3600


def test_moments_that_no_zoom_tells_apart_do_not_make_levels_without_end() -> None:
    levels = levels_of([5.0, 5.0, 5.0], 3600.0)
    assert all(list(level.first) == [0] for level in levels[:-1])
    assert list(levels[-1].first) == [0, 1, 2]


def test_lanes_stand_in_one_order_and_empty_ones_are_left_out() -> None:
    scene = Segment(0.0, 60.0, "", "/s/thumbs/v/0.jpg")
    lanes = lanes_of(60.0, scenes=[scene], objects=[Followed("dog", [Span(3, 9)])], gaps=[Span(20, 30)])
    assert [(lane.kind, lane.name) for lane in lanes] == [("scene", "Scenes"), ("object", "dog"), ("gap", "Gaps")]
    assert [segment.label for lane in lanes for segment in lane.segments] == ["Scene 1", "dog", "Gap"]
    assert lanes_of(60.0) == [] and [lane.kind for lane in lanes_of(60.0, gaps=[Span(1, 2)])] == ["gap"]
    assert [lane.kind for lane in lanes_of(60.0, scenes=[scene], objects=[Followed("never seen", [])])] == ["scene"]


def test_each_of_six_objects_has_a_lane() -> None:
    objects = [Followed(f"cup {number}", [Span(number, number + 1)]) for number in range(6)]
    assert [lane.name for lane in lanes_of(60.0, objects=objects)] == [one.name for one in objects]


def test_of_many_objects_the_rest_share_a_lane_and_keep_their_names() -> None:
    objects = [Followed("cup", [Span(number, 2 * number + 1)], f"/{number}.jpg") for number in range(9)]
    lanes = lanes_of(60.0, objects=objects)
    # Five of the same name are still five lanes: those seen longest, in the order they came.
    assert [lane.name for lane in lanes] == ["cup"] * 5 + ["4 more"]
    assert [lane.segments[0].start for lane in lanes[:5]] == [4.0, 5.0, 6.0, 7.0, 8.0]
    assert [(one.start, one.label, one.thumbnail) for one in lanes[-1].segments] == [
        (float(number), "cup", f"/{number}.jpg") for number in range(4)
    ]


def test_evidence_keeps_its_numbers_and_lies_in_the_order_of_time() -> None:
    hits = [
        Hit(VideoId("0" * 16), "a.mp4", start, start + 2, 0.5, rank, why="the time in the question")
        for rank, start in enumerate([40.0, 10.0])
    ]
    lane = evidence_lane(hits, hits[0].video_id, 60.0)
    assert [(one.start, one.label) for one in lane.segments] == [(10.0, "Evidence 2"), (40.0, "Evidence 1")]
    assert {one.note for one in lane.segments} == {"the time in the question"}


def test_what_the_page_gets_is_json_with_the_folder_of_pictures_once() -> None:
    scenes = [Segment(0.0, 1.23456, "", "/s/thumbs/v/000.jpg"), Segment(1.23456, 9.0, "", "/s/thumbs/v/001.jpg")]
    told = timeline(9.0, lanes_of(9.0, scenes=scenes, gaps=[Span(2, 3)]))
    assert json.loads(json.dumps(told)) == told
    assert told["thumbnails"] == "/s/thumbs/v/" and told["hours"] is False
    assert told["lanes"][0]["segments"] == [
        {"start": 0.0, "end": 1.235, "label": "Scene 1", "thumbnail": "000.jpg"},
        {"start": 1.235, "end": 9.0, "label": "Scene 2", "thumbnail": "001.jpg"},
    ]
    assert "first" not in told["lanes"][0]["levels"][-1]


@pytest.mark.parametrize(
    "paths, folder",
    [
        (["/s/thumbs/v/000.jpg", "/s/objects/1.jpg"], "/s/"),
        (["/s/thumbs/v1/000.jpg", "/s/thumbs/v2/000.jpg"], "/s/thumbs/"),
        (["/s/thumbs/v/000.jpg"], "/s/thumbs/v/"),
        ([], ""),
    ],
)
def test_pictures_are_named_from_the_folder_they_share(paths: list[str], folder: str) -> None:
    scenes = [Segment(float(index), index + 1.0, "", path) for index, path in enumerate(paths)]
    told = timeline(9.0, lanes_of(9.0, scenes=scenes))
    shown = [one["thumbnail"] for lane in told["lanes"] for one in lane["segments"]]
    assert [told["thumbnails"] + name for name in shown] == paths
    assert told["thumbnails"] == folder


def test_hours_are_written_from_one_hour_on_or_as_asked() -> None:
    assert timeline(3600.0, [])["hours"] and not timeline(3599.0, [])["hours"]
    assert timeline(10.0, [], hours=True)["hours"]
