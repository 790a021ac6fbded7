"""What the page does to its store, without the page: over small random models."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

import vidmem
from vidmem.pipelines import IngestReport, VideoMemory
from vidmem.types import Answer
from vidmem.ui.session import Session
from vidmem.world.video import render_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from random_models import write_preset


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(2):
        render_file(folder / f"{number}.mp4", seed=number, duration=20, fps=2, size=(160, 90))
    return sorted(folder.glob("*.mp4"))


def until(session: Session, video: Path, *states: str) -> None:
    """Wait until the watching of a video has come to one of some states."""
    deadline = time.monotonic() + 120
    while session.progress(video).state not in states:
        assert time.monotonic() < deadline, session.progress(video)
        time.sleep(0.01)


def test_a_question_does_not_wait_for_another_videos_ingest(
    tmp_path: Path, preset: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = videos
    going, go_on = Event(), Event()
    ingest = VideoMemory.ingest

    def halting(self: VideoMemory, video: Path, *, progress: Callable[[float, float | None], None]) -> IngestReport:
        def show(done: float, duration: float | None) -> None:
            progress(done, duration)
            if video == second:
                going.set()
                go_on.wait(120)

        return ingest(self, video, progress=show)

    monkeypatch.setattr(VideoMemory, "ingest", halting)
    session = Session(tmp_path / "a.vidmem", str(preset))
    with ThreadPoolExecutor(1) as page:
        try:
            session.watch(first)
            until(session, first, "ready", "failed")
            under = session.progress(first).timeline
            assert under is not None and under["duration"] == 20.0
            assert [lane["name"] for lane in under["lanes"]] == ["Scenes"]
            session.watch(second)
            assert going.wait(120)
            answer = page.submit(lambda: list(session.ask("Was there a dog?", first))).result(timeout=60)[-1]
            assert isinstance(answer, Answer) and answer.evidence
            assert session.progress(second).state == "watching"
        finally:
            go_on.set()
    until(session, second, "ready", "failed")
    assert session.progress(second).state == "ready"
    session.close()
    with vidmem.open(tmp_path / "a.vidmem") as memory:
        assert len(memory.videos()) == 2 and memory.state().disk.num_questions == 1


def test_a_page_over_a_store_that_is_there_uses_its_preset(tmp_path: Path, preset: Path) -> None:
    vidmem.open(tmp_path / "a.vidmem", preset).close()
    session = Session(tmp_path / "a.vidmem", None)
    assert session.preset.origin == str(preset)
    session.close()
    fresh = Session(tmp_path / "new.vidmem", None)
    assert fresh.preset.name == "tiny"
    fresh.close()
    assert not (tmp_path / "new.vidmem").exists()
