"""A stream that is too much: the encoder takes ten times as long as it does, or longer if a machine is so fast that it
could follow even then, and frames come as before.

The stream is a file played at its own pace, so that it is known how many frames came: all of it.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from vidmem.bench.live_onlooker import Onlooker
from vidmem.bench.report import Figure, Say, at_most, beside
from vidmem.bench.track_speed import resident_bytes
from vidmem.ingest import LiveConfig
from vidmem.models.encoder import FrameEncoder
from vidmem.models.preset import Preset, load_preset
from vidmem.pipelines import VideoMemory
from vidmem.pipelines.loading import Models
from vidmem.pipelines.watching import WatchPolicy, WatchState

SLOWED = 10.0
TOO_MANY = 2.0
"""At least so many times as many frames come as can be looked at."""
_SAMPLE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment of a watch."""

    state: WatchState
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Overload:
    """What became of a stream that was too much."""

    samples: list[Sample]
    last: WatchState
    """When it was over."""
    numbers: list[int]
    """Burnt into the frames in memory."""
    busy_seconds: float


class SlowModels(Models):
    """Models whose frame encoder takes `SLOWED` times as long, and no less than `frame_seconds` a frame; the rest of
    that time nothing is computed."""

    def __init__(self, preset: Preset, *, frame_seconds: float) -> None:
        super().__init__(preset)
        self._frame_seconds = frame_seconds

    @property
    def encoder(self) -> FrameEncoder:
        return _Slow(super().encoder, self._frame_seconds)  # type: ignore[return-value]


class _Slow:
    def __init__(self, encoder: FrameEncoder, frame_seconds: float) -> None:
        self._encoder, self._frame_seconds = encoder, frame_seconds

    def encode_frames(self, images: Any) -> Tensor:
        begun = time.perf_counter()
        embeddings = self._encoder.encode_frames(images)
        took = time.perf_counter() - begun
        time.sleep(max(SLOWED * took, len(images) * self._frame_seconds) - took)
        return embeddings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def live_overload_figures(
    folder: Path, video: Path, *, fps: int, num_pictures: int, preset: str, say: Say
) -> dict[str, Figure]:
    """All frames of a counted video, which has so many, `fps` a second, as a stream under each policy."""
    figures: dict[str, Figure] = {}
    for policy in get_args(WatchPolicy):
        say(f"live: overload, {policy}")
        overload = overloaded(folder / f"{policy}.vidmem", video, fps=fps, policy=policy, preset=preset)
        name = f"live_overload_{policy.replace('-', '_')}"
        figures |= {f"{name}_{what}": figure for what, figure in _figures(overload, num_pictures).items()}
    return figures


def overloaded(path: Path, video: Path, *, fps: int, policy: WatchPolicy, preset: str) -> Overload:
    """Watch a whole video, of `fps` frames a second, at its own pace into a new store."""
    samples = []
    models = SlowModels(load_preset(preset), frame_seconds=TOO_MANY / fps)
    models.load()  # lags and memory are held against those of the first half
    with VideoMemory.open(path, models=models) as memory:
        begun = time.monotonic()
        with memory.watch(str(video), fps=None, policy=policy) as watch, Onlooker(path) as onlooker:
            while not watch.wait(_SAMPLE_SECONDS):
                samples.append(Sample(watch.state(), resident_bytes()))
            busy = time.monotonic() - begun
            last = watch.state()
    return Overload(samples, last, [one.number for one in onlooker.found()], busy)


def miscounted(overload: Overload, num_pictures: int) -> int:
    """Frames of which the counts say something else than the pictures that came and the numbers in memory."""
    last = overload.last
    unaccounted = abs(num_pictures - last.committed - last.source.dropped - last.thinned)
    rising = sorted(set(overload.numbers)) == overload.numbers
    return unaccounted + abs(len(overload.numbers) - last.committed) + (0 if rising else num_pictures)


def _figures(overload: Overload, num_pictures: int) -> dict[str, Figure]:
    room, last = LiveConfig().queue_frames, overload.last
    states = [sample.state for sample in overload.samples]
    lags = [state.lag_seconds or 0.0 for state in states]
    resident = [sample.resident_bytes for sample in overload.samples]
    half = len(states) // 2
    settled = statistics.median(resident[half : half + max(1, half // 4)])
    in_hand = max(state.source.waiting + state.taken - state.committed for state in states)
    return {
        "queue": at_most(max(state.source.waiting for state in states), "frames waited at most", room),
        "miscounted": at_most(
            miscounted(overload, num_pictures),
            f"of {num_pictures} frames; {last.committed} kept, {last.source.dropped + last.thinned} dropped",
            0,
        ),
        "memory": at_most(resident[-1] / settled - 1, "share that resident bytes grew by in the second half", 0.02),
        "lag_growth": at_most(
            max(lags[half:]) / max(max(lags[:half]), 1e-9), "times the worst lag of the first half", 1.5
        ),
        "lag": beside(max(lags), "s from arrival to memory at worst"),
        "in_hand": beside(in_hand, "frames at most between arrival and memory"),
        "fps": beside(last.committed / overload.busy_seconds, "frames a second were kept"),
    }
