"""The demonstration: watch one sample video with the embedded models, ask it, and compare with what is true."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidmem.samples import samples
from vidmem.types import Hit, VideoId
from vidmem.world.answers import Question, is_right
from vidmem.world.truth import load_truth
from vidmem.world.video import render_file

if TYPE_CHECKING:
    from vidmem.pipelines import IngestReport, VideoMemory

NUM_QUESTIONS = 12


@dataclass(frozen=True, slots=True)
class Watching:
    """A video is about to be ingested."""

    video: Path


@dataclass(frozen=True, slots=True)
class Watched:
    """A video has been ingested."""

    video: Path
    report: IngestReport


@dataclass(frozen=True, slots=True)
class Asking:
    """A question is put; `Piece`s of its answer follow. Numbers start at 1."""

    number: int
    total: int
    question: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer with its evidence, beside the true one."""

    question: str
    text: str
    expected: str
    right: bool
    evidence: tuple[Hit, ...]
    timings: dict[str, float]


@dataclass(frozen=True, slots=True)
class Done:
    """How it went: agreement with the truth, what the memory holds, seconds of each step."""

    right: int
    total: int
    state: Any
    timings: dict[str, float]


Event = Watching | Watched | Asking | Piece | Answered | Done


def run(
    folder: Path,
    *,
    seed: int | None = None,
    preset: str = "tiny",
    num_questions: int = NUM_QUESTIONS,
    progress: Callable[[float, float], None] | None = None,
) -> Iterator[Event]:
    """Do the demonstration, telling each step as it happens.

    The longest sample is watched, which is several times what the embedded video-LLM's context holds. With a `seed`
    a new one of the same length is rendered into `folder`. The store is `folder/demo.vidmem`; where it is there
    already the video is not watched again.

    Args:
        progress: called with seconds of video done and all of them, while rendering.
    """
    import vidmem

    begun = time.perf_counter()
    video = samples()[-1].path if seed is None else _render(folder, seed, progress)
    questions = load_truth(video)[:num_questions]
    with vidmem.open(folder / "demo.vidmem", preset=preset) as memory:
        opened = time.perf_counter()
        yield Watching(video)
        report = memory.ingest(video)
        ingested = time.perf_counter()
        yield Watched(video, report)
        right = 0
        for number, question in enumerate(questions, start=1):
            yield Asking(number, len(questions), question.text)
            for event in _ask(memory, question, report.video_id):
                yield event
                right += isinstance(event, Answered) and event.right
        timings = {
            "open": opened - begun,
            "ingest": ingested - opened,
            "answers": time.perf_counter() - ingested,
        }
        yield Done(right, len(questions), memory.state(), timings)


def _render(folder: Path, seed: int, progress: Callable[[float, float], None] | None) -> Path:
    video = folder / f"world-{seed}.mp4"
    render_file(video, seed=seed, duration=180.0, progress=progress)
    return video


def _ask(memory: VideoMemory, question: Question, video_id: VideoId) -> Iterator[Piece | Answered]:
    stream = memory.ask_stream(question.text, video_ids=[video_id])
    for text in stream:
        yield Piece(text)
    answer = stream.result
    right = is_right(question, answer.text)
    yield Answered(question.text, answer.text, question.answer, right, tuple(answer.evidence), dict(answer.timings))


def as_document(events: Iterable[Event]) -> dict[str, Any]:
    """Run through to the end and gather what `vidmem demo --json` prints (its dataclasses still unconverted)."""
    document: dict[str, Any] = {"answers": []}
    for event in events:
        if isinstance(event, Answered):
            document["answers"].append(event)
        elif isinstance(event, Watched):
            document |= {"video": event.video, "ingest": event.report}
        elif isinstance(event, Done):
            document |= {"right": event.right, "total": event.total, "state": event.state, "timings": event.timings}
    return document
