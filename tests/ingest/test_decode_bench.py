"""The decoding benchmark runs, and what it claims of exactness is true. Its times mean nothing here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vidmem.bench.decode import decode_figures, growth_over_opens


def test_decode_figures(video: Callable[[str], Path]) -> None:
    measured = decode_figures(video("plain.mp4"), fps=2.0, view=64, rounds=1)
    assert measured.identical_frames == measured.num_frames == 8
    assert {"ours", "pyav"} <= measured.cpu_seconds.keys()
    assert measured.cpu_seconds.keys().isdisjoint(measured.missing)


def test_opens_leave_little_behind(video: Callable[[str], Path]) -> None:
    assert growth_over_opens(video("plain.mp4"), num_opens=5) < 0.5
