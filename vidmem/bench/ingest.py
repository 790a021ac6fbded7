"""`vidmem bench ingest`: how fast video is watched on this machine, in what memory, and what decoding costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidmem.bench.clips import SIZE, unseen_seed
from vidmem.bench.decode import decode_figures, growth_over_opens
from vidmem.bench.footage import moving_footage
from vidmem.bench.report import Figure, Say, at_least, at_most, beside, report
from vidmem.errors import VidmemError
from vidmem.world.script import Script, ScriptConfig
from vidmem.world.video import encode, frames

Draw = Callable[..., Iterator[tuple[float, np.ndarray]]]
"""`frames` or `moving_footage`."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lengths of what is watched, in seconds, and pictures a second of the files."""

    speed_seconds: float = 300.0
    speed_fps: int = 30
    moving_seconds: float = 60.0
    short_seconds: float = 600.0
    long_seconds: float = 7200.0
    memory_fps: int = 10
    decode_seconds: float = 30.0
    decode_size: tuple[int, int] = (1920, 1080)
    decode_rounds: int = 3
    num_opens: int = 10_000


QUICK = Sizes(
    speed_seconds=16.0,
    speed_fps=10,
    moving_seconds=8.0,
    short_seconds=16.0,
    long_seconds=32.0,
    memory_fps=2,
    decode_seconds=4.0,
    decode_size=(320, 180),
    decode_rounds=1,
    num_opens=50,
)
"""Only to see that everything runs: the figures mean nothing."""


def run(seed: int = 0, *, preset: str = "tiny", quick: bool = False, progress: Say | None = None) -> dict[str, Any]:
    """Measure, which takes minutes, and give the JSON object of figures."""
    sizes = QUICK if quick else Sizes()
    say = progress or (lambda line: None)
    with tempfile.TemporaryDirectory(prefix="vidmem-bench-") as name:
        folder = Path(name)
        figures = speed_figures(folder, seed, sizes, preset, say)
        figures |= memory_figures(folder, seed, sizes, preset, say)
        figures |= decoding_figures(folder, seed, sizes, say)
    return report(seed, figures)


def speed_figures(folder: Path, seed: int, sizes: Sizes, preset: str, say: Say) -> dict[str, Figure]:
    """Video seconds watched in a second, loading of models not counted, and which step took what share."""
    video = render(folder, unseen_seed(seed, 300_000), sizes.speed_seconds, sizes.speed_fps, say)
    measured = ingest_apart(video, preset, say)
    video.unlink()
    seconds = measured["seconds"]
    total = sum(seconds.values()) or 1.0
    moving = render(folder, unseen_seed(seed, 300_001), sizes.moving_seconds, sizes.speed_fps, say, moving_footage)
    moving_speed = ingest_apart(moving, preset, say)["speed"]
    figures = {
        "ingest_speed": at_least(measured["speed"], "x real time, 640x360 H.264 at 1 fps", 25.0),
        "ingest_speed_moving": beside(moving_speed, "x real time, of pictures that never stand still"),
    }
    return figures | {f"ingest_{step}_share": beside(spent / total, "share") for step, spent in seconds.items()}


def memory_figures(folder: Path, seed: int, sizes: Sizes, preset: str, say: Say) -> dict[str, Figure]:
    """Peak resident size of a process that ingests a short and a long video."""
    peaks = []
    for index, duration in enumerate((sizes.short_seconds, sizes.long_seconds)):
        video = render(folder, unseen_seed(seed, 310_000 + index), duration, sizes.memory_fps, say)
        peaks.append(ingest_apart(video, preset, say)["peak_bytes"])
        video.unlink()
    short, long = peaks
    return {
        "ingest_peak_memory_growth": at_most(abs(long - short) / short, "of the 10 minutes' peak", 0.10),
        "ingest_peak_memory_10min": beside(short / 1e6, "MB"),
        "ingest_peak_memory_2h": beside(long / 1e6, "MB"),
    }


def decoding_figures(folder: Path, seed: int, sizes: Sizes, say: Say) -> dict[str, Figure]:
    """What 1 fps out of 30 costs against the plain ways, whether it is exact, and what many opens leave behind."""
    script = Script(ScriptConfig(seed=unseen_seed(seed, 320_000), duration=sizes.decode_seconds))
    width, height = sizes.decode_size
    say(f"rendering {sizes.decode_seconds:.0f} s of moving pictures at {width}x{height}")
    video = folder / "footage.mp4"
    pictures = moving_footage(script, fps=30, size=sizes.decode_size)
    encode(video, pictures, fps=30, size=sizes.decode_size, duration=script.duration)
    say("decoding it with each contender")
    cost = decode_figures(video, fps=1.0, rounds=sizes.decode_rounds)
    for name, why in cost.missing.items():
        say(f"{name} can't run here: {why}")
    # Opens are counted on a small file: what they leave behind does not hang on how large a picture is.
    small = render(folder, unseen_seed(seed, 330_000), 16.0, 10, say)
    say(f"opening and seeking {sizes.num_opens} times")
    growth = growth_over_opens(small, num_opens=sizes.num_opens)
    others = ", ".join(name for name in cost.cpu_seconds if name != "ours")
    figures = {
        "decode_cpu_to_best_other": at_most(cost.ratio, f"ours / the best of {others}, CPU-seconds", 1.0),
        "decode_identical_frames": at_least(cost.identical_frames / cost.num_frames, "share of frames", 1.0),
        "decode_open_seek_memory_growth": at_most(growth, f"after {sizes.num_opens} opens", 0.02),
    }
    return figures | {f"decode_cpu_{name}": beside(cpu, "CPU-seconds") for name, cpu in cost.cpu_seconds.items()}


def render(folder: Path, seed: int, duration: float, fps: int, say: Say, draw: Draw = frames) -> Path:
    say(f"rendering {duration:.0f} s")
    path, script = folder / f"{duration:.0f}s.mp4", Script(ScriptConfig(seed=seed, duration=duration))
    encode(path, draw(script, fps=fps, size=SIZE), fps=fps, size=SIZE, duration=duration)
    return path


def ingest_apart(video: Path, preset: str, say: Say) -> dict[str, Any]:
    """Ingest in a process of its own; what `vidmem.bench.once` printed. Raises VidmemError if that fails."""
    say(f"ingesting {video.stem}")
    command = [sys.executable, "-m", "vidmem.bench.once", str(video), str(video.with_suffix(".vidmem")), preset]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        why = lines[-1] if lines else f"it ended with {done.returncode}"
        raise VidmemError(f"{video.name} could not be ingested in a process of its own: {why}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured
