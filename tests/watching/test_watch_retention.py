"""A watch that lets go of what is old: its store stays small and whole, and answers say what is from the gist."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from test_watching import until

import vidmem
from vidmem import Retention
from vidmem.pipelines import VideoMemory, open_store, retention
from vidmem.types import VideoId

DAY = 86400.0
KEPT = 50
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
    """A memory of 150 clips and more of which the newest 50 were to be kept, and a reader from before they left."""
    with vidmem.open(tmp_path / "a.vidmem", preset if request.param == "tokens" else kv_preset) as memory:
        keep = Retention(days=KEPT / DAY)
        watch = memory.watch(str(video), fps=1.0, policy="block", speed=1e5, loop=True, keep=keep)
        until(lambda: watch.state().clips >= 40, 280)
        with memory.reader() as reader:
            assert reader.ask("What is there?").evidence
            until(lambda: watch.state().clips >= 150, 280)
            watch.close()
            yield memory, reader, watch.video_id, watch.state().clips


def asked_at(memory: VideoMemory, video_id: VideoId, seconds: float) -> str:
    """A question that names a time of day of the stream."""
    clock = memory._store.stream_clock(video_id)
    assert clock is not None
    return f"What was there at {datetime.fromtimestamp(clock.wall_at(seconds)):%H:%M:%S}?"


def test_a_watch_lets_go_and_says_what_it_has_from_the_gist(watched) -> None:  # type: ignore[no-untyped-def]
    memory, reader, video_id, num_clips = watched
    expired = memory._store.expired(video_id)
    (stored,) = memory.videos()
    assert stored.num_clips == num_clips - expired.num_clips
    # A step every 64 clips lets go of all that was too old by then.
    assert KEPT - 2 <= stored.num_clips <= KEPT + retention.CLIPS_AT_ONCE + 4
    assert memory.verify() == []
    for one in (memory, reader):
        assert one._timelines.of(one.videos()[0]).frame_ids == tuple(
            row.frame_id for row in one._store.frames_between(video_id, 0.0, 1e9)
        )
        recent = one.ask(asked_at(memory, video_id, stored.committed_until - 30.0))
        assert recent.evidence and all(hit.modality == "visual" for hit in recent.evidence)
        assert "gist" not in recent.text
        gone = one.ask(asked_at(memory, video_id, 20.5))
        is_from_gist = "from the gist: the frames of that time have expired" in gone.text
        assert is_from_gist or "have expired, and the gist keeps nothing of that time" in gone.text
        hits = [hit for hit in gone.evidence if hit.modality == "memory"]
        assert bool(hits) == is_from_gist and all(hit.thumbnail is None for hit in hits)
        assert all(hit.start >= expired.until for hit in gone.evidence if hit.modality == "visual")
        scenes = one.scenes()
        assert scenes and scenes[-1].end == pytest.approx(stored.committed_until)
    state = memory.state()
    assert state.keeping is not None and state.keeping.expired_clips == expired.num_clips
    memory._store.set_retention(Retention(days=1e-4))
    again = memory.watch(str(memory.videos()[0].source), fps=1.0, policy="block", speed=1e5)
    assert again.wait(600) and again.video_id == video_id
    left = memory._store.expired(video_id).num_clips
    assert memory.videos()[0].num_clips + left == num_clips + 60
    assert left >= num_clips - NEWEST, "a watch that is told nothing keeps what the store notes"
    assert memory.verify() == [] and memory.ask("What is there?").evidence


SCRIPT = """
import sys
import vidmem
from vidmem import Retention
from vidmem.pipelines import retention
retention.NEWEST_CLIPS = 40
store, preset, video = sys.argv[1:]
with vidmem.open(store, preset) as memory:
    keep = Retention(days=41 / 86400)
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
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(path), str(chosen), str(video)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        committed = 0
        for line in process.stdout:
            committed = int(line)
            if committed > 70:
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
