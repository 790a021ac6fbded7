"""`vidmem bench live`, small, from end to end, and what its figures are made with."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))
from random_models import write_preset

import vidmem
from vidmem.bench import live, live_asked, live_killed
from vidmem.bench.live_alerts import AlertEvent, AlertScore, ToldEvent
from vidmem.bench.live_asked import Asked
from vidmem.bench.live_camera import Camera, what_is_missing
from vidmem.bench.live_losses import Loss, _offs
from vidmem.bench.live_onlooker import Found, Onlooker
from vidmem.bench.live_overload import TOO_MANY, Overload, miscounted, overloaded
from vidmem.bench.live_steady import frames_missing, growth
from vidmem.cli import app
from vidmem.errors import BadInput
from vidmem.types import Gap
from vidmem.world.counted import FPS, counted_video

SECONDS = 6


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counted_video(tmp_path_factory.mktemp("counted") / "counted.mp4", seconds=SECONDS)


@pytest.fixture(scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory, preset: Path, video: Path) -> Overload:
    folder = tmp_path_factory.mktemp("overload")
    return overloaded(folder / "a.vidmem", video, fps=FPS, policy="drop-oldest", preset=str(preset))


def test_an_onlooker_reads_every_committed_frame(tmp_path: Path, preset: Path, video: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory, Onlooker(memory.path) as onlooker:
        assert memory.watch(str(video), fps=2.0, policy="block", speed=50.0).wait(300)
        onlooker.wait(2 * SECONDS)
    found = onlooker.found()
    assert [one.number for one in found] == [round(k * FPS / 2) for k in range(2 * SECONDS)]
    assert [one.pts_seconds for one in found] == pytest.approx([k / 2 for k in range(2 * SECONDS)])
    assert onlooker.num_clips == SECONDS and sorted(one.at for one in found) == [one.at for one in found]


def test_an_onlooker_says_what_went_wrong(tmp_path: Path) -> None:
    with pytest.raises(vidmem.VidmemError), Onlooker(tmp_path / "nothing.vidmem"):
        pass


def test_an_overload_is_one_on_any_machine(dropped: Overload) -> None:
    assert dropped.last.source.dropped > 0
    assert dropped.last.committed / dropped.busy_seconds <= FPS / TOO_MANY


def test_counts_of_an_overload_are_checked_against_the_numbers(dropped: Overload) -> None:
    assert miscounted(dropped, SECONDS * FPS) == 0
    last = dropped.last
    assert miscounted(replace(dropped, last=replace(last, committed=last.committed - 1)), SECONDS * FPS) == 2
    assert miscounted(replace(dropped, numbers=dropped.numbers[1:]), SECONDS * FPS) == 1
    assert miscounted(replace(dropped, numbers=dropped.numbers[::-1]), SECONDS * FPS) >= SECONDS * FPS
    assert miscounted(dropped, SECONDS * FPS + 3) == 3


def test_frames_that_are_missing_are_counted_to_the_end() -> None:
    def missing(indexes: list[int], until: int = 0) -> int:
        return frames_missing(indexes, until, fps=15, sampled_fps=2.0)

    assert missing([8, 16, 23, 31, 38], until=38) == 0
    assert missing([8, 16, 31, 38]) == 1
    assert missing([8, 53, 61]) == 5
    assert missing([8, 9, 10, 16, 31], until=20) == 1, "others in their place do not count"
    assert missing([8, 16, 23], until=23 + 15 * 60) == 120, "the camera was forgotten a minute before the end"


def test_growth_is_of_the_last_tenth_over_the_second() -> None:
    found = [Found(float(at), at, 1000.0 + at) for at in range(101)]
    late = np.array([0.5 if at < 90 else 2.0 for at in range(101)])
    assert growth(found, late) == pytest.approx(1.5)
    assert growth(found, np.full(101, 0.7)) == 0.0


def test_asks_that_fail_are_told_and_what_can_not_be_compared_is_not() -> None:
    idle = Asked([0.1, 0.3, 0.2], [])
    figures = live_asked._figures("threads", [Asked([0.5], ["NotFound: nothing"]), Asked([0.3], [])], idle, 0.8, 2)
    assert (
        figures["live_ask_threads_failed"].value == 1 and "NotFound: nothing" in figures["live_ask_threads_failed"].unit
    )
    assert figures["live_ask_threads_first_token"].value == pytest.approx(2.0)
    assert [figure.holds for figure in figures.values()] == [False, False, True]
    nothing = live_asked._figures("threads", [Asked([], ["NotFound: nothing"])], idle, None, 1)
    assert [figure.value for figure in nothing.values()] == [1, None, None]


def test_alerts_are_held_against_one_clip_and_a_second() -> None:
    missed = (AlertEvent("dog", "appears", 3.0),) * 3
    wrong = (ToldEvent("cat", "appears", 5.0, 6.0, 6.1),)
    heard = (0.5, 2.1, 1.0)
    score = AlertScore(0, asked=20, right=27, missed=missed, wrong=wrong, delays=heard, heard=heard)
    figures = live.alert_figures(score)
    assert [figure.holds for figure in figures.values()] == [True, False, False, True]
    assert (figures["live_alert_delay"].value, figures["live_alert_delay"].target) == (2.1, 2.0)


def test_gaps_are_held_against_the_numbers_after_them() -> None:
    loss = Loss(killed=100.0, back=105.0, found_after=0.8, held={})
    gap = Gap(40.0, 46.0, 100.2, 106.1, "it broke")
    found = [Found(39.8, 398, 0.0), Found(46.0, 10, 0.0), Found(46.2, 12, 0.0)]
    assert _offs(loss, gap, found, fps=10) == pytest.approx((0.2, 0.1))


@pytest.mark.skipif(what_is_missing() is not None, reason=f"NO RTSP SERVER HERE: {what_is_missing()}")
def test_a_camera_knows_when_its_pictures_were_taken(video: Path) -> None:
    with Camera(video) as camera:
        assert camera.num_pictures == SECONDS * FPS
        started, once = camera.started, camera.num_pictures / FPS
        assert camera.taken(7, before=started + 1.0) == pytest.approx(started + 0.7)
        assert camera.taken(7, before=started + once + 1.0) == pytest.approx(started + once + 0.7)
        assert camera.taken(20, before=started + once + 1.0) == pytest.approx(started + 2.0)


def test_without_gstreamer_rows_of_cameras_say_what_is_missing_and_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "what_is_missing", lambda: "apt-get install python3-gi")
    figures = live.run(parts=["losses", "steady"], keep=tmp_path / "kept", quick=True)["figures"]
    assert list(figures) == ["live_steady", "live_losses"]
    for figure in figures.values():
        assert figure["value"] is None and "apt-get install python3-gi" in figure["unit"]
    assert not (tmp_path / "kept").exists()


def test_a_run_that_was_stopped_goes_on_behind_the_parts_it_measured(
    tmp_path: Path, preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: object, **options: object) -> NoReturn:
        raise KeyboardInterrupt

    of = {"sizes": replace(live.QUICK, video_seconds=2), "preset": str(preset), "keep": tmp_path / "kept"}
    monkeypatch.setattr(live, "live_killed_figures", stopped)
    with pytest.raises(KeyboardInterrupt):
        live.run(5, parts=["overload", "killed"], **of)
    monkeypatch.setattr(live, "counted_video", stopped)  # which whatever is measured needs
    figures = live.run(5, parts=["overload"], **of)["figures"]
    assert {name.split("_")[1] for name in figures} == {"overload"}
    assert figures["live_overload_block_miscounted"]["value"] == 0
    others = [{"preset": "tiny"}, {"sizes": live.QUICK}, {"seed": 6}, {"parts": ["killed"]}]
    for other in others:
        with pytest.raises(KeyboardInterrupt):
            live.run(**{"seed": 5, "parts": ["overload"], **of, **other})


def test_an_unknown_part_is_one_sentence() -> None:
    done = CliRunner().invoke(app, ["bench", "live", "--part", "steady", "--part", "daily"])
    assert done.exit_code == BadInput.exit_code and done.stdout == ""
    assert done.stderr == (
        "vidmem: 'daily' is no part of this: take some of steady, overload, losses, asked, killed, day, alerts.\n"
    )


@pytest.mark.timeout(900)
def test_lost_clips_are_found(tmp_path: Path, preset: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more was seen committed than is there after the blow."""
    blow = live_killed._watch_and_kill

    def more(*given: object) -> int:
        return blow(*given) + 1000  # type: ignore[arg-type]

    monkeypatch.setattr(live_killed, "_watch_and_kill", more)
    figures = live_killed.live_killed_figures(tmp_path, video, 0, kills=1, preset=str(preset), say=lambda line: None)
    assert figures["live_kill_unsound"].holds and not figures["live_kill_lost_clips"].holds
    assert figures["live_kill_clips"].value >= 1  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.timeout(900)  # three processes beside this one import torch
def test_it_runs_and_prints_targets_beside_what_was_measured(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "live", "--quick", "--json"])
    assert result.exit_code == 0, result.stderr
    figures = json.loads(result.stdout)["figures"]
    kinds = ["latency", "frames_in_memory", "reconnect", "gap_begin", "leaked"] if what_is_missing() is None else []
    kinds += [
        f"overload_{policy}_{what}"
        for policy in ("drop_oldest", "adaptive_fps", "block")
        for what in ("queue", "miscounted")
    ]
    kinds += [f"ask_{who}_{what}" for who in ("threads", "processes") for what in ("failed", "first_token")]
    for kind in (*kinds, "kill_unsound", "kill_lost_clips"):
        figure = figures[f"live_{kind}"]
        assert figure["value"] is not None and figure["target"] is not None, kind
    must = [name for name in figures if name.endswith(("_queue", "_miscounted", "_failed", "_unsound", "_lost_clips"))]
    assert len(must) == 10 and all(figures[name]["holds"] for name in must), figures
