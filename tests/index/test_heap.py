"""Memory that is freed goes back to the machine, and a store sees to it while it grows."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import store_world as world

from vidmem.index import Store
from vidmem.index.heap import return_freed
from vidmem.types import Span, VideoId


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such call")
def test_what_lies_below_something_in_use_goes_back() -> None:
    blocks = [bytes([1]) * 60_000 for _ in range(4000)]  # too small for pages of their own
    last = blocks[-1]
    before = _resident()
    del blocks
    return_freed()
    assert before - _resident() > 120_000_000
    assert len(last) == 60_000


def test_a_growing_store_gives_back_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("vidmem.index.store.return_freed", lambda: calls.append(1))
    video, frames = world.video(), 50
    with Store.open(tmp_path / "s.vidmem", world.IDENTITY) as store:
        store.begin_video(video)
        for clip in range(8):
            rows = world.frames(video.video_id, clip, frames)
            store.append_clip(VideoId(video.video_id), Span(clip * 8.0, clip * 8.0 + 8.0), rows)
        assert 2 <= len(calls) <= 4, "400 frames"
