"""Things that appear once in a long video: ingested whole, asked through memory, timed on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from vidmem.bench.clips import SIZE, unseen_seed
from vidmem.bench.grading import Score
from vidmem.world.answers import Question
from vidmem.world.needle import NeedleScript, needle_questions, needle_script
from vidmem.world.video import encode, frames

if TYPE_CHECKING:
    from vidmem.pipelines import VideoMemory

VIDEO_FPS = 10
"""Of the rendered file. Ingest looks at one frame a second whatever it is."""


@dataclass
class NeedleRun:
    """Answers about needles, and how long they took in seconds."""

    score: Score = field(default_factory=Score)
    first_token: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)

    def median_first_token(self) -> float:
        return median(self.first_token)

    def median_recall(self) -> float:
        return median(self.recall)


def hide_and_seek(
    folder: Path,
    seed: int,
    *,
    duration: float,
    count: int,
    videos: int = 1,
    preset: str = "tiny",
    say: Callable[[str], None],
) -> NeedleRun:
    """Hide `count` needles in each of `videos` worlds of `duration` seconds, and ask what, when and where."""
    import vidmem

    run = NeedleRun()
    for index in range(videos):
        script = needle_script(unseen_seed(seed, 200_000 + int(duration) * 10 + index), duration, count)
        video = folder / f"needles-{duration:.0f}-{index}.mp4"
        say(f"needles: rendering {duration:.0f} s")
        encode(video, frames(script, fps=VIDEO_FPS, size=SIZE), fps=VIDEO_FPS, size=SIZE, duration=duration)
        with vidmem.open(video.with_suffix(".vidmem"), preset=preset) as memory:
            say(f"needles: ingesting {duration:.0f} s")
            memory.ingest(video)
            ask_needles(memory, script, run)
        say(f"needles in {duration:.0f} s: {run.score.right.total()} of {run.score.total} right")
        video.unlink()
    return run


def ask_needles(memory: VideoMemory, script: NeedleScript, run: NeedleRun) -> None:
    for stay in script.needles():
        for question in needle_questions(stay, hours=script.duration >= 3600):
            ask_timed(memory, question, run)


def ask_timed(memory: VideoMemory, question: Question, run: NeedleRun) -> None:
    """Ask once, as a person would: nothing is warmed for the question."""
    begun = time.perf_counter()
    stream = memory.ask_stream(question.text)
    first: float | None = None
    for _ in stream:
        first = time.perf_counter() - begun if first is None else first
    answer = stream.result
    run.first_token.append(time.perf_counter() - begun if first is None else first)
    run.recall.append(answer.timings["recall"])
    run.score.add(question, answer.text)
