"""`vidmem bench live`: what a stream that never stops asks of watching: soon, whole, bounded, found again, never lost.

Cameras are the RTSP server of `live_camera`, which needs GStreamer: where that is not here, their figures say so.
All else is a file played at its own pace.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidmem.bench.live_asked import live_asked_figures
from vidmem.bench.live_camera import what_is_missing
from vidmem.bench.live_killed import live_killed_figures
from vidmem.bench.live_losses import live_losses_figures
from vidmem.bench.live_overload import live_overload_figures
from vidmem.bench.live_steady import live_steady_figures
from vidmem.bench.report import Figure, Say, report, unmeasured
from vidmem.world.counted import counted_video

FPS = 15
SIZE = (640, 360)
LATER = ("live_day", "live_alerts")
"""Modules with rows of their own, by `figures(folder, seed, *, quick, preset, say)`; left out where there are none."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. The defaults are what the targets are about."""

    video_seconds: int = 60
    steady_seconds: float = 600.0
    losses: int = 20
    askers: int = 8
    ask_seconds: float = 180.0
    alone_seconds: float = 60.0
    kills: int = 50


QUICK = Sizes(video_seconds=4, steady_seconds=4.0, losses=1, askers=2, ask_seconds=3.0, alone_seconds=3.0, kills=1)
"""Only to see that everything runs: the figures mean nothing."""


def run(
    seed: int = 0,
    *,
    sizes: Sizes | None = None,
    preset: str = "tiny",
    quick: bool = False,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Measure, which takes most of an hour, and give the JSON object of figures.

    Args:
        sizes: how much; None for all, or for very little if `quick`.
    """
    sizes = sizes or (QUICK if quick else Sizes())
    say = progress or (lambda line: None)
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="vidmem-bench-") as name:
        folder = Path(name)
        say("live: render")
        video = counted_video(folder / "counted.mp4", seconds=sizes.video_seconds, seed=3 + seed, fps=FPS, size=SIZE)
        for part, measure in _parts(folder, video, seed, sizes, preset, say).items():
            say(f"live: {part}")
            (folder / part).mkdir()
            figures |= measure(folder / part)
        for module in LATER:
            figures |= _later(module, folder, seed, quick=quick, preset=preset, say=say)
    return report(seed, figures)


def _later(module: str, folder: Path, seed: int, *, quick: bool, preset: str, say: Say) -> dict[str, Figure]:
    """The rows of a module; that there are none, where this vidmem does not have it."""
    if importlib.util.find_spec(f"vidmem.bench.{module}") is None:
        say(f"live: {module.removeprefix('live_')} is left out: this vidmem has no benchmark of it")
        return {module: unmeasured("left out: this vidmem has no benchmark of it")}
    say(f"live: {module.removeprefix('live_')}")
    (folder / module).mkdir()
    measure = importlib.import_module(f"vidmem.bench.{module}").figures
    found: dict[str, Figure] = measure(folder / module, seed, quick=quick, preset=preset, say=say)
    return found


def _parts(
    folder: Path, video: Path, seed: int, sizes: Sizes, preset: str, say: Say
) -> dict[str, Callable[[Path], dict[str, Figure]]]:
    """What measures each row."""
    parts: dict[str, Callable[[Path], dict[str, Figure]]] = {
        "steady": lambda folder: live_steady_figures(
            folder, video, fps=FPS, seconds=sizes.steady_seconds, preset=preset
        ),
        "overload": lambda folder: live_overload_figures(
            folder, video, num_pictures=sizes.video_seconds * FPS, preset=preset, say=say
        ),
        "losses": lambda folder: live_losses_figures(
            folder, video, seed, fps=FPS, kills=sizes.losses, preset=preset, say=say
        ),
        "asked": lambda folder: live_asked_figures(
            folder,
            video,
            seed,
            askers=sizes.askers,
            seconds=sizes.ask_seconds,
            alone_seconds=sizes.alone_seconds,
            preset=preset,
            say=say,
        ),
        "killed": lambda folder: live_killed_figures(folder, video, seed, kills=sizes.kills, preset=preset, say=say),
    }
    if (command := what_is_missing()) is not None:
        say(f"live: there is no RTSP server here: {command}")
        for part in ("steady", "losses"):
            parts[part] = lambda _, part=part: {f"live_{part}": unmeasured(f"no RTSP server here: {command}")}  # type: ignore[misc]
    return parts
