"""Clips tile the time without gaps; prefetching is bounded and cleans up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.ingest.clip import clips, prefetch, similarity
from vidmem.types import Frame


def frame(pts: float, value: int = 0) -> Frame:
    return Frame(pts, (np.full((16, 16, 3), value, np.uint8),))


@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=30), st.floats(0.5, 10))
def test_clips_hold_every_frame_and_tile_the_time(gaps: list[float], seconds: float) -> None:
    frames = [frame(float(pts)) for pts in np.cumsum([0.0, *gaps])]
    cut = list(clips(frames, seconds=seconds, end=10_000.0))
    assert [f for clip in cut for f in clip.frames] == frames
    assert cut[0].span.start == 0.0
    assert cut[-1].span.end == 10_000.0
    assert all(a.span.end == b.span.start for a, b in zip(cut, cut[1:], strict=False))
    for clip in cut:
        assert clip.frames[-1].pts_seconds < clip.frames[0].pts_seconds + seconds
        assert clip.span.start == clip.frames[0].pts_seconds < clip.span.end


def test_the_end_may_be_known_only_afterwards() -> None:
    assert [clip.span.end for clip in clips([frame(0.0), frame(1.0)], end=lambda: 7.5)] == [7.5]
    assert [clip.span.end for clip in clips([frame(0.0), frame(0.5)])] == [1.0]
    assert [clip.span.end for clip in clips([frame(0.0)])] == [1.0]
    assert list(clips([])) == []


def test_near_duplicates_are_dropped_but_each_clip_keeps_one() -> None:
    frames = [frame(float(t), 0 if t < 12 else 200) for t in range(16)]
    cut = list(clips(frames, seconds=8.0, end=16.0, max_similarity=0.98))
    assert [[f.pts_seconds for f in clip.frames] for clip in cut] == [[0.0], [8.0, 12.0]]
    assert cut[0].span.end == 8.0
    assert cut[1].span.end == 16.0


def test_a_small_thing_is_not_diluted_by_its_background() -> None:
    before, after = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    after[8:14, 8:14] = 255
    assert similarity(Frame(0.0, (before,)), Frame(1.0, (before.copy(),))) == 1.0
    assert similarity(Frame(0.0, (before,)), Frame(1.0, (after,))) < 0.5


def test_prefetch_keeps_order_and_stays_in_its_bounds() -> None:
    made = 0

    def numbers() -> Iterator[int]:
        nonlocal made
        for number in range(50):
            made += 1
            yield number

    ahead = prefetch(numbers(), depth=3)
    for number in range(50):
        assert next(ahead) == number
        assert made <= number + 1 + 3 + 1
    assert next(ahead, None) is None


def test_prefetch_passes_errors_on_after_what_came_before() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    ahead = prefetch(failing(), depth=2)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)


@pytest.mark.timeout(20)
def test_prefetch_passes_on_what_closing_fails_with() -> None:
    class Failing:
        def __iter__(self) -> Iterator[int]:
            return iter([1])

        def close(self) -> None:
            raise OSError("gone")

    ahead = prefetch(Failing(), depth=2)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_closing_joins_the_thread_and_closes_the_iterator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = prefetch(endless(), depth=1)
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert not any(thread.name == "vidmem-prefetch" for thread in threading.enumerate())
