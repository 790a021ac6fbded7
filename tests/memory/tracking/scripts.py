"""Scripted answers of a decoder: masks that are boxes, predicted IoUs with ties, objects that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from vidmem.memory.tracking.selection import Candidates, Choice, Kept, Reading, Selection

GRID = 20
SQUARE = 80
SIZE = (30, 44)
SCORES = (-3.0, -1.0, -0.5, 0.0, 1.0, 2.0, 3.0, 12.0)
"""Object scores, thresholds among them."""


@dataclass(frozen=True, slots=True)
class Script:
    """What to make of a seed."""

    seed: int
    num_frames: int
    num_masks: int
    decimals: int
    """Of the predicted IoUs: few make many ties."""
    calm: float
    """Share of frames on which the object is where it was, and seen well."""


scripts = st.builds(
    Script,
    seed=st.integers(0, 2**32 - 1),
    num_frames=st.integers(2, 60),
    num_masks=st.integers(1, 4),
    decimals=st.integers(1, 3),
    calm=st.sampled_from((0.0, 0.5, 0.9, 1.0)),
)


def play(script: Script, num_pathways: int = 1) -> list[list[Candidates]]:
    """Candidates of every frame and pathway."""
    rng = np.random.default_rng(script.seed)
    home = rng.integers(2, 10, 2)
    return [
        [_frame(rng, script, home, is_calm=rng.random() < script.calm) for _ in range(num_pathways)]
        for _ in range(script.num_frames)
    ]


def _frame(rng: np.random.Generator, script: Script, home: np.ndarray, *, is_calm: bool) -> Candidates:
    masks = np.full((script.num_masks, GRID, GRID), -8.0, np.float32)
    for mask in masks:
        for _ in range(rng.integers(0, 4)):
            x, y = home + rng.integers(-1, 2, 2) if is_calm else rng.integers(0, GRID, 2)
            width, height = rng.integers(5, 7, 2) if is_calm else rng.integers(1, 7, 2)
            mask[y : y + height, x : x + width] = rng.choice((2.0, 8.0))
    score = 5.0 if is_calm else float(rng.choice(SCORES))
    if score <= -1:
        masks[:] = -1024.0
    ious = np.round(rng.uniform(0.8 if is_calm else 0.0, 1.0, script.num_masks), script.decimals).astype(np.float32)
    return Candidates(tuple(ious.tolist()), score, torch.from_numpy(masks), SQUARE, SIZE)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One frame: what each pathway read, what was chosen, and what was kept after it."""

    frame: int
    readings: Sequence[Reading]
    choices: Sequence[Choice]
    kept: Sequence[Kept]


def run(
    selection: Selection, frames: Sequence[Sequence[Candidates]], prompts: Sequence[int] = (0,), every: int = 1
) -> list[Step]:
    """Track as a tracker does: prompts are frames whose first candidate is the prompted mask; others come in steps."""
    states: list = []
    steps = []
    for frame in range(prompts[0], len(frames)):
        found = frames[frame]
        if frame in prompts:
            prompted = Candidates(found[0].ious[:1], found[0].object_score, found[0].masks[:1], SQUARE, SIZE)
            states = [selection.prompted(states[0] if states else None, frame, prompted, initial=not states)]
        elif (frame - prompts[0]) % every == 0:
            readings = [selection.read(state, frame) for state in states]
            choices = selection.choose(states, found[: len(states)], frame)
            states = [choice.state for choice in choices]
            steps.append(Step(frame, readings, choices, [selection.kept(state) for state in states]))
    return steps


def check_kept(steps: Sequence[Step], prompts: Sequence[int] = (0,)) -> None:
    """A tracker that frees all that is not kept always has what is read."""
    held: list[tuple[set[int], set[int]]] = [({*prompts[:1]}, {*prompts[:1]})]
    later = sorted(prompts[1:])
    for step in steps:
        while later and later[0] < step.frame:
            prompt = later.pop(0)
            held = [(held[0][0] | {prompt}, held[0][1] | {prompt})]
        for reading, (frames, pointers) in zip(step.readings, held, strict=True):
            assert set(reading.frames) <= frames
            assert set(reading.pointer_frames) <= pointers
            assert len(reading.frames) == len(reading.rows) == len(set(reading.frames))
            assert len(reading.pointer_frames) == len(reading.distances) == len(set(reading.pointer_frames))
        held = [
            (
                (held[choice.pathway][0] | {step.frame}) & kept.frames,
                (held[choice.pathway][1] | {step.frame}) & kept.pointer_frames,
            )
            for choice, kept in zip(step.choices, step.kept, strict=True)
        ]
