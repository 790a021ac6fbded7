"""A camera over RTSP, a real server on the loopback: nothing is lost while it is there, and its losses are told."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from camera import need_gstreamer
from kills import frames_until, trial

from vidmem.bench.live_camera import Camera, children, held, workers
from vidmem.errors import BadInput, NotFound
from vidmem.ingest.live import Gap, LiveConfig, LiveFrame, LiveSource, Patience, Phase, open_live
from vidmem.ingest.live.loss import Loss
from vidmem.types import View
from vidmem.world.counted import FPS, VIEW, number_of

PATIENT = Patience(connect_seconds=60.0, stall_seconds=60.0)
"""For a machine with much else to do."""
QUICK = Patience(connect_seconds=60.0, stall_seconds=2.0)
ENDLESS = Patience(connect_seconds=1e6, stall_seconds=1e6)
"""Whoever waits so long is ended by the test's own time limit."""


def config(patience: Patience = PATIENT, **changes: object) -> LiveConfig:
    return LiveConfig(patience=patience, policy="block", **changes)  # type: ignore[arg-type]


def rising(numbers: list[int]) -> list[int]:
    return [(second - first) % (60 * FPS) for first, second in zip(numbers, numbers[1:], strict=False)]


def test_every_picture_comes_once_at_its_own_time(camera: Camera) -> None:
    with open_live(camera.url, views=[VIEW, View(64, 64, keep_aspect=True)], config=config()) as source:
        frames, gaps = frames_until(source, 40)
        health = source.health()
    assert rising([number_of(frame.views[0]) for frame in frames]) == [1] * 39
    assert frames[0].pts_seconds == 0.0
    apart = [b.pts_seconds - a.pts_seconds for a, b in zip(frames[1:], frames[2:], strict=False)]
    assert apart == pytest.approx([1 / FPS] * 38, abs=1e-3)
    assert all(frame.views[1].shape == (36, 64, 3) and frame.epoch == 1 for frame in frames)
    assert not gaps
    assert (source.info.uri, source.info.width, source.info.height) == (camera.url, 320, 180)
    assert (source.info.codec, source.info.container) == ("h264", "rtsp")
    assert health.state is Phase.LIVE
    assert (health.dropped, health.decode_errors, health.late, health.reconnects) == (0, 0, 0, 0)
    assert health.pictures >= 40 and health.last_frame_age_seconds is not None and health.outage_seconds is None


def test_a_rate_is_kept(camera: Camera) -> None:
    with open_live(camera.url, fps=2.5, views=[VIEW], config=config()) as source:
        frames, _ = frames_until(source, 10)
    assert rising([number_of(frame.views[0]) for frame in frames[1:]]) == [FPS / 2.5] * 8
    for frame, following in itertools.pairwise(frames):
        assert frame.next_from is not None and frame.pts_seconds < frame.next_from <= following.pts_seconds


def test_udp_serves_too(camera: Camera) -> None:
    with open_live(camera.url, views=[VIEW], config=config(transport="udp")) as source:
        frames, _ = frames_until(source, 15)
    assert rising([number_of(frame.views[0]) for frame in frames]) == [1] * 14


def test_what_a_slow_consumer_missed_is_counted(camera: Camera) -> None:
    settings = LiveConfig(patience=PATIENT, policy="drop-oldest", queue_frames=2)
    with open_live(camera.url, views=[VIEW], config=settings) as source:
        while source.health().frames < 20:
            threading.Event().wait(0.05)
        first = next(iter(source))
        assert isinstance(first, LiveFrame)
        health = source.health()
        assert health.dropped >= 17
    seen = source.health()
    assert seen.frames == seen.dropped + 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_camera_is_found_again_and_its_absence_is_a_gap(video: Path, camera: Camera) -> None:
    before = held()
    outages = trial(camera, kills=4, seed=1)
    for outage in outages:
        assert outage.missing == 0
        # Twice what `kills.py` asks for, as whoever runs the tests may be busy with others.
        assert abs(outage.start_off) < 2.0 and abs(outage.end_off) < 2.0
        assert abs(outage.stream_off) < 0.01
        assert outage.held == outages[0].held
    assert held() == before


