"""Short clips of the world that no training saw, as H.264 files, with questions about what was decoded of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from vidmem.ingest import open_source
from vidmem.types import View
from vidmem.world.answers import KINDS, Question
from vidmem.world.questions import ask_many
from vidmem.world.scene import Scene
from vidmem.world.script import Script, ScriptConfig
from vidmem.world.video import encode, frames

SIZE = (640, 360)
QUESTIONS_PER_CLIP = 12


def unseen_seed(seed: int, index: int) -> int:
    """Seeds of a benchmark: training takes its own from below 2**31."""
    return 10**12 + seed * 10**6 + index


@dataclass(frozen=True, slots=True, eq=False)
class SeenClip:
    """One clip as the models get it: frames at 1 fps out of the decoder, uint8 (F, H, W, 3) for each view."""

    script: Script
    times: list[float]
    views: tuple[np.ndarray, ...]
    questions: list[Question]


def unseen_script(seed: int, index: int) -> Script:
    """A clip of 8 to 32 seconds."""
    chosen = unseen_seed(seed, index)
    return Script(ScriptConfig(seed=chosen, duration=random.Random(f"{chosen}:duration").uniform(8.0, 32.0)))


def seen_clips(folder: Path, seed: int, views: tuple[View, ...]) -> Iterator[SeenClip]:
    """Endlessly: render a clip, encode it, decode it again at 1 fps, ask about it."""
    for index in count():
        script, path = unseen_script(seed, index), folder / "clip.mp4"
        encode(path, frames(script, fps=30, size=SIZE), fps=30, size=SIZE, duration=script.duration)
        with open_source(path) as source:
            seen = list(source.frames(fps=1.0, views=views))
        times = [frame.pts_seconds for frame in seen]
        rng = random.Random(f"{script.config.seed}:questions")
        questions = ask_many(Scene.of(script, times), rng, QUESTIONS_PER_CLIP, KINDS)
        stacked = tuple(np.stack([frame.views[view] for frame in seen]) for view in range(len(views)))
        yield SeenClip(script, times, stacked, questions)
