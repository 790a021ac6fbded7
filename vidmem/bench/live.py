"""`vidmem bench live`: what a stream that never stops asks of watching: soon, whole, bounded, found again, never lost.

Cameras are the RTSP server of `live_camera`, which needs GStreamer: where that is not here, their figures say so.
All else is a file played at its own pace.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from vidmem.bench.kept import Figures, Kept, check_parts, in_a_folder
from vidmem.bench.live_alerts import AlertScore, trial
from vidmem.bench.live_asked import live_asked_figures
from vidmem.bench.live_camera import what_is_missing
from vidmem.bench.live_day import live_day_figures
from vidmem.bench.live_killed import live_killed_figures
from vidmem.bench.live_losses import live_losses_figures
from vidmem.bench.live_overload import live_overload_figures
from vidmem.bench.live_steady import live_steady_figures
from vidmem.bench.report import Say, at_least, at_most, beside, report, unmeasured
from vidmem.pipelines.watching import CLIP_SECONDS
from vidmem.world.counted import counted_video

FPS = 15
SIZE = (640, 360)
PARTS = ("steady", "overload", "losses", "asked", "killed", "day", "alerts")
"""Rows of what live watching is to show, by the names of the modules that measure them."""


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
    day_hours: float = 24.0
    alert_seconds: float = 180.0


QUICK = Sizes(
    video_seconds=4,
    steady_seconds=4.0,
    losses=1,
    askers=1,
    ask_seconds=3.0,
    alone_seconds=3.0,
    kills=1,
    day_hours=0.05,
    alert_seconds=10.0,
)
"""Only to see that everything runs: the figures mean nothing."""


def run(
    seed: int = 0,
    *,
    sizes: Sizes | None = None,
    preset: str = "tiny",
    parts: Collection[str] = PARTS,
    keep: Path | None = None,
    quick: bool = False,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Measure, which takes more than an hour, and give the JSON object of figures.

    Args:
        sizes: how much; None for all, or for very little if `quick`.
        parts: what to measure, of `PARTS`.
        keep: a folder in which what was measured is kept, part by part, and looked for: a run that was stopped goes on
            there.

    Raises:
        BadInput: there is no such part.
    """
    check_parts(parts, PARTS)
    sizes = sizes or (QUICK if quick else Sizes())
    say = progress or (lambda line: None)
    kept = Kept(keep, {"seed": seed, "preset": preset, **asdict(sizes)})
    with tempfile.TemporaryDirectory(prefix="vidmem-bench-") as name:
        folder = Path(name)

        @cache
        def video() -> Path:
            say("live: render")
            return counted_video(folder / "counted.mp4", seconds=sizes.video_seconds, seed=3 + seed, fps=FPS, size=SIZE)

        measures = {
            part: partial(in_a_folder, measure) for part, measure in _parts(video, seed, sizes, preset, say).items()
        }
        return report(seed, kept.parts("live", measures, parts, say))


def alert_figures(score: AlertScore) -> Figures:
    """Of what standing questions about one world were told."""
    of = f"of what {score.asked} questions were told"
    late, median = unmeasured("nothing was told"), unmeasured("nothing was told")
    if score.heard:
        late = at_most(max(score.heard), "s from what happened until it was heard, at worst", CLIP_SECONDS + 1.0)
        median = beside(statistics.median(score.heard), "s, median")
    return {
        "live_alert_precision": at_least(score.precision, f"{of} was so", 0.95),
        "live_alert_recall": at_least(score.recall, "of what happened was told", 0.95),
        "live_alert_delay": late,
        "live_alert_delay_median": median,
    }


def _parts(
    video: Callable[[], Path], seed: int, sizes: Sizes, preset: str, say: Say
) -> dict[str, Callable[[Path], Figures]]:
    """What measures each row, in a folder of its own."""
    return {
        "steady": partial(
            _of_camera,
            "steady",
            lambda folder: live_steady_figures(folder, video(), fps=FPS, seconds=sizes.steady_seconds, preset=preset),
        ),
        "overload": lambda folder: live_overload_figures(
            folder, video(), fps=FPS, num_pictures=sizes.video_seconds * FPS, preset=preset, say=say
        ),
        "losses": partial(
            _of_camera,
            "losses",
            lambda folder: live_losses_figures(
                folder, video(), seed, fps=FPS, kills=sizes.losses, preset=preset, say=say
            ),
        ),
        "asked": lambda folder: live_asked_figures(
            folder,
            video(),
            seed,
            askers=sizes.askers,
            seconds=sizes.ask_seconds,
            alone_seconds=sizes.alone_seconds,
            preset=preset,
            say=say,
        ),
        "killed": lambda folder: live_killed_figures(folder, video(), seed, kills=sizes.kills, preset=preset, say=say),
        "day": lambda folder: live_day_figures(folder, seed, hours=sizes.day_hours, preset=preset, say=say),
        "alerts": lambda _: alert_figures(trial(seed, seconds=sizes.alert_seconds, preset=preset)),
    }


def _of_camera(part: str, measure: Callable[[Path], Figures], folder: Path) -> Figures:
    if (command := what_is_missing()) is not None:
        return {f"live_{part}": unmeasured(f"no RTSP server here: {command}")}
    return measure(folder)
