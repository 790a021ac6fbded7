"""`vidmem bench track`: how well objects are followed by each selection of memory, and what following takes.

The four selections follow the same things through the same unseen clips, with the same weights.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch

from vidmem.bench.kept import Kept, Measure, check_parts
from vidmem.bench.report import Figure, Say, at_least, at_most, beside, report, unmeasured
from vidmem.bench.track_clips import TrackedClip, tracked_clip
from vidmem.bench.track_exact import identical_masks
from vidmem.bench.track_parity import parity_figures
from vidmem.bench.track_quality import ClipScore, Scores, follow_by_all, quality_figures
from vidmem.bench.track_speed import Held, frame_times, growth, held_over, peak_bytes
from vidmem.models.folders import find_model
from vidmem.models.sam import EMBEDDED_FOLDER, SAM_FILES, load_sam
from vidmem.models.sam_config import SAM2_1, SamConfig
from vidmem.models.tracker import SELECTIONS

CLIPS, CLIP_SECONDS = 40, 20.0
FRAMES = 100_000
PARTS = ("parity", "speed", "peak", "exact", "sizes", "stream", "clips")
"""Numbers of the selections' and the measures' authors; time a frame and peak memory against the `sam2` package; masks
against it; published sizes on a GPU; memory over a long stream; quality."""
_PROCESSES = 2
"""With a core each: one has the long stream, while the other begins with the clips."""
_CROWDED = 4
"""Number of the clip that is streamed on and on, and compared mask by mask: the first in which all happens at once."""
_SAY_SECONDS = 60.0
"""How far the long stream is is said so often, once nothing else is."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the processes work on."""

    model: str
    seed: int
    seconds: float
    """Of each clip."""
    kept: Kept

    def clip(self, index: int) -> TrackedClip:
        return tracked_clip(self.seed, index, self.seconds)


