"""The demonstration's own part, over a memory that only says what it was asked: order, grading, what is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from typer.testing import CliRunner

import vidmem
from vidmem import console, demo
from vidmem.cli import app
from vidmem.pipelines import IngestReport
from vidmem.samples import samples
from vidmem.types import Answer, Hit, VideoId
from vidmem.world.truth import load_truth

VIDEO_ID = VideoId("feed")
HIT = Hit(VIDEO_ID, "street.mp4", 3.0, 5.0, 0.5, 1)


class Stream:
    def __init__(self, question: str, text: str) -> None:
        self.result = Answer(question, text, (HIT,), {"total": 1.0})

    def __iter__(self) -> Iterator[str]:
        return iter(self.result.text.split(" "))


class Memory:
    """Knows the first answer, and says nonsense to all other questions."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str] | None]] = []

    def ingest(self, video: Path) -> IngestReport:
        return IngestReport(VIDEO_ID, str(video), False, 0.0, frames=8, clips=1, video_seconds=8.0)

    def ask_stream(self, question: str, *, video_ids: list[str] | None = None) -> Stream:
        self.asked.append((question, video_ids))
        return Stream(question, load_truth(samples()[-1].path)[0].answer if len(self.asked) == 1 else "Zebra crossing")

    def state(self) -> dict[str, int]:
        return {"elements": 3}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    memory = Memory()
    monkeypatch.setattr(vidmem, "open", lambda *_, **__: memory)
    return memory


def test_the_demo_asks_only_about_its_own_video(memory: Memory, tmp_path: Path) -> None:
    list(demo.run(tmp_path))
    assert len(memory.asked) >= 10
    assert {tuple(ids or ()) for _, ids in memory.asked} == {(VIDEO_ID,)}


def test_the_demo_as_json_grades_each_answer(memory: Memory, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    console.print_json(demo.as_document(demo.run(tmp_path)))
    document = json.loads(capsys.readouterr().out)
    assert [answer["right"] for answer in document["answers"]] == [True] + [False] * (len(memory.asked) - 1)
    assert document["answers"][0].keys() >= {"question", "text", "expected", "right", "evidence"}
    assert (document["right"], document["total"]) == (1, len(memory.asked))


@pytest.mark.parametrize("name", ["letter.txt", "letter.txt/within", "x" * 300])
def test_a_folder_that_is_none_is_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "letter.txt").write_text("no folder")
    result = CliRunner().invoke(app, ["demo", "--folder", str(tmp_path / name)])
    assert result.exit_code == 2
    assert result.stdout == "" and result.stderr.startswith("vidmem: ") and "can't be made" in result.stderr
