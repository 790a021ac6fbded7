"""The planner decides, packet by packet, exactly what a full scan would show."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.ingest.picture import Orientation
from vidmem.ingest.probe import Facts
from vidmem.ingest.sampling import Ticks, Timed, next_tick, on_display
from vidmem.ingest.selective import Irregular, Planner, Use

FACTS = Facts(0, Fraction(1, 100), 4, 16, 16, Orientation(), None, 25.0, None, "h264", "mov")


class Starts:
    """Says that a packet is a clean start if it was made so."""

    def is_clean_start(self, packet: Any) -> bool:
        return packet.clean


def packet(pts: int, dts: int | None, *, clean: bool = False, duration: int = 4) -> Any:
    return SimpleNamespace(
        pts=pts, dts=dts, clean=clean, duration=duration, size=10, is_corrupt=False, is_discard=False
    )


@st.composite
def streams(draw: st.DrawFn) -> list[Any]:
    """Groups of pictures with gaps of any length, each shuffled within a small reordering window."""
    gaps = draw(st.lists(st.integers(1, 60), min_size=1, max_size=40))
    times = [0]
    for gap in gaps:
        times.append(times[-1] + gap)
    order: list[tuple[int, bool]] = []
    at = 0
    while at < len(times):
        size = draw(st.integers(1, 4))
        window = times[at : at + size]
        is_clean = at == 0 or draw(st.booleans())
        first = window[0] if is_clean else window[-1]
        rest = [time for time in window if time != first]
        order += [(first, is_clean), *((time, False) for time in rest)]
        at += size
    # dts as a muxer makes them: the sorted times, moved ahead by the largest delay that occurs.
    delay = max(sorted(times)[i] - pts for i, (pts, _) in enumerate(order))
    dts = [time - max(0, delay) for time in sorted(times)]
    return [packet(pts, dts[i], clean=clean) for i, (pts, clean) in enumerate(order)]


@given(streams(), st.sampled_from([0.3, 1.0, 3.0, 25.0, None]), st.floats(0, 5))
def test_what_is_shown_is_what_is_on_display(packets: list[Any], fps: float | None, start: float) -> None:
    ticks = Ticks(start, fps)
    planner = Planner(FACTS, ticks, Starts())  # type: ignore[arg-type]
    used = [pair for given_packet in packets for pair in planner.push(given_packet)]
    used += list(planner.finish())
    times = sorted(p.pts for p in packets)
    expected = [t.item for t in on_display([Timed(t / 100, (t + 4) / 100, t) for t in times], ticks)]
    shown = sorted(p.pts for p, use in used if use is Use.SHOW)
    if shown and shown[-1] == planner.last_pts and shown[-1] not in expected:
        shown.pop()  # how long the very last one lasts is for the decoder to say
    assert shown == expected
    given_order = [packets.index(p) for p, _ in used]
    assert given_order == sorted(given_order)


@given(streams(), st.sampled_from([0.3, 1.0, 3.0]))
def test_only_whole_runs_before_a_clean_start_are_left_out(packets: list[Any], fps: float) -> None:
    planner = Planner(FACTS, Ticks(0.0, fps), Starts())  # type: ignore[arg-type]
    used = [p for given_packet in packets for p, _ in planner.push(given_packet)]
    used += [p for p, _ in planner.finish()]
    kept = {id(p) for p in used}
    for before, after in zip(packets, packets[1:], strict=False):
        if id(before) not in kept and id(after) in kept:
            assert after.clean


@pytest.mark.parametrize(
    "packets",
    [
        [packet(0, 0), packet(0, 4)],
        [packet(0, 0), packet(4, 0)],
        [packet(0, 0), packet(4, 8)],
        [packet(0, 0), packet(8, None)],
    ],
    ids=["equal pts", "equal dts", "dts after pts", "no dts"],
)
def test_irregular_streams_are_refused(packets: list[Any]) -> None:
    planner = Planner(FACTS, Ticks(0.0, 1.0), Starts())  # type: ignore[arg-type]
    with pytest.raises(Irregular):
        for each in packets:
            list(planner.push(each))


@given(st.floats(0, 1e5), st.floats(0.01, 120), st.floats(0, 1e3))
def test_a_tick_is_the_first_at_or_after(seconds: float, fps: float, start: float) -> None:
    tick = next_tick(seconds, fps=fps, start=start)
    assert tick >= seconds
    assert tick >= start
    k = round((tick - start) * fps)
    assert tick == start + k / fps
    assert k == 0 or start + (k - 1) / fps < seconds
