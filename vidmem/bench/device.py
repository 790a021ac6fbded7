"""`vidmem bench device`: how fast an accelerator takes frames in and answers, with models of public sizes.

Weights are random and pictures are noise: neither changes the speed. Without a GPU the same is run with small models of
the same families on the CPU, under the same names; then no figure is held to its target, and those that only a GPU has
are null.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidmem.bench.device_ask import NUM_SETS, PLACES, History, Rounds, Where, first_token_seconds
from vidmem.bench.device_attention import attention_error, attention_operations
from vidmem.bench.device_models import SIZES, build
from vidmem.bench.device_rates import (
    Rates,
    counted_operations,
    forget_peak,
    host_waits,
    measure_rates,
    peak_bytes,
    prefill_operations,
    seconds,
)
from vidmem.bench.device_stream import DROPS, KEEP, Drop, Footage, PlainLoop, Stream, window_of
from vidmem.bench.report import Figure, Say, at_least, at_most, beside, report, unmeasured
from vidmem.errors import BadInput
from vidmem.kv.attention import Window
from vidmem.kv.records import Position
from vidmem.kv.segments import SegmentLog
from vidmem.models.devices import pick_device, pick_dtype
from vidmem.models.families.family import Family
from vidmem.types import Span

TINY = "tiny"
_FAST_MODEL = "qwen2.5-vl-7b"
"""The model whose speed is held to a published one (134 frames a second on an A100, 340 by the ratio of the chips)."""
_FRAMES_A_SECOND = 340.0
_TO_PLAIN_LOOP = 10.0
_LEAST_BYTES = 32 * 10**9
"""Weights of 8 billion numbers take half of it."""
_FIRST_TOKEN_MS: dict[Where, float] = {"accelerator": 25.0, "ram": 45.0, "disk": 100.0}
_BRINGS_BACK = 64
"""Frames that a question brings back; the window is as long."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: by default what a large GPU does in a few minutes a model."""

    clip_frames: int = 32
    brought_back: int = _BRINGS_BACK
    segments: int = 5
    segment_clips: int = 8
    plain_frames: int = 32
    """Of the plain loop, timed, once its window is full."""
    hours: float = 1.0
    most_seconds: float = 90.0
    """Of streaming the history; what is left of it then is simulated by blocks like the last one."""
    rounds: int = 25
    attention_tokens: int = 8192
    matrix_side: int = 8192
    copy_bytes: int = 2 * 1024**3


ON_CPU = replace(
    Sizes(), clip_frames=8, brought_back=16, segments=3, segment_clips=2, plain_frames=16, hours=0.1, most_seconds=30.0,
    rounds=5, attention_tokens=512, matrix_side=512, copy_bytes=16 * 1024**2,
)  # fmt: skip
QUICK = replace(ON_CPU, brought_back=8, segments=1, segment_clips=1, plain_frames=2, hours=48 / 3600, rounds=1)
"""Only to see that everything runs: the figures mean nothing."""


