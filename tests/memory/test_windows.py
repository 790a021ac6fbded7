from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from vidmem.memory.policies.hippomm_reference import frames_of_window
from vidmem.memory.windows import Sound, WindowConfig, cut_windows

from .naive_hippomm import naive_windows

RATE = 20
"""No power of 2: times of pauses are rounded, and must not move with the first frame's time."""


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[float], list[float], list[float] | None]:
    """Times of frames, similarities of neighbours, sound; at least one of picture and sound."""
    num_frames = draw(st.sampled_from([0, 1, 2, 25, 60]))
    gaps = draw(st.lists(st.sampled_from([0.1, 0.25, 0.7, 3.0]), min_size=num_frames, max_size=num_frames))
    times = [sum(gaps[1 : frame + 1]) for frame in range(num_frames)]
    random = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    similarity = torch.rand(max(0, num_frames - 1), generator=random)
    audio = None
    if draw(st.booleans()) or not num_frames:
        pieces = draw(st.lists(st.sampled_from([0.0, 1e-3, 1.0]), max_size=60))
        loud = torch.tensor(pieces).repeat_interleave(RATE // 2)
        audio = (loud * (torch.rand(len(loud), generator=random) - 0.5)).double().tolist()
    return times, similarity.double().tolist(), audio


thresholds = st.tuples(
    st.sampled_from([0.0, 0.1, 0.5, 1.1]),
    st.sampled_from([4.0, 5.3, 40.0]),
    st.sampled_from([0.3, 2.0, 4.0]),
    st.sampled_from([-120.0, -40.0, -10.0]),
)


@given(recordings(), thresholds)
def test_windows_equal_the_loop(
    recording: tuple[list[float], list[float], list[float] | None], limits: tuple[float, float, float, float]
) -> None:
    times, similarity, audio = recording
    sound = None if audio is None else Sound(torch.tensor(audio, dtype=torch.float64), RATE)
    spans = cut_windows(times, torch.tensor(similarity, dtype=torch.float64), sound, config=WindowConfig(*limits))
    want = naive_windows(times, similarity, audio, RATE, limits)
    assert spans == [(start, end) for start, end, _ in want]
    seconds = torch.tensor(times, dtype=torch.float64)
    assert [frames_of_window(span, seconds).tolist() for span in spans] == [frames for *_, frames in want]
    # They meet, and keep their lengths.
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert all(limits[2] - 1e-9 <= end - start <= limits[1] + 1e-9 for start, end in spans[:-1])


@given(recordings(), thresholds, st.sampled_from([0.5, 64.0]))
def test_windows_of_a_later_part_of_a_video_are_the_same_but_later(
    recording: tuple[list[float], list[float], list[float] | None],
    limits: tuple[float, float, float, float],
    offset: float,
) -> None:
    times, similarity, audio = recording
    # Multiples of an eighth: an offset changes no rounding.
    times = [round(time * 8) / 8 for time in times]
    assume(times and len(set(times)) == len(times))
    limits = (limits[0], 5.0, 0.5, limits[3])
    sound = None if audio is None else Sound(torch.tensor(audio, dtype=torch.float64), RATE)
    here, there = (
        cut_windows([time + by for time in times], torch.tensor(similarity), sound, config=WindowConfig(*limits))
        for by in (0.0, offset)
    )
    torch.testing.assert_close(torch.tensor(there), torch.tensor(here) + offset)


def test_what_lasts_no_time_has_no_window() -> None:
    nothing = torch.empty(0)
    assert cut_windows([], nothing) == cut_windows([3.0], nothing) == cut_windows([], nothing, Sound(nothing, 8)) == []


def test_lengths_that_make_no_sense_are_refused() -> None:
    for shortest, longest in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match="min_seconds"):
            WindowConfig(min_seconds=shortest, max_seconds=longest)
