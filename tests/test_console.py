"""What the command line prints while it works."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import replace

import pytest

from vidmem import console
from vidmem.index import StoredVideo
from vidmem.pipelines import Scene
from vidmem.types import Hit, VideoId


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_only_while_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress("render") as show:
        assert terminal.getvalue() == ""
        time.sleep(0.11)
        show(1.0, 2.0)
        assert "render  50%" in terminal.getvalue()
        show(2.0, 2.0)
        shown = terminal.getvalue()
        assert shown.endswith("\r")
    assert terminal.getvalue() == shown


def test_a_figure_without_a_target_is_only_told(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {
        "speed": {"value": 31.234567, "unit": "x", "target": 25.0, "holds": True},
        "share": {"value": 0.5, "unit": "share", "target": None, "holds": True},
        "growth": {"value": 0.2, "unit": "share", "target": 0.1, "holds": False},
    }
    console.print_figures({"figures": figures})
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["speed", "31.23", "x", "25.0", "yes"],
        ["share", "0.5", "share"],
        ["growth", "0.2", "share", "0.1", "NO"],
    ]


def test_all_times_of_a_video_with_hours_have_them(capsys: pytest.CaptureFixture[str]) -> None:
    hits = [Hit(VideoId(name), f"{name}.mp4", 3590.0, 3592.0, 0.5, 1) for name in ("long", "short")]
    console.print_hits(hits, with_hours={VideoId("long")})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["00:59:50-00:59:52", "59:50-59:52"]


def test_a_video_has_hours_once_it_has_one() -> None:
    video = StoredVideo(VideoId("a"), "content", "settings", "a.mp4", "a.mp4", committed_until=3599.0)
    assert not video.has_hours
    assert replace(video, committed_until=3600.0).has_hours and replace(video, duration_seconds=4000.0).has_hours


def test_scenes_of_several_videos_name_theirs_and_an_unfinished_one_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    street = Scene(VideoId("a"), "/v/street.mp4", 0.0, 9.0, 9, 4.0, "a.jpg", is_open=False)
    hours = Scene(VideoId("b"), "/v/hours.mp4", 60.0, 4000.0, 9, 4.0, None, is_open=True)
    console.print_scenes([street, hours], with_hours=[VideoId("b")])
    assert capsys.readouterr().out.splitlines() == [
        "00:00-00:09  a.jpg  street.mp4",
        "00:01:00-01:06:40  (no frame kept)  hours.mp4  (not finished)",
    ]