def test_a_frozen_camera_is_noticed_by_our_own_clock(camera: Camera) -> None:
    with open_live(camera.url, views=[VIEW], config=config(QUICK)) as source:
        before, _ = frames_until(source, 10)
        camera.freeze()
        items = iter(source)
        while source.health().waiting or source.health().state is Phase.LIVE:
            if not source.health().waiting:  # nothing is on its way: to ask for more would wait for the thaw
                threading.Event().wait(0.05)
                continue
            item = next(items)
            assert isinstance(item, LiveFrame)
            before.append(item)
        assert source.health().reason == Loss.FROZEN
        assert source.health().outage_seconds is not None
        camera.thaw()
        after, gaps = frames_until(source, 5)
    assert [gap.reason for gap in gaps] == [Loss.FROZEN]
    assert gaps[0].start == pytest.approx(before[-1].pts_seconds, abs=0.5) and gaps[0].end == after[0].pts_seconds
    assert gaps[0].end - gaps[0].start > 2.0
    assert after[0].epoch == before[-1].epoch + 1


def test_closing_does_not_wait_for_a_camera_that_is_frozen(camera: Camera) -> None:
    before = held()
    source = open_live(camera.url, views=[VIEW], config=config(ENDLESS))
    frames_until(source, 3)
    camera.freeze()
    source.close()
    source.close()
    assert held() == before
    assert source.health().state is Phase.ENDED
    assert list(source) == []


def test_closing_wakes_the_consumer(camera: Camera) -> None:
    source = open_live(camera.url, views=[VIEW], config=config(ENDLESS))
    frames_until(source, 3)
    camera.freeze()
    consumer = threading.Thread(target=lambda: list(source))
    consumer.start()
    source.close()
    consumer.join()


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_decoder_that_dies_or_hangs_is_replaced(camera: Camera, blow: signal.Signals) -> None:
    with open_live(camera.url, views=[VIEW], config=config(QUICK)) as source:
        frames_until(source, 3)
        (first,) = workers()
        os.kill(first, blow)
        gap = next(item for item in source if isinstance(item, Gap))
        frames_until(source, 3)
        (second,) = workers()
    assert second != first
    assert gap.reason == (Loss.CRASHED if blow is signal.SIGKILL else Loss.FROZEN)
    assert not children() or first not in children()


def test_a_decoder_does_not_outlive_its_parent(camera: Camera) -> None:
    program = (
        "import sys, os; from vidmem.bench.live_camera import workers;"
        "from vidmem.ingest.live import open_live; source = open_live(sys.argv[1]); next(iter(source));"
        "print(*workers(), flush=True); os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", program, camera.url], stdout=subprocess.PIPE, text=True)
    pid = int(run.stdout)
    while _is_running(pid):
        threading.Event().wait(0.1)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


USER, PASSWORD = "viewer", "5ecr3t@:/?#%ä"


@pytest.fixture(params=["--basic", "--digest"])
def locked(video: Path, request: pytest.FixtureRequest) -> Iterator[Camera]:
    need_gstreamer()
    with Camera(
        video, "--user", USER, "--password", PASSWORD, *([request.param] if "digest" in request.param else [])
    ) as camera:
        yield camera


def _traces(source: LiveSource) -> str:
    """All that a source shows of itself, and its processes of themselves."""
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in children()]
    environments = [Path(f"/proc/{pid}/environ").read_bytes().decode() for pid in workers()]
    seen = [repr(source), str(source), str(source.info), str(source.health()), str(threading.enumerate())]
    return "\n".join([*seen, *(line for line in lines if "rtsp_server" not in line), *environments])


def test_the_right_password_opens_and_is_never_shown(
    locked: Camera, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with open_live(locked.url, user=USER, password=PASSWORD, views=[VIEW], config=config()) as source:
        frames_until(source, 3)
        traces = _traces(source)
    captured = capfd.readouterr()
    assert "5ecr3t" not in traces + caplog.text + captured.out + captured.err


@pytest.mark.parametrize(("user", "password"), [(USER, "5ecr3t"), ("other", PASSWORD), (None, None)])
def test_a_wrong_password_is_refused_and_never_shown(
    locked: Camera,
    user: str | None,
    password: str | None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    before = held()
    with pytest.raises(BadInput, match="refused the user or password") as caught:
        open_live(locked.url, user=user, password=password, config=config())
    trace = "".join(traceback.format_exception(caught.value))
    captured = capfd.readouterr()
    assert "5ecr3t" not in trace + caplog.text + captured.out + captured.err
    assert held() == before


def test_a_path_that_the_server_lacks_is_told(camera: Camera) -> None:
    with pytest.raises(NotFound, match="no stream of this name"):
        open_live(camera.url.replace("/camera", "/other"), config=config())
