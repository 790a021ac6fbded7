"""How well each selection of memory follows what it is told to, through the same clips with the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from time import thread_time
from typing import Any

import numpy as np
from torch import Tensor

from vidmem.bench.report import Figure, at_least, at_most, beside
from vidmem.bench.track_clips import FPS, TrackedClip, around
from vidmem.bench.track_metrics import score_boxes, score_masks
from vidmem.memory.tracking.selection import Selection
from vidmem.models.tracker import SELECTIONS, Tracker, selection_for
from vidmem.models.tracking.present import squashed
from vidmem.world.tracking import DRAMAS, Drama

PLAIN = "sam2"
EASY: Drama = "stroll"
"""All other dramas are of doubles and of things that are hidden or away: the subset on which memory has to tell."""
_RESAMPLED = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """What one selection made of a clip."""

    masks: np.ndarray
    """bool (T, H, W)."""
    seconds: float
    """Of this thread's core: others may use the machine too."""
    selection_seconds: float
    """The part of it that choosing memory and masks took."""


@dataclass(frozen=True, slots=True)
class ClipScore:
    """How well one selection followed through one clip."""

    drama: Drama
    jf: float
    """J&F in [0, 1]."""
    auc: float
    """Success AUC in [0, 1], as what follows."""
    ao: float
    """Average overlap."""
    sr50: float
    """Share of frames whose boxes overlap by more than 0.5."""
    sr75: float
    precision: float
    """Share of frames whose centres are at most 20 pixels apart."""
    switches: int
    """Frames on which a double was followed."""
    frames: int
    seconds: float
    selection_seconds: float


MEASURES = ("jf", "auc", "ao", "sr50", "sr75", "precision")
"""Fields of a `ClipScore` that say how good a track is, and what their figures' names end in."""
Scores = Mapping[str, Sequence[ClipScore]]
"""By selection, of the same clips in the same order."""


def follow_by_all(model: Any, clip: TrackedClip) -> dict[str, ClipScore]:
    """One clip by each selection."""
    return {name: score(clip, followed) for name, followed in follow(model, clip).items()}


def follow(model: Any, clip: TrackedClip, names: Sequence[str] = tuple(SELECTIONS)) -> dict[str, Followed]:
    """One clip by some selections, side by side: the network sees each frame once for all of them.

    That is in the seconds of each. Frames are squashed before, as decoding does it. All four take 0.65 to 0.68 of what
    they take one after the other (CPU time, random weights of the embedded size).
    """
    seen, masks = SeenOnce(model), {name: np.zeros_like(clip.masks) for name in names}
    timed = {name: TimedSelection(selection_for(model, name)) for name in names}
    trackers = {name: Tracker(seen, selection=timed[name]) for name in names}
    seconds = dict.fromkeys(names, 0.0)
    for index, frame in enumerate(clip.frames):
        square = squashed(frame, model.image_size)
        seen.forget()
        for name, tracker in trackers.items():
            began, seen_before = thread_time(), seen.seconds
            size, prompts = (frame.shape[0], frame.shape[1]), () if index else (clip.prompt,)
            result = tracker.step(square, index / FPS, frame_size=size, prompts=prompts)
            seconds[name] += thread_time() - began - (seen.seconds - seen_before)
            masks[name][index] = result.objects[0].mask.numpy()
    return {name: Followed(masks[name], seconds[name] + seen.seconds, timed[name].seconds) for name in names}


def score(clip: TrackedClip, followed: Followed) -> ClipScore:
    """The prompted frame does not count, nor, of masks, the last one, as DAVIS has it."""
    masks = followed.masks
    boxes = score_boxes(around(masks)[1:], clip.boxes[1:])
    return ClipScore(
        drama=clip.drama,
        jf=score_masks(masks[1:-1], clip.masks[1:-1]).mean,
        auc=boxes.success_auc,
        ao=boxes.average_overlap,
        sr50=boxes.success_50,
        sr75=boxes.success_75,
        precision=boxes.precision,
        switches=int(switched(masks[1:], clip.masks[1:], clip.doubles[:, 1:]).sum()),
        frames=len(masks) - 1,
        seconds=followed.seconds,
        selection_seconds=followed.selection_seconds,
    )


