"""How a stream is cut, and how its rate gives way: decisions on times alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.ingest import Gap, LiveFrame
from vidmem.pipelines.stream_clips import (
    LONGEST_STRIDE,
    TOO_SLOW,
    UNWATCHED,
    UNWATCHED_SET_BACK,
    Cutter,
    Earlier,
    Pace,
    StreamClip,
)

WALL = 1_700_000_000.0
PICTURE = (np.zeros((1, 1, 3), np.uint8),)


def frame(seconds: float, next_from: float | None = None) -> LiveFrame:
    return LiveFrame(seconds, PICTURE, WALL + seconds, 50.0 + seconds, 1, next_from)


def gap(start: float, end: float, reason: str = "the stream froze") -> Gap:
    return Gap(start, end, WALL + start, WALL + end, reason)


def cut(cutter: Cutter, items: list[LiveFrame | Gap]) -> list[StreamClip]:
    found = [clip for clip in map(cutter.push, items) if clip is not None]
    last = cutter.finish()
    return found + ([last] if last is not None else [])


def told(clips: list[StreamClip]) -> list[tuple[float, float, list[float]]]:
    return [
        (clip.clip.span.start, clip.clip.span.end, [frame.pts_seconds for frame in clip.clip.frames]) for clip in clips
    ]


def test_clips_follow_each_other_and_the_last_ends_a_step_behind_its_frame() -> None:
    clips = cut(Cutter(seconds=1.0, fps=2.0), [frame(k / 2) for k in range(5)])
    assert told(clips) == [(0.0, 1.0, [0.0, 0.5]), (1.0, 2.0, [1.0, 1.5]), (2.0, 2.5, [2.0])]
    assert [clip.wall_start - WALL for clip in clips] == [0.0, 1.0, 2.0]
    assert [clip.arrived for clip in clips] == [(50.0, 50.5), (51.0, 51.5), (52.0,)]
    assert all(clip.gap is None for clip in clips)


def test_a_clip_to_which_no_more_can_come_ends_at_once_where_the_next_frame_is_due() -> None:
    cutter = Cutter(seconds=1.0, fps=2.0)
    ended = [cutter.push(frame(seconds, due)) for seconds, due in ((0.0, 0.48), (0.53, 0.98), (1.0, 1.48), (1.53, 1.5))]
    assert [clip and told([clip])[0] for clip in ended] == [None, (0.0, 0.98, [0.0, 0.53]), None, None]
    # The next frame is overdue already: its clip ends when it comes, as one of which nothing is known.
    assert told(cut(cutter, [frame(2.0)])) == [(1.0, 2.0, [1.0, 1.53]), (2.0, 2.5, [2.0])]
    once = Cutter(seconds=1.0, fps=1.0, earlier=Earlier(100.0, WALL - 1.0))
    assert told(cut(once, [frame(3.0, 3.98)])) == [(104.0, 104.98, [104.0])]


def test_behind_a_clip_that_ended_early_gaps_begin_where_it_did() -> None:
    early = [frame(0.0, 0.48), frame(0.5, 0.98)]
    clips = cut(Cutter(seconds=1.0, fps=2.0), [*early, gap(0.6, 20.0), frame(20.0)])
    assert clips[1].gap == gap(0.98, 20.0)
    clips = cut(Cutter(seconds=1.0, fps=2.0), [*early, gap(0.6, 0.7), frame(1.0)])
    assert clips[1].gap is not None and (clips[1].gap.start, clips[1].gap.end) == (0.98, 0.98)
    clips = cut(Cutter(seconds=1.0, fps=2.0), [*early, frame(30.0)])
    assert clips[1].gap == gap(0.98, 30.0, TOO_SLOW)


def test_times_that_jitter_make_no_clip_longer() -> None:
    clips = cut(Cutter(seconds=1.0, fps=2.0), [frame(seconds) for seconds in (0.0, 0.52, 0.98, 1.5, 1.99, 2.5)])
    assert [len(clip.clip.frames) for clip in clips] == [2, 2, 2]


def test_a_gap_ends_a_clip_and_stands_before_the_next() -> None:
    clips = cut(Cutter(seconds=4.0, fps=1.0), [frame(0), frame(1), gap(1.4, 20.0), frame(20), frame(21)])
    assert told(clips) == [(0.0, 2.0, [0.0, 1.0]), (20.0, 22.0, [20.0, 21.0])]
    assert clips[0].gap is None
    assert clips[1].gap == gap(2.0, 20.0)


def test_an_outage_shorter_than_a_step_leaves_no_time_twice() -> None:
    clips = cut(Cutter(seconds=4.0, fps=1.0), [frame(0), gap(0.1, 0.5), frame(0.5)])
    assert told(clips)[0][1] == 0.5
    assert clips[1].gap == gap(0.5, 0.5)


def test_outages_without_a_frame_between_are_one() -> None:
    clips = cut(Cutter(seconds=1.0, fps=1.0), [frame(0), gap(0.5, 9.0), gap(9.1, 30.0, "other"), frame(30)])
    assert clips[1].gap == gap(1.0, 30.0)


def test_frames_that_were_dropped_for_long_are_a_gap() -> None:
    clips = cut(Cutter(seconds=1.0, fps=2.0), [frame(0), frame(9), frame(30)])
    assert [clip.gap and (clip.gap.start, clip.gap.end, clip.gap.reason) for clip in clips] == [
        None, None, (9.5, 30.0, TOO_SLOW),
    ]  # fmt: skip
    assert clips[2].gap is not None and clips[2].gap.wall_start == WALL + 9.5


def test_the_longest_stride_is_no_gap() -> None:
    apart = LONGEST_STRIDE / 0.1
    clips = cut(Cutter(seconds=1.0, fps=0.1), [frame(0), frame(apart), frame(2 * apart)])
    assert all(clip.gap is None for clip in clips)


def test_a_stream_goes_on_where_the_clock_says() -> None:
    earlier = Earlier(until=100.0, wall_until=WALL - 50.0)
    clips = cut(Cutter(seconds=1.0, fps=1.0, earlier=earlier), [frame(0), frame(1), gap(1.5, 4.0), frame(4)])
    assert told(clips) == [(150.0, 151.0, [150.0]), (151.0, 152.0, [151.0]), (154.0, 155.0, [154.0])]
    assert clips[0].gap == Gap(100.0, 150.0, WALL - 50.0, WALL, UNWATCHED)
    assert clips[2].gap == Gap(152.0, 154.0, WALL + 2.0, WALL + 4.0, "the stream froze")


def test_a_clock_set_back_between_two_watches_moves_nothing_back() -> None:
    clips = cut(Cutter(seconds=1.0, fps=1.0, earlier=Earlier(100.0, WALL + 3600.0)), [frame(0), frame(1)])
    assert 100.0 < clips[0].clip.span.start < 100.1
    assert clips[0].gap == Gap(100.0, clips[0].clip.span.start, WALL + 3600.0, WALL, UNWATCHED_SET_BACK)
    assert [clip.wall_start for clip in clips] == [WALL, WALL + 1.0]


@given(
    st.lists(
        st.tuples(st.floats(0.001, 40.0), st.booleans(), st.one_of(st.none(), st.floats(0.0, 1.0))),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([None, 0.5, 2.0]),
)
def test_whatever_comes_no_time_is_told_twice_and_no_frame_lost(
    steps: list[tuple[float, bool, float | None]], fps: float | None
) -> None:
    """Some frames know from when on the next one may come."""
    items: list[LiveFrame | Gap] = []
    now = 0.0
    for step, is_outage, waits in steps:
        if items and waits is not None:
            items[-1] = frame(now, now + waits * step)
        if is_outage:
            items.append(gap(now + step / 4, now + step))
        now += step
        items.append(frame(now))
    clips = cut(Cutter(seconds=1.0, fps=fps), items)
    assert [pts for _, _, frames in told(clips) for pts in frames] == [
        item.pts_seconds for item in items if isinstance(item, LiveFrame)
    ]
    until = 0.0
    for clip in clips:
        if clip.gap is not None:
            assert until - 1e-9 <= clip.gap.start <= clip.gap.end + 1e-9
            assert clip.gap.end <= clip.clip.span.start + 1e-9
        assert clip.clip.span.start >= until
        until = clip.clip.span.end
        assert until >= clip.clip.frames[-1].pts_seconds


def keeping(pace: Pace, count: int) -> tuple[int, Pace]:
    kept = 0
    for _ in range(count):
        is_kept, pace = pace.taken()
        kept += is_kept
    return kept, pace


def test_the_rate_halves_while_frames_pile_up_and_comes_back_when_they_do_not() -> None:
    pace = Pace()
    assert keeping(pace, 16)[0] == 16
    for now, stride in ((0.0, 2), (0.5, 2), (1.0, 4), (2.0, 8), (3.0, 8)):
        pace = pace.seen(waiting=9, room=16, now=now)
        assert pace.stride == stride
    assert keeping(pace, 16)[0] == 2
    for now, stride in ((5.0, 8), (13.0, 4), (14.0, 4), (23.0, 2), (33.0, 1), (50.0, 1)):
        pace = pace.seen(waiting=1, room=16, now=now)
        assert pace.stride == stride


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_one_frame_of_a_stride_is_kept_evenly(stride: int) -> None:
    pace, places = Pace(stride=stride), []
    for place in range(32):
        is_kept, pace = pace.taken()
        if is_kept:
            places.append(place)
    assert np.diff(places).tolist() == [stride] * (32 // stride - 1)
