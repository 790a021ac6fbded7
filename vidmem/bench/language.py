"""Answers of the video-LLM about short clips: with all frames, with the latest four, and with none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidmem.bench.clips import SeenClip, seen_clips
from vidmem.bench.grading import Score
from vidmem.models.language import Context, ContextFrame, VideoLanguageModel

LATEST = 4
"""Frames of the baseline that sees only the end."""


@dataclass
class ClipScores:
    """The same questions, asked with all frames of a clip, with the latest few, and blind."""

    all_frames: Score = field(default_factory=Score)
    latest: Score = field(default_factory=Score)
    blind: Score = field(default_factory=Score)


def ask_clips(
    model: VideoLanguageModel, folder: Path, seed: int, *, questions: int, say: Callable[[str], None]
) -> ClipScores:
    """Ask `questions` questions about as many unseen clips as it takes."""
    scores = ClipScores()
    for clip in seen_clips(folder, seed, (model.view,)):
        _ask_clip(model, clip, questions - scores.all_frames.total, scores)
        say(f"clips: {scores.all_frames.right.total()} of {scores.all_frames.total} right")
        if scores.all_frames.total >= questions:
            return scores
    raise AssertionError("the clips never end")


def _ask_clip(model: VideoLanguageModel, clip: SeenClip, most: int, scores: ClipScores) -> None:
    tokens = model.encode_frames(clip.views[0])
    whole = [ContextFrame(model.label(time), frame) for time, frame in zip(clip.times, tokens, strict=True)]
    for question in clip.questions[:most]:
        for score, context in ((scores.all_frames, whole), (scores.latest, whole[-LATEST:]), (scores.blind, [])):
            score.add(question, answer(model, context, question.text))


def answer(model: VideoLanguageModel, context: Sequence[ContextFrame], question: str) -> str:
    return "".join(model.stream(Context(list(context)), question))