def run(
    seed: int = 0,
    *,
    model: str | None = None,
    hours: float | None = None,
    quick: bool = False,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Measure, and give the JSON object of figures.

    Args:
        model: one of `SIZES`, or "tiny" for small ones of all their families; None is all of `SIZES`. Without a GPU
            small models of the same families stand for them.
        hours: of history that is asked about, at one frame a second; 1 by default, and minutes on a CPU.

    Raises:
        BadInput: there is no such model, or the GPU is too small for it.
    """
    if model not in (None, TINY, *SIZES):
        raise BadInput(f"{model!r} is none of the models that are measured: {', '.join(SIZES)}, or {TINY}.")
    device = pick_device("auto")
    on_gpu, say = device.type == "cuda", progress or (lambda line: None)
    is_small = model == TINY or quick or not on_gpu
    if on_gpu and not is_small and (held := torch.cuda.get_device_properties(device).total_memory) < _LEAST_BYTES:
        raise BadInput(f"the GPU holds {held / 1e9:.0f} GB and these models need {_LEAST_BYTES / 1e9:.0f}: try {TINY}.")
    sizes = QUICK if quick else Sizes() if on_gpu else ON_CPU
    sizes = sizes if hours is None else replace(sizes, hours=hours)
    say("no GPU: small models on the CPU, no figure is held to its target" if not on_gpu else "measuring the device")
    dtype = pick_dtype("auto", device)
    rates = measure_rates(device, dtype, side=sizes.matrix_side, copy_bytes=sizes.copy_bytes)
    figures = _device_figures(rates, is_small) | _attention_figures(device, dtype, sizes)
    for name in SIZES if model in (None, TINY) else [model]:
        say(f"{name}: making a model")
        family = build(name, device, dtype, small=is_small)
        figures |= _Measured(name, family, sizes, rates, seed, say).figures(is_judged=not is_small)
        del family
        torch.cuda.empty_cache()
    return report(seed, figures)


def _device_figures(rates: Rates, is_small: bool) -> dict[str, Figure]:
    gpus = "GPUs here" + ("; small models, and no figure is held to its target" if is_small else "")
    return {
        "device_gpus": beside(torch.cuda.device_count(), gpus),
        "device_operations": beside(rates.operations / 1e12, "TFLOP/s of a large product of matrices"),
        "device_copy": beside(rates.copied_bytes / 1e9, "GB/s read and written on the device"),
        "device_lift": beside(rates.lifted_bytes / 1e9, "GB/s from page-locked host memory"),
    }


def _attention_figures(device: torch.device, dtype: torch.dtype, sizes: Sizes) -> dict[str, Figure]:
    """The kernel differs from device to device, and so it is held to the CPU's everywhere."""
    speed = attention_operations(device, dtype, num_new=sizes.attention_tokens // 4, window_size=sizes.attention_tokens)
    most = 0.02 if dtype != torch.float32 else 1e-4
    return {
        "device_attention": beside(speed / 1e12, f"TFLOP/s through a window of {sizes.attention_tokens} tokens"),
        "device_attention_error": at_most(attention_error(device, dtype), "largest difference from float32", most),
    }


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one way to take frames in."""

    frames_a_second: float
    operations_a_frame: float
    syncs_a_frame: float | None
    """Times that the host waited for the device; None where there is no GPU."""


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """One model on one device."""

    name: str
    family: Family
    sizes: Sizes
    rates: Rates
    seed: int
    say: Say

    @property
    def device(self) -> torch.device:
        return self.family.device

    @property
    def window(self) -> Window:
        return window_of(self.family, self.sizes.brought_back)

    def figures(self, *, is_judged: bool) -> dict[str, Figure]:
        self.say(f"{self.name}: a plain loop")
        plain = self._plain_loop()
        paces = {drop: self._pace(drop) for drop in DROPS}
        with tempfile.TemporaryDirectory(prefix="vidmem-bench-") as folder:
            history, watched = self._history(Path(folder))
            self.say(f"{self.name}: questions")
            told = self._first_token_figures(history)
        made = self._ingest_figures(plain, paces) | watched | told
        prefix = "device_" + self.name.replace("-", "_").replace(".", "_")
        return {f"{prefix}_{name}": figure if is_judged else _untold(figure) for name, figure in made.items()}

    def _first_token_figures(self, history: History) -> dict[str, Figure]:
        per = self.family.frames_per_block
        count = min(self.sizes.brought_back // per, history.position.num_blocks // NUM_SETS)
        taken = first_token_seconds(self.family, history, Rounds(self.sizes.rounds, count))
        unit = f"ms (median), {count * per} frames brought back"
        return {f"first_token_{where}": at_most(1e3 * taken[where], unit, _FIRST_TOKEN_MS[where]) for where in PLACES}

    # -- ingest --

    def _ingest_figures(self, plain: float, paces: dict[Drop, Pace]) -> dict[str, Figure]:
        keep, after, before = paces["none"], paces["after"], paces["before"]
        part = f"{KEEP.keep_ratio:g} of the visual tokens"
        fast = _FRAMES_A_SECOND if self.name == _FAST_MODEL else None
        speed = f"frames a second, {part} kept, dropped before the prefill"
        figures = {
            "plain_loop": beside(plain, "frames a second, frame by frame as ReKV's rules say"),
            "ingest": beside(keep.frames_a_second, "frames a second, all tokens kept"),
            "ingest_dropped_after": beside(after.frames_a_second, f"frames a second, {part} kept of each block"),
            "ingest_dropped_before": at_least(before.frames_a_second, speed, fast) if fast else
            beside(before.frames_a_second, speed),
            "ingest_to_plain_loop": beside(keep.frames_a_second / plain, "times, all tokens kept"),
            "ingest_dropped_to_plain_loop": at_least(
                before.frames_a_second / plain, "times, dropped before the prefill", _TO_PLAIN_LOOP
            ),
        }  # fmt: skip
        for name, pace in {"": keep, "_dropped": before}.items():
            attainable = self.rates.operations / pace.operations_a_frame
            per_frame = beside(pace.operations_a_frame / 1e12, "TFLOP a frame, tower and prefill")
            figures[f"operations{name}"] = per_frame
            figures[f"roofline_share{name}"] = beside(
                pace.frames_a_second / attainable, "of the frames that the device's product of matrices allows"
            )
            unit = "waits of the host for the device, a frame"
            waits = pace.syncs_a_frame
            figures[f"syncs{name}"] = unmeasured(f"{unit}: needs a GPU") if waits is None else beside(waits, unit)
        return figures

    def _plain_loop(self) -> float:
        """Frames a second, once the window is full."""
        loop = PlainLoop(self.family, self.window)
        footage = Footage.of(self.family, self.sizes.clip_frames, self.seed)
        clips = footage.endless()
        for images, spans in islice(clips, math.ceil(self.sizes.brought_back / self.sizes.clip_frames)):
            loop.write(images, spans)
        count = self.sizes.plain_frames // self.family.frames_per_block
        images, spans = next(clips)
        wanted = images[: self.sizes.plain_frames], spans[:count]
        return len(wanted[0]) / seconds(self.device, lambda: loop.write(*wanted))

    def _pace(self, drop: Drop) -> Pace:
        """The median of a few segments of clips, each committed to disk, once the window is full."""
        self.say(f"{self.name}: ingest, tokens dropped: {drop}")
        clips = Footage.of(self.family, self.sizes.clip_frames, self.seed).endless()
        with tempfile.TemporaryDirectory(prefix="vidmem-bench-") as folder:
            with Stream(self.family, Path(folder), self.window, drop) as stream:
                while stream.writer.num_tokens < self.window.size + 1:
                    stream.write(*next(clips))
                before = stream.writer.num_tokens
                rates = [self._segment(stream, clips) for _ in range(self.sizes.segments)]
                clips_written = self.sizes.segments * self.sizes.segment_clips
                tokens = (stream.writer.num_tokens - before) // clips_written
                operations = self._operations_a_clip(tokens, stream.writer.num_tokens, next(clips))
                waits = host_waits(self.device, lambda: self._write(stream, clips))
        frames = self.sizes.clip_frames
        a_frame = None if waits is None else waits / (self.sizes.segment_clips * frames)
        return Pace(statistics.median(rates), operations / frames, a_frame)

    def _segment(self, stream: Stream, clips: Iterator[tuple[Tensor, list[Span]]]) -> float:
        def work() -> None:
            self._write(stream, clips)
            stream.commit()

        return self.sizes.segment_clips * self.sizes.clip_frames / seconds(self.device, work)

    def _write(self, stream: Stream, clips: Iterator[tuple[Tensor, list[Span]]]) -> None:
        for images, spans in islice(clips, self.sizes.segment_clips):
            stream.write(images, spans)

    def _operations_a_clip(self, num_tokens: int, num_before: int, clip: tuple[Tensor, Sequence[Span]]) -> int:
        tower = counted_operations(lambda: self.family.frames(*clip))
        return tower + prefill_operations(self.family, num_tokens, num_before=num_before, window=self.window)

    # -- history --

    def _history(self, folder: Path) -> tuple[History, dict[str, Figure]]:
        """Stream hours of frames, and simulate what is left of them when the time is up."""
        num_blocks = int(self.sizes.hours * 3600) // self.family.frames_per_block
        self.say(f"{self.name}: {self.sizes.hours:.2g} h of history, {num_blocks} blocks")
        clips = Footage.of(self.family, self.sizes.clip_frames, self.seed).endless()
        forget_peak(self.device)
        with Stream(self.family, folder, self.window) as stream:
            until = time.perf_counter() + self.sizes.most_seconds
            self._segment(stream, clips)
            while stream.num_blocks < num_blocks and time.perf_counter() < until:
                self._segment(stream, clips)
            streamed = min(1.0, stream.num_blocks / num_blocks)
            peak = peak_bytes(self.device)
            self._simulate(stream, num_blocks)
            position = stream.commit()
        history = History(folder, position, stream.writer.opening, stream.landmarks, _block_tokens(folder, position))
        unit = f"of {self.sizes.hours:.2g} h; the rest are blocks like the last one"
        used = "GB on the accelerator at most, the model's weights among them"
        return history, {
            "history_streamed": beside(streamed, unit),
            "peak_memory": unmeasured(f"{used}: needs a GPU") if peak is None else beside(peak / 1e9, used),
        }

    def _simulate(self, stream: Stream, num_blocks: int) -> None:
        per = self.family.frames_per_block
        while stream.num_blocks < num_blocks:
            assert stream.last is not None, "a clip was written before"
            payloads, group = stream.last
            moved = [
                replace(payload, span=Span(place * per, (place + 1) * per))
                for place, payload in enumerate(payloads, start=stream.num_blocks)
            ]
            stream.put(moved, group)


def _block_tokens(folder: Path, position: Position) -> list[int]:
    log = SegmentLog(folder, position, read_only=True)
    try:
        return log.num_tokens()
    finally:
        log.close()


def _untold(figure: Figure) -> Figure:
    """Without its target: it was not measured on what the target is for."""
    return replace(figure, target=None, holds=True)