class SeenOnce:
    """A `SAM2Base` that encodes a picture for whoever asks first, and has the same features for all others."""

    def __init__(self, model: Any) -> None:
        self._model, self._features = model, None
        self.seconds = 0.0
        """That encoding took of this thread's core."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forget(self) -> None:
        """The next picture is another one."""
        self._features = None

    def forward_image(self, pixels: Tensor) -> Any:
        if self._features is None:
            began = thread_time()
            self._features = self._model.forward_image(pixels)
            self.seconds += thread_time() - began
        return self._features


class TimedSelection:
    """A selection that adds up the seconds that its calls take of this thread's core."""

    def __init__(self, selection: Selection[Any]) -> None:
        self._selection = selection
        self.present_above = selection.present_above
        self.reads_boxes = False  # It finds those that it needs itself, so that they are timed.
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._selection, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = thread_time()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds += thread_time() - began

        return timed


def switched(predicted: np.ndarray, truth: np.ndarray, doubles: np.ndarray) -> np.ndarray:
    """On which frames masks (T, H, W) cover more of one of the doubles (N, T, H, W) than of the true one: (T,)."""
    on_double = (doubles & predicted).sum((-2, -1)).max(0, initial=0)
    return on_double > (truth & predicted).sum((-2, -1))


def hard(scores: Sequence[ClipScore]) -> list[ClipScore]:
    """Those with distractors or occlusion."""
    return [score for score in scores if score.drama != EASY]


def interval(differences: Sequence[float], seed: int) -> tuple[float, float]:
    """95 % of the means of as many differences, drawn with replacement: the paired bootstrap's percentiles."""
    drawn = np.random.default_rng(seed).choice(np.asarray(differences), (_RESAMPLED, len(differences)))
    low, high = np.percentile(drawn.mean(1), (2.5, 97.5))
    return float(low), float(high)


def quality_figures(scores: Scores, seed: int) -> dict[str, Figure]:
    """Of each selection `track_NAME_WHAT`, and what the best of them gains over plain memory."""
    figures: dict[str, Figure] = {}
    for name, of in scores.items():
        figures |= {f"track_{name}_{what}": figure for what, figure in _own(name, of).items()}
    gains = {name: _gains(scores, name) for name in scores if name != PLAIN and hard(scores[name])}
    for name, points in gains.items():
        low, high = interval(points, seed)
        figures[f"track_{name}_gain"] = beside(mean(points), f"points of hard_jf above {PLAIN}")
        figures[f"track_{name}_gain_low"] = beside(low, "points, lower end of 95 %")
        figures[f"track_{name}_gain_high"] = beside(high, "points, upper end of 95 %")
    if not gains:
        return figures
    best = max(gains, key=lambda name: mean(gains[name]))
    unit = f"points of hard_jf, {best} above {PLAIN}"
    figures["track_best_gain"] = at_least(mean(gains[best]), unit, 5.0)
    ours, plain = (sum(score.switches for score in scores[name]) for name in (best, PLAIN))
    figures["track_best_switches"] = at_most(ours / max(plain, 1), f"of the frames on doubles of {PLAIN}, {best}", 0.5)
    return figures


def _own(name: str, scores: Sequence[ClipScore]) -> dict[str, Figure]:
    """What one selection did by itself."""
    unit, in_hard = f"points, {len(scores)} clips", hard(scores)
    points = {what: 100 * mean(getattr(score, what) for score in scores) for what in MEASURES}
    figures = {what: beside(value, unit) for what, value in points.items()}
    if name == PLAIN:
        figures["jf"] = at_least(points["jf"], unit, 70.0)
    if in_hard:
        unit = f"points, {len(in_hard)} clips with distractors or occlusion"
        figures["hard_jf"] = beside(100 * mean(score.jf for score in in_hard), unit)
        figures["hard_auc"] = beside(100 * mean(score.auc for score in in_hard), unit)
    for drama in DRAMAS:
        if of := [score for score in scores if score.drama == drama]:
            figures[f"{drama}_jf"] = beside(100 * mean(score.jf for score in of), f"points, {len(of)} clips")
    spent = sum(score.selection_seconds for score in scores) / sum(score.seconds for score in scores)
    tracked = sum(score.frames for score in scores)
    figures["switches"] = beside(sum(score.switches for score in scores), f"of {tracked} frames, on a double")
    figures["selection"] = at_most(spent, "of the time of a frame", 0.03)
    return figures


def _gains(scores: Scores, name: str) -> list[float]:
    """Points of each hard clip above plain memory."""
    return [100 * (ours.jf - plain.jf) for ours, plain in zip(hard(scores[name]), hard(scores[PLAIN]), strict=True)]
