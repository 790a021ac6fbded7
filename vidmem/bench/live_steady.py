"""A camera at a load that can be carried: how soon a picture is in memory, and whether all that are due come."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import vidmem
from vidmem.bench.live_camera import Camera
from vidmem.bench.live_onlooker import LOOK_SECONDS, Found, Onlooker
from vidmem.bench.report import Figure, at_least, at_most, beside

SAMPLED_FPS = 2.0
_PARTS = 10
"""Of the whole time; the second and the last are compared."""
_UNDER_WAY_SECONDS = 5.0
"""What is taken so shortly before the end need not be in memory."""


def live_steady_figures(folder: Path, video: Path, *, fps: int, seconds: float, preset: str) -> dict[str, Figure]:
    """Watch for so many seconds a camera that shows counted video of `fps` frames a second."""
    with Camera(video, fps=fps) as camera, vidmem.open(folder / "a.vidmem", preset=preset) as memory:
        with memory.watch(camera.url, fps=SAMPLED_FPS) as watch, Onlooker(memory.path) as onlooker:
            onlooker.wait(1)  # models that are loaded still need a moment for their first clip
            watch.wait(seconds)
            state, ended = watch.state(), time.monotonic()
        found = onlooker.found()
        taken = [camera.taken(one.number, before=one.at) for one in found]
        indexes = [round((moment - camera.started) * fps) for moment in taken]
    latencies = np.array([one.at - moment for one, moment in zip(found, taken, strict=True)])
    until = round((ended - _UNDER_WAY_SECONDS - camera.started) * fps)
    missing = frames_missing(indexes, until, fps=fps, sampled_fps=SAMPLED_FPS)
    due = len(set(indexes)) + missing
    how = f"s from camera to memory, {fps} fps sampled at {SAMPLED_FPS:g}, {seconds:.0f} s"
    return {
        "live_latency": at_most(float(np.median(latencies)), f"{how}, median; looked for each {LOOK_SECONDS} s", 1.0),
        "live_latency_p95": beside(float(np.quantile(latencies, 0.95)), "s, 95 % of frames are sooner"),
        "live_latency_growth": at_most(
            growth(found, latencies), "s, median of the last tenth less that of the second", 0.1
        ),
        "live_frames_in_memory": at_least(1 - missing / due, f"share of the {due} frames that were due", 1.0),
        "live_frames_dropped": beside(state.source.dropped, f"of {state.source.frames} frames"),
    }


def frames_missing(indexes: list[int], until: int, *, fps: int, sampled_fps: float) -> int:
    """How many of a camera's pictures should be in memory and are not, between those that are and from there to the
    one numbered `until`. One that is there and was not due makes up for none."""
    steps = np.diff(np.unique(indexes)) * sampled_fps / fps
    between = int((np.round(steps) - 1).clip(min=0).sum())
    return between + max(0, int((until - max(indexes)) * sampled_fps / fps))


def growth(found: list[Found], latencies: np.ndarray) -> float:
    """How much later frames come towards the end. Latencies (n,) in seconds, of n frames."""
    times = np.array([one.at for one in found])
    part = np.minimum(_PARTS * (times - times[0]) / max(times[-1] - times[0], 1e-9), _PARTS - 1).astype(int)
    late, early = latencies[part == _PARTS - 1], latencies[part == 1]
    return float(np.median(late) - np.median(early)) if len(late) and len(early) else 0.0
