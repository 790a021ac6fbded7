"""The decoding benchmark runs, and what it claims of exactness is true. Its times mean nothing here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vidmem.bench.decode import as_figures, decode_figures


def test_decode_figures(video: Callable[[str], Path]) -> None:
    measured = decode_figures(video("plain.mp4"), fps=2.0, view=64, rounds=1, num_opens=5)
    assert measured.identical_frames == measured.num_frames == 8
    assert {"ours", "pyav"} <= measured.cpu_seconds.keys()
    assert measured.cpu_seconds.keys().isdisjoint(measured.missing)
    figures = as_figures(measured)
    assert figures["decode_identical"].holds
    assert figures["decode_cpu_ratio"].target == 1.0
