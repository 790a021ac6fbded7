"""Pictures lie on one timeline, whatever their stream's clock does."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.ingest.live.timeline import Timeline, next_due


def placed(
    pictures: list[tuple[float | None, float]], timeline: Timeline | None = None
) -> tuple[list[float | None], Timeline]:
    """Where pictures `(pts, arrival)` of one connection come to lie."""
    timeline = (timeline or Timeline()).reconnected()
    places: list[float | None] = []
    for pts, arrival in pictures:
        after = timeline.placed(pts, arrival)
        places.append(None if after is None else round(after.latest, 6))
        timeline = after or timeline
    return places, timeline


def steady(
    count: int, *, pts: float = 0.0, arrival: float = 100.0, step: float = 0.1
) -> list[tuple[float | None, float]]:
    return [(pts + index * step, arrival + index * step) for index in range(count)]


def test_distances_are_the_streams_own() -> None:
    places, _ = placed([(7.0, 100.0), (7.1, 100.4), (7.2, 100.41), (7.3, 100.42)])
    assert places == [0.0, 0.1, 0.2, 0.3]


def test_an_outage_leaves_its_length_out_though_the_clock_begins_anew() -> None:
    _, timeline = placed(steady(11, pts=500.0))
    places, _ = placed(steady(3, pts=0.0, arrival=108.5), timeline)
    assert places == [8.5, 8.6, 8.7]


def test_what_a_server_had_kept_does_not_push_the_timeline_ahead() -> None:
    # Each connection begins with two seconds that come at once, as a segment or a group of pictures that was kept.
    kept = [(index / 10, 0.0) for index in range(20)] + [(2.0 + index / 10, 0.1 * (index + 1)) for index in range(20)]
    timeline = None
    for connected in (100.0, 110.0, 120.0, 130.0):
        places, timeline = placed([(pts, connected + arrival) for pts, arrival in kept], timeline)
        assert places[0] == pytest.approx(connected - 100.0, abs=0.2)
        assert places[-1] is not None and places[0] is not None and places[-1] - places[0] == pytest.approx(3.9)


def test_a_late_and_a_doubled_picture_have_no_place() -> None:
    places, _ = placed([(0.0, 100.0), (0.1, 100.1), (0.1, 100.1), (0.05, 100.15), (0.2, 100.2)])
    assert places == [0.0, 0.1, None, None, 0.2]


def test_a_clock_that_jumps_within_a_connection_is_followed() -> None:
    places, _ = placed([(50.0, 100.0), (50.1, 100.1), (0.0, 100.2), (0.1, 100.3), (9000.0, 100.4), (9000.1, 100.5)])
    assert places == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_hole_in_the_stream_stays_a_hole() -> None:
    places, _ = placed([(0.0, 100.0), (0.1, 100.1), (8.1, 108.1), (8.2, 108.2)])
    assert places == [0.0, 0.1, 8.1, 8.2]


def test_a_clock_that_stands_still_does_not_end_the_stream() -> None:
    places, _ = placed([(5.0, 100.0 + index / 10) for index in range(100)])
    assert len([place for place in places if place is not None]) >= 9


def test_pictures_without_times_lie_where_they_arrive() -> None:
    places, _ = placed([(None, 100.0), (None, 100.2), (None, 100.5)])
    assert places == [0.0, 0.2, 0.5]


def test_one_picture_without_a_time_lies_a_step_behind_the_one_before() -> None:
    # As FFmpeg gives an RTSP stream: the first picture has no time. All were read at once.
    timeline = Timeline(step=0.1)
    places, _ = placed([(None, 100.0), (0.1, 100.001), (None, 100.002), (0.3, 100.003)], timeline)
    assert places == [0.0, 0.1, 0.2, 0.3]


def test_capture_is_known_after_the_first_pictures_were_waiting() -> None:
    late = [(index / 10, 101.0) for index in range(10)]
    _, timeline = placed([*late, (1.0, 101.02), (1.1, 101.10)])
    assert timeline.captured == pytest.approx(101.1)


def test_a_delay_that_lasts_is_taken_for_none_after_half_a_minute() -> None:
    # The stream stood for three seconds, and its clock with it.
    _, timeline = placed(steady(20) + steady(400, pts=2.0, arrival=105.0))
    assert timeline.captured == pytest.approx(105.0 + 39.9)


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.floats(-1e5, 1e5)), st.floats(0.0, 40.0), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_time_never_runs_backwards(pictures: list[tuple[float | None, float, bool]]) -> None:
    timeline, now, latest, captured = Timeline(), 1000.0, -1.0, 0.0
    for pts, later, is_new in pictures:
        now += later
        if is_new:
            timeline = timeline.reconnected()
        after = timeline.placed(pts, now)
        if after is None:
            continue
        assert after.latest > latest
        assert captured - 1e-6 <= after.captured <= now + 1e-6
        latest, captured, timeline = after.latest, after.captured, after
    assert Timeline(**json.loads(json.dumps(asdict(timeline)))) == timeline


def taken(times: list[float], fps: float) -> list[float]:
    kept: list[float] = []
    due = None
    for time in times:
        if due is None or time >= due:
            kept.append(time)
            due = next_due(due, time, fps)
    return kept


@pytest.mark.parametrize(
    ("rate", "fps"), [(10.0, 10.0), (15.0, 2.0), (30.0, 4.0), (25.0, 1.0), (12.5, 12.5), (15.0, 10.0), (10.0, 9.0)]
)
@given(jitter=st.lists(st.floats(-0.002, 0.002), min_size=200, max_size=200), start=st.floats(0.0, 10.0))
def test_a_steady_stream_is_taken_at_the_rate_that_was_asked_for(
    rate: float, fps: float, jitter: list[float], start: float
) -> None:
    times = [start + index / rate + off for index, off in enumerate(jitter)]
    kept = taken(times, fps)
    assert abs(len(kept) - (200 / rate * fps)) <= 1
    apart = [second - one for one, second in zip(kept, kept[1:], strict=False)]
    assert max(apart) <= 1 / fps + 1 / rate + 0.01


def test_no_picture_of_a_stream_slower_than_asked_for_is_passed_over() -> None:
    times = [index / 4 for index in range(40)]
    assert taken(times, 10.0) == times


def test_after_an_outage_the_ticks_begin_anew_and_nothing_is_made_up_for() -> None:
    times = [0.0, 0.5, 1.0, 60.3, 60.4, 60.5, 60.6, 60.8, 61.3]
    assert taken(times, 2.0) == [0.0, 0.5, 1.0, 60.3, 60.8, 61.3]