def run(
    seed: int = 0,
    *,
    model: str | Path | None = None,
    clips: int = CLIPS,
    frames: int | None = None,
    parts: Collection[str] = PARTS,
    keep: Path | None = None,
    quick: bool = False,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Measure, which takes most of an hour, and give the JSON object of figures.

    Args:
        model: folder or hub repository of a SAM 2; None for the embedded one.
        frames: of the stream over which memory is watched; None for `FRAMES`.
        parts: what to measure, of `PARTS`.
        keep: a folder in which what was measured is kept, clip by clip, and looked for: a run that was stopped goes on
            there.

    Raises:
        BadInput: there is no such part.
        MissingModel: the model is not there.
    """
    check_parts(parts, PARTS)
    say, name = progress or (lambda line: None), str(model or EMBEDDED_FOLDER)
    clips, seconds = (2, 3.0) if quick else (clips, CLIP_SECONDS)
    frames = frames or (60 if quick else FRAMES)
    loaded, config = load_sam(name)
    of = {"model": find_model(name, SAM_FILES).revision, "seed": seed, "seconds": seconds}
    job = Job(name, seed, seconds, Kept(keep, of))
    alone: dict[str, Measure] = {
        "parity": parity_figures,
        "speed": lambda: speed_figures(config, seed, quick=quick),
        "peak": lambda: peak_figures(config, seed, num_frames=30 if quick else 600),
        "exact": lambda: exact_figures(loaded, config, job.clip(_CROWDED)),
        "sizes": lambda: sizes_figures(seed, quick=quick),
    }
    figures = job.kept.parts("track", alone, parts, say)
    with _workers() as (pool, num_streamed):
        held = pool.submit(_held, job, frames) if "stream" in parts else None
        followed = [pool.submit(_followed, job, index) for index in range(clips if "clips" in parts else 0)]
        if followed:
            figures |= quality_figures(_collected(followed, say), seed)
        if held is not None:
            figures |= memory_figures(_awaited(held, lambda: say(f"track: {num_streamed.value} of {frames} frames")))
    return report(seed, figures)


def speed_figures(config: SamConfig, seed: int, *, quick: bool) -> dict[str, Figure]:
    """Against the `sam2` package's video predictor, with the model's sizes."""
    num_frames, warm_up = _timed(quick)
    times = frame_times(config, num_frames=num_frames, warm_up=warm_up, seed=seed)
    return {
        "track_speed_to_package": at_least(times.ratio, "times the frames a second of sam2's predictor", 1.0),
        "track_frame": beside(1e3 * times.ours, "ms (median)"),
    }


def peak_figures(config: SamConfig, seed: int, *, num_frames: int) -> dict[str, Figure]:
    """Against the same."""
    peaks = peak_bytes(config, num_frames=num_frames, seed=seed)
    return {
        "track_peak_to_package": at_most(peaks.share, f"of its peak memory at {num_frames} frames", 0.25),
        "track_peak": beside(peaks.ours, "bytes on top of the model"),
    }


def exact_figures(model: Any, config: SamConfig, clip: TrackedClip) -> dict[str, Figure]:
    """Streamed masks against those of the whole video."""
    same = identical_masks(model, config, list(clip.frames), clip.prompt)
    return {"track_identical_masks": at_least(same, f"share of {len(clip.frames)} frames, sam2", 1.0)}


def sizes_figures(
    seed: int,
    *,
    quick: bool,
    sizes: Mapping[str, SamConfig] = SAM2_1,
    device: torch.device | str = "cuda",
) -> dict[str, Figure]:
    """SAM 2.1's sizes with random weights in bfloat16; on a GPU with the image encoder compiled, too."""
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        return {"track_sizes": unmeasured("frames a second of SAM 2.1's sizes: needs a GPU")}
    num_frames, warm_up = _timed(quick)
    figures: dict[str, Figure] = {}
    for name, config in sizes.items():
        for how, compiled in (("speed", False), ("compiled_speed", True)) if on_gpu else (("speed", False),):
            times = frame_times(
                config,
                num_frames=num_frames,
                warm_up=warm_up,
                device=device,
                dtype=torch.bfloat16,
                compiled=compiled,
                seed=seed,
            )
            figures[f"track_{name}_{how}"] = beside(1 / times.ours, "frames a second in bfloat16")
            unit = "times the frames a second of sam2's predictor, which isn't compiled"
            figures[f"track_{name}_{how}_to_package"] = beside(times.ratio, unit)
    return figures


def memory_figures(samples: list[Held]) -> dict[str, Figure]:
    """Largest change after the first tenth of a stream."""
    change = growth(samples)
    return {
        "track_tensor_bytes_growth": at_most(change["tensor_bytes"], f"share in {samples[-1].num_frames} frames", 0.02),
        "track_resident_growth": at_most(change["resident_bytes"], f"share, {samples[-1].resident_bytes} bytes", 0.02),
    }


def _timed(quick: bool) -> tuple[int, int]:
    """Frames of a clip whose frames are timed, and those at its beginning that don't count."""
    return (5, 2) if quick else (60, 17)


def _collected(followed: Sequence[Future[dict[str, ClipScore]]], say: Say) -> Scores:
    done = list(_said(followed, say))
    return {name: [clip[name] for clip in done] for name in SELECTIONS}


def _said(followed: Sequence[Future[dict[str, ClipScore]]], say: Say) -> Iterator[dict[str, ClipScore]]:
    for number, future in enumerate(followed, 1):
        scores = future.result()
        shown = ", ".join(f"{name} {100 * score.jf:.0f}" for name, score in scores.items())
        say(f"track: clip {number} of {len(followed)}, {next(iter(scores.values())).drama}: {shown}")
        yield scores


def _awaited(held: Future[list[Held]], say: Callable[[], None]) -> list[Held]:
    while True:
        say()
        try:
            return held.result(timeout=_SAY_SECONDS)
        except TimeoutError:
            continue


# -- in processes of their own --

_num_streamed: Any = None


@contextmanager
def _workers() -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    """Processes, and the count of frames that the long stream has had. What ends this early ends them, too."""
    context, others = get_context("spawn"), set(active_children())
    num_streamed = context.Value("q", 0)
    with ProcessPoolExecutor(_PROCESSES, context, _begin, (num_streamed,)) as pool:
        try:
            yield pool, num_streamed
        except BaseException:
            for child in set(active_children()) - others:
                child.terminate()
            raise


def _begin(num_streamed: Any) -> None:
    global _num_streamed
    _num_streamed = num_streamed
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is told by the process that began this one


def _followed(job: Job, index: int) -> dict[str, ClipScore]:
    def follow() -> dict[str, Any]:
        scores = follow_by_all(_loaded(job.model), job.clip(index))
        return {name: asdict(score) for name, score in scores.items()}

    return {name: ClipScore(**score) for name, score in job.kept.made(f"clip-{index}", follow).items()}


def _held(job: Job, num_frames: int) -> list[Held]:
    def hold() -> list[dict[str, int]]:
        clip = job.clip(_CROWDED)
        samples = held_over(
            _loaded(job.model), list(clip.frames), [clip.prompt], num_frames=num_frames, progress=_count
        )
        return [asdict(sample) for sample in samples]

    return [Held(**sample) for sample in job.kept.made(f"stream-{num_frames}", hold)]


def _count(num_frames: int) -> None:
    _num_streamed.value = num_frames


@cache
def _loaded(name: str) -> Any:
    """Once in each process."""
    return load_sam(name)[0]
