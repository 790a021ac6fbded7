"""`vidmem bench kv`: whether KV memory is exact, what it brings back and how soon, and what it holds and costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidmem.bench.kv_ask import kv_ask_figures
from vidmem.bench.kv_bytes import SMALLEST, WAYS, kv_bytes_figures
from vidmem.bench.kv_exact import kv_exactness_figures
from vidmem.bench.kv_packing import kv_packing_figures
from vidmem.bench.kv_planted import kv_planted_figures
from vidmem.bench.kv_reload import kv_reload_figures
from vidmem.bench.kv_scale import kv_scale_figures
from vidmem.bench.kv_stream import kv_stream_figures
from vidmem.bench.kv_write import kv_write_figures
from vidmem.bench.report import Figure, Say, beside, report


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. The defaults are what the figures of the documentation are made with."""

    hours: float = 1.0
    needles: int = 30
    short_seconds: float = 600.0
    scale_hours: tuple[float, float, float] = (1.0, 10.0, 100.0)
    rounds: int = 9
    reload_frames: int = 64
    reload_layers: int = 28
    write_clips: int = 128
    write_warm_up: int = 16
    clip_questions: int = 100
    ways: tuple[str, ...] = tuple(WAYS)


QUICK = Sizes(
    hours=120 / 3600,
    needles=2,
    short_seconds=60.0,
    scale_hours=(0.05, 0.1, 0.2),
    rounds=1,
    reload_frames=4,
    reload_layers=2,
    write_clips=4,
    write_warm_up=1,
    clip_questions=3,
    ways=("keep_all", "int2", SMALLEST),
)
"""Only to see that everything runs: the figures mean nothing."""


def run(
    seed: int = 0,
    *,
    hours: float | None = None,
    preset: str = "tiny",
    quick: bool = False,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Measure, which takes the better part of an hour, and give the JSON object of figures.

    Args:
        hours: of the world that is watched, and of the stream whose bytes are counted; 1 by default, and what is said
            of 6 needs 6.
    """
    sizes = QUICK if quick else Sizes()
    hours = sizes.hours if hours is None else hours
    say = progress or (lambda line: None)
    ways = {name: WAYS[name] for name in sizes.ways}
    parts: dict[str, Callable[[Path], dict[str, Figure]]] = {
        "exact": lambda folder: kv_exactness_figures(seed, say=say),
        "packing": lambda folder: kv_packing_figures(seed, rounds=2 * sizes.rounds),
        "reload": lambda folder: kv_reload_figures(
            folder, num_frames=sizes.reload_frames, num_layers=sizes.reload_layers, rounds=sizes.rounds
        ),
        "write": lambda folder: kv_write_figures(
            folder, seed, num_clips=sizes.write_clips, warm_up=sizes.write_warm_up, preset=preset, say=say
        ),
        "stream": lambda folder: kv_stream_figures(folder, seed, hours=hours, preset=preset, say=say),
        "scale": lambda folder: kv_scale_figures(
            folder, seed, hours=sizes.scale_hours, rounds=sizes.rounds, preset=preset, say=say
        ),
        "bytes": lambda folder: kv_bytes_figures(
            folder, seed, questions=sizes.clip_questions, ways=ways, preset=preset, say=say
        ),
        "planted": lambda folder: kv_planted_figures(
            seed, hours=hours, needles=min(sizes.needles, int(hours * 60)), preset=preset, say=say
        ),
        "ask": lambda folder: kv_ask_figures(
            folder,
            seed,
            hours=hours,
            needles=min(sizes.needles, int(hours * 60)),
            short_seconds=sizes.short_seconds,
            preset=preset,
            say=say,
        ),
    }
    figures = gpu_figures()
    for name, measure in parts.items():
        say(f"kv: {name}")
        with tempfile.TemporaryDirectory(prefix="vidmem-bench-") as folder:
            figures |= measure(Path(folder))
    return report(seed, figures)


def gpu_figures() -> dict[str, Figure]:
    """How many GPUs there are: everything here is measured on the CPU, and says nothing of one."""
    import torch

    return {"kv_gpus": beside(torch.cuda.device_count(), "GPUs here; no figure of this report uses one")}
