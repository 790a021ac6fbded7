"""How times and sizes are written, and times read."""

from __future__ import annotations

import pytest

from vidmem.types import format_bytes, format_seconds, format_span, format_time, parse_time


@pytest.mark.parametrize(
    ("start", "end", "hours", "written"),
    [
        (5.0, 8.0, False, "00:05-00:08"),
        (5.2, 5.4, False, "00:05.200-00:05.400"),
        (4.57, 4.58, False, "00:04.570-00:04.580"),
        (5.8, 6.0, False, "00:05-00:06"),
        (3590.0, 3595.0, False, "59:50-59:55"),
        (3590.0, 3595.0, True, "00:59:50-00:59:55"),
        (3590.0, 3605.0, False, "00:59:50-01:00:05"),
        (3600.1, 3600.2, True, "01:00:00.100-01:00:00.200"),
    ],
)
def test_spans_are_written_with_hours_in_both_and_milliseconds_where_needed(
    start: float, end: float, hours: bool, written: str
) -> None:
    assert format_span(start, end, hours=hours) == written
    assert [parse_time(part) for part in written.split("-")] == pytest.approx([start, end], abs=1.0)


@pytest.mark.parametrize(("text", "seconds"), [("5", 5.0), ("1:05", 65.0), (" 01:02:03.5 ", 3723.5), (".5", 0.5)])
def test_times_are_read_as_people_type_them(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", ":", "1:", "nan", "inf", "1:nan", "-1", "1:-1", "1e3", "1_000", "0x1", "1 2", "1:2:3:4", "soon", "9" * 400],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_time(text)


def test_a_time_is_rounded_down() -> None:
    assert (format_time(59.999), format_time(59.9999, milliseconds=True)) == ("00:59", "00:59.999")


@pytest.mark.parametrize(
    "num_bytes, words",
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (100_000, "100 kB"), (999_600, "1.0 MB"),
     (3_456_789, "3.5 MB"), (2.5e12, "2.5 TB")],
)  # fmt: skip
def test_bytes_are_written_as_people_do(num_bytes: float, words: str) -> None:
    assert format_bytes(num_bytes) == words


def test_a_time_in_seconds_is_written_out_to_the_millisecond_whatever_it_is() -> None:
    times = (12.5, 1_200_000.25, 0.1 + 0.2, 1 / 3, -3.0, float("nan"))
    assert [format_seconds(seconds) for seconds in times] == [
        "12.5 s",
        "1200000.25 s",
        "0.3 s",
        "0.333 s",
        "-3 s",
        "nan s",
    ]
