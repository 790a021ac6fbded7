"""The simulated day: what its figures say of samples, and that it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

from random_models import write_preset

from vidmem.bench.live_day import Day, Sample, day_figures, edge_script, live_day_figures

MB = 10**6


def day(
    *,
    leak: float = 0.0,
    peak: float = 0.0,
    bend: float = 0.0,
    told: float = 1.0,
    first: float | None = 0.9,
    last: float = 0.9,
) -> Day:
    """A day of 100 samples that grows by 10 MB an hour, but for what goes wrong."""
    samples = []
    for number in range(1, 101):
        hours = number * 0.24
        disk = 50 * MB + 10 * MB * hours + bend * MB * hours**2
        rss = 700 * MB + leak * MB * hours + (peak * MB if 10 < hours < 15 else 0)
        samples.append(Sample(hours * 3600, int(rss), int(disk), told * 10 * MB, number, 0))
    return Day(tuple(samples), 600.0, first, last)


def failing(of: Day) -> set[str]:
    return {name.removeprefix("live_day_") for name, figure in day_figures(of).items() if not figure.holds}


def test_a_day_as_it_should_be_holds() -> None:
    figures = day_figures(day())
    assert failing(day()) == set()
    assert figures["live_day_speed"].value == pytest.approx(144.0)
    assert figures["live_day_hours"].value == pytest.approx(24.0)


def test_what_goes_wrong_is_told() -> None:
    assert failing(day(leak=1.0)) == {"rss_growth"}, "18 MB of 706 after warm-up"
    assert failing(day(peak=20.0)) == {"rss_growth"}, "which is over before the end"
    assert failing(day(bend=1.0)) == {"disk_off_a_line", "disk_as_predicted"}
    assert failing(day(told=1.06)) == {"disk_as_predicted"}
    assert failing(day(first=0.8)) == {"first_against_last"}
    assert failing(day(first=0.0, last=0.0)) == {"last_hour"}, "as little is no comparison"
    assert day_figures(day(first=None))["live_day_first_hour"].value is None


def test_one_thing_of_twenty_is_within_five_points() -> None:
    for found in range(10, 20):
        assert failing(day(first=found / 20, last=(found + 1) / 20)) == set()


def test_things_that_appear_once_lie_in_the_first_and_in_the_last_hour() -> None:
    stays = edge_script(5, 4 * 3600.0).needles()
    early = [stay for stay in stays if stay.span.end <= 3600.0]
    late = [stay for stay in stays if stay.span.start >= 3 * 3600.0]
    assert len(early) == len(late) == len(stays) / 2 >= 10
    assert len({stay.thing for stay in stays}) == len(stays)


def test_it_runs(tmp_path: Path) -> None:
    preset = write_preset(tmp_path)
    # Shorter, and its halves hold no thing that is there once.
    figures = live_day_figures(tmp_path, hours=0.07, speed=1e4, preset=str(preset))
    assert figures["live_day_hours"].value == pytest.approx(0.07, rel=0.05)
    assert figures["live_day_gaps"].value == 0
    shares = [figures[f"live_day_{edge}_hour"].value for edge in ("first", "last")]
    assert all(share is not None and 0 <= share <= 1 for share in shares)
