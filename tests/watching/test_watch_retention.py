"""A watch that lets go of what is old: its store stays small and whole, and answers say what is from the gist."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vidmem
from vidmem.pipelines import open_store, retention

DAY = 86400.0
KEPT = 80
"""Seconds, and clips."""
NEWEST = 40


@pytest.fixture(autouse=True)
def fewer_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "NEWEST_CLIPS", NEWEST)


@pytest.fixture(scope="module")
def kv_preset(preset: Path) -> Path:
    """The random models in kv mode, with a window of a few frames."""
    path = preset.parent / "expiring.toml"
    path.write_text(preset.read_text().replace('mode = "tokens"', 'mode = "kv"') + "\n[kv]\nwindow_tokens = 60\n")
    return path


@pytest.fixture(params=["tokens", "kv"])
def watched(request: pytest.FixtureRequest, tmp_path: Path, preset: Path, kv_preset: Path, video: Path) -> Iterator:
    """A memory of 300 clips and more of which the newest 80 were to be kept, and a reader from before they left."""
    with vidmem.open(memory.path, read_only=True) as fresh:
        assert fresh.ask("What is there?").evidence
        recent = fresh.ask(asked_at(fresh, video_id, fresh.videos()[0].committed_until - 20.0))
        assert recent.evidence and all(hit.modality == "visual" for hit in recent.evidence)


SCRIPT = """
import sys
import vidmem
from vidmem import Retention
from vidmem.pipelines import retention
retention.NEWEST_CLIPS = 40
store, preset, video = sys.argv[1:]
with vidmem.open(store, preset) as memory:
    keep = Retention(days=50 / 86400)
    watch = memory.watch(video, fps=1.0, policy="block", speed=1e5, loop=True, keep=keep)
    while not watch.wait(0.02):
        print(watch.state().clips, flush=True)
"""


@pytest.mark.parametrize("mode", ["kv"])
def test_killed_while_clips_come_and_leave_it_opens_every_time(
    tmp_path: Path, preset: Path, kv_preset: Path, video: Path, mode: str
) -> None:
    """Each time later: nothing that was committed and is not too old is lost."""
    path, chosen = tmp_path / "a.vidmem", kv_preset if mode == "kv" else preset
    left_before = 0
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(path), str(chosen), str(video)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        committed = 0
        for line in process.stdout:
            committed = int(line)
            if committed > 130:
                break
        time.sleep(0.037 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with open_store(path, read_only=False) as memory:
            (stored,) = memory.videos()
            assert memory.verify() == []
            expired = memory._store.expired(stored.video_id)
            assert expired.num_clips > left_before
            left_before = expired.num_clips
            clips = memory._store.held_clips(stored.video_id, 0.0, 1e9, 10_000)
            assert len(clips) >= NEWEST and clips[-1].span.end == stored.committed_until
            newest = [clip for clip in clips if clip.span.start >= stored.committed_until - 48]
            gaps = memory._store.stream_clock(stored.video_id).gaps
            assert len(newest) >= 40 or any(gap.end > stored.committed_until - 48 for gap in gaps)
