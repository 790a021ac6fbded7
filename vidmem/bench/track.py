"""`vidmem bench track`: how well objects are followed by each selection of memory, and what following takes.

The four selections follow the same things through the same unseen clips, with the same weights. Parity with what the
authors of the selections and of the measures have is a matter of the tests: `tests/parity`, `test_track_metrics.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from vidmem import models
from vidmem.bench.report import Figure, Say, at_least, at_most, beside, report
from vidmem.bench.track_clips import tracked_clip
from vidmem.bench.track_exact import identical_masks
from vidmem.bench.track_quality import ClipScore, Scores, follow_by_all, quality_figures
from vidmem.bench.track_speed import Held, frame_times, growth, held_over, peak_bytes
from vidmem.models.sam import load_sam
from vidmem.models.sam_config import SamConfig
from vidmem.models.tracker import SELECTIONS

EMBEDDED_FOLDER = Path(models.__file__).with_name("tiny") / "sam"
CLIPS, CLIP_SECONDS = 40, 20.0
FRAMES = 100_000
_PROCESSES = 2
"""With a core each: one has the long stream, while the other begins with the clips."""
_CROWDED = 4
"""Number of the clip that is streamed on and on, and compared mask by mask: the first in which all happens at once."""


def run(
    seed: int = 0,
    *,
    model: str | Path | None = None,
    clips: int = CLIPS,
    frames: int | None = None,
    quick: bool = False,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Measure, which takes most of an hour, and give the JSON object of figures.

    Args:
        model: folder or hub repository of a SAM 2; None for the embedded one.
        frames: of the stream over which memory is watched; None for `FRAMES`.

    Raises:
        MissingModel: the model is not there.
    """
    say, name = progress or (lambda line: None), str(model or EMBEDDED_FOLDER)
    clips, seconds = (2, 3.0) if quick else (clips, CLIP_SECONDS)
    frames = frames or (60 if quick else FRAMES)
    loaded, config = load_sam(name)
    figures = speed_figures(config, seed, quick=quick, say=say)
    say("track: streamed and whole")
    crowded = tracked_clip(seed, _CROWDED, seconds)
    same = identical_masks(loaded, config, list(crowded.frames), crowded.prompt)
    figures["track_identical_masks"] = at_least(same, f"share of {len(crowded.frames)} frames, sam2", 1.0)
    context = get_context("spawn")
    with ProcessPoolExecutor(_PROCESSES, context, torch.set_num_threads, (1,)) as pool:
        held = pool.submit(_held, name, seed, seconds, frames)
        followed = [pool.submit(_followed, name, seed, index, seconds) for index in range(clips)]
        scores = _collected(followed, say)
        say(f"track: {frames} frames")
        figures |= quality_figures(scores, seed) | memory_figures(held.result())
    return report(seed, figures)


def speed_figures(config: SamConfig, seed: int, *, quick: bool, say: Say) -> dict[str, Figure]:
    """Against the `sam2` package's video predictor, with the model's sizes."""
    say("track: time a frame")
    num_timed, warm_up = (5, 2) if quick else (60, 17)
    times = frame_times(config, num_frames=num_timed, warm_up=warm_up, seed=seed)
    say("track: peak memory")
    num_frames = 30 if quick else 600
    peaks = peak_bytes(config, num_frames=num_frames, seed=seed)
    return {
        "track_speed_to_package": at_least(times.ratio, "times the frames a second of sam2's predictor", 1.0),
        "track_frame": beside(1e3 * times.ours, "ms (median)"),
        "track_peak_to_package": at_most(peaks.share, f"of its peak memory at {num_frames} frames", 0.25),
        "track_peak": beside(peaks.ours, "bytes on top of the model"),
    }


def memory_figures(samples: list[Held]) -> dict[str, Figure]:
    """Largest change after the first tenth of a stream."""
    change = growth(samples)
    return {
        "track_tensor_bytes_growth": at_most(change["tensor_bytes"], f"share in {samples[-1].num_frames} frames", 0.02),
        "track_resident_growth": at_most(change["resident_bytes"], f"share, {samples[-1].resident_bytes} bytes", 0.02),
    }


def _collected(followed: list[Future[dict[str, ClipScore]]], say: Say) -> Scores:
    done = list(_said(followed, say))
    return {name: [clip[name] for clip in done] for name in SELECTIONS}


def _said(followed: list[Future[dict[str, ClipScore]]], say: Say) -> Iterator[dict[str, ClipScore]]:
    for number, future in enumerate(followed, 1):
        scores = future.result()
        shown = ", ".join(f"{name} {100 * score.jf:.0f}" for name, score in scores.items())
        say(f"track: clip {number} of {len(followed)}, {next(iter(scores.values())).drama}: {shown}")
        yield scores


def _followed(name: str, seed: int, index: int, seconds: float) -> dict[str, ClipScore]:
    return follow_by_all(_loaded(name), tracked_clip(seed, index, seconds))


def _held(name: str, seed: int, seconds: float, num_frames: int) -> list[Held]:
    clip = tracked_clip(seed, _CROWDED, seconds)
    return held_over(_loaded(name), list(clip.frames), [clip.prompt], num_frames=num_frames)


@cache
def _loaded(name: str) -> Any:
    """Once in each process."""
    return load_sam(name)[0]
