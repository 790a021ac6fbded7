"""`vidmem watch`: a process that runs until it is told to stop, and says how it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import vidmem
from vidmem.cli import app

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from interruptible import interruptible


def watching(preset: Path, *words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vidmem.cli", "watch", "--preset", str(preset), *map(str, words)]
    return interruptible(command)


def lines_until(process: subprocess.Popen[str], num_stores: int) -> list[dict[str, object]]:
    """What is printed as JSON until each of so many stores has a clip."""
    assert process.stdout is not None
    lines: list[dict[str, object]] = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if len({said["store"] for said in lines if said["clips"]}) == num_stores:
            return lines
    raise AssertionError(f"it ended: {process.stderr.read() if process.stderr else ''}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_leaves_what_is_committed_of_every_camera(
    tmp_path: Path, preset: Path, video: Path, number: int
) -> None:
    stores = [tmp_path / "a.vidmem", tmp_path / "b.vidmem"]
    options = ["--store", stores[0], "--store", stores[1], "--fps", "2", "--loop", "--json"]
    with watching(preset, video, video, *options) as process:
        try:
            said = lines_until(process, 2)
            asked = CliRunner().invoke(
                app, ["ask", str(stores[0]), "What is there?", "--preset", str(preset), "--json"]
            )
            process.send_signal(number)
            rest, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert asked.exit_code == 0 and json.loads(asked.stdout)["evidence"], asked.stderr
    assert process.returncode == 0 and "Traceback" not in errors, errors
    last = {line["store"]: line for line in [*said, *map(json.loads, rest.splitlines())]}
    for store in stores:
        line = last[str(store)]
        assert line["source"]["state"] in ("live", "ended") and not line["is_running"]
        with vidmem.open(store, read_only=True) as memory:
            (stored,) = memory.videos()
            assert (stored.num_clips, stored.num_frames) == (line["clips"], line["committed"])
            assert memory.verify() == [] and memory.notices == []


def test_a_service_says_how_it_is_and_ends_with_its_file(tmp_path: Path, preset: Path, video: Path) -> None:
    with watching(
        preset, video, "--store", tmp_path / "a.vidmem", "--speed", "30", "--policy", "block", "--service"
    ) as process:
        told, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    last = told.splitlines()[-1]
    assert "a.vidmem" in last and "state ended" in last and "frames 60" in last and "dropped 0" in last


def test_killed_it_loses_no_committed_clip(tmp_path: Path, preset: Path, video: Path) -> None:
    store = tmp_path / "a.vidmem"
    for _ in range(2):
        with watching(preset, video, "--store", store, "--fps", "4", "--loop", "--json") as process:
            said = lines_until(process, 1)
            time.sleep(0.3)
            process.kill()
        with vidmem.open(store, preset) as memory:
            (stored,) = memory.videos()
            assert stored.num_clips >= said[-1]["clips"]
            assert memory.verify() == []
    with vidmem.open(store, preset) as memory:
        clock = memory._store.stream_clock(stored.video_id)
        assert clock is not None and len(clock.gaps) == 1


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["gopher://x", "--store", "a"], 2, "no kind of stream"),
        (["rtsp://me:secret@127.0.0.1:1/x", "--store", "a"], 3, "refused the connection"),
        (["nothing.mp4", "--store", "a"], 5, "nothing.mp4"),
        (["webcam:0", "webcam:1", "--store", "a"], 2, "as many stores"),
        (["webcam:0", "webcam:1", "--store", "a", "--store", "a"], 2, "store of its own"),
    ],
)
def test_what_can_not_be_watched_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, preset: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    try:
        result = CliRunner().invoke(app, ["watch", *words, "--preset", str(preset)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.exit_code == code, result.stderr
    assert sentence in result.stderr and "secret" not in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
