"""Streamed tracking against the `sam2` package's video predictor: time a frame, peak memory, memory over a long stream.

The comparisons are on random weights: neither time nor memory depends on what the weights are.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from vidmem.bench.track_package import package_predictor, propagated, write_folder
from vidmem.models.sam import build_sam, sam_image_encoder
from vidmem.models.sam_config import SamConfig, write_config
from vidmem.models.tracker import Tracker
from vidmem.models.tracking.prompts import Prompt

FRAME_SIZE = (360, 640)
"""Height and width of the clips."""
_TOLD_FRAMES = 100


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """Median seconds of a frame once memory is full, ours and the package's in turn on the same frames."""

    ours: float
    package: float

    @property
    def ratio(self) -> float:
        """Above 1 we are faster."""
        return self.package / self.ours


def frame_times(
    config: SamConfig,
    *,
    num_objects: int = 1,
    num_frames: int = 40,
    warm_up: int = 17,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    seed: int = 0,
) -> FrameTimes:
    """Track the same clip with the same weights by both, frame by frame in turn.

    Decoding and squashing of pictures is in neither: the package has done it before its first frame, and ours gets
    pictures of its `view`.

    Args:
        compiled: whether our image encoder is, not the package's. The other parts see memories that grow, and small
            tensors.
    """
    model = random_model(config, seed).to(device)
    if compiled:
        model.image_encoder = _compiled_encoder(model, config)
    frames = list(drifting_boxes(num_frames, num_objects, seed=seed))
    prompts = [Prompt(index, box=box_of(index, 0, num_objects)) for index in range(num_objects)]
    tracker = Tracker(model, selection="sam2", dtype=dtype)
    side = tracker.view.width
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        clip = write_folder(frames, Path(folder))
        squares = [_squared(frame, side) for frame in clip]
        package = propagated(package_predictor(model, config), Path(folder), prompts, dtype=dtype)
        for index, square in enumerate(squares):
            began = _now(device)
            tracker.step(square, float(index), frame_size=FRAME_SIZE, prompts=prompts if index == 0 else ())
            between = _now(device)
            next(package)
            ours.append(between - began)
            theirs.append(_now(device) - between)
    return FrameTimes(median(ours[warm_up:]), median(theirs[warm_up:]))


@dataclass(frozen=True, slots=True)
class PeakBytes:
    """What a process takes at most while it tracks, on top of the loaded model."""

    ours: int
    package: int

    @property
    def share(self) -> float:
        return self.ours / self.package


def peak_bytes(config: SamConfig, *, num_frames: int = 600, num_objects: int = 1, seed: int = 0) -> PeakBytes:
    """Track the same clip by both, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_folder(drifting_boxes(num_frames, num_objects, seed=seed), Path(folder) / "clip")
        write_config(config, Path(folder) / "config.json")
        peaks = [_peak(who, Path(folder), num_objects, seed) for who in ("ours", "package")]
    return PeakBytes(*peaks)


def _peak(who: str, folder: Path, num_objects: int, seed: int) -> int:
    command = [sys.executable, "-m", "vidmem.bench.track_once", who, str(folder), str(num_objects), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"tracking by {who} failed: {done.stderr.strip().splitlines()[-1]}")
    return int(json.loads(done.stdout)["peak_bytes"])


@dataclass(frozen=True, slots=True)
class Held:
    """What tracking holds after a number of frames."""

    num_frames: int
    tensor_bytes: int
    """Of all tensors there are, the model's among them."""
    resident_bytes: int


def held_over(
    model: Any,
    frames: Sequence[np.ndarray],
    prompts: Sequence[Prompt],
    *,
    num_frames: int = 100_000,
    num_samples: int = 20,
    selection: str = "samurai",
    progress: Callable[[int], object] | None = None,
) -> list[Held]:
    """Track a stream of that length, the frames over and over from prompts on the first, looking at memory in between.

    Args:
        frames: uint8 RGB (H, W, 3). They are squashed to the model's square once, before the first look.
        progress: called with the number of frames that were tracked, now and then.
    """
    tracker = Tracker(model, selection=selection)
    squares = [_squared(frame, tracker.view.width) for frame in frames]
    size = frames[0].shape[0], frames[0].shape[1]
    samples, every = [], max(1, num_frames // num_samples)
    for index in range(num_frames):
        square = squares[index % len(squares)]
        tracker.step(square, float(index), frame_size=size, prompts=() if index else prompts)
        if (index + 1) % every == 0:
            samples.append(Held(index + 1, tensor_bytes(), resident_bytes()))
        if progress is not None and (index + 1) % _TOLD_FRAMES == 0:
            progress(index + 1)
    return samples


def growth(samples: Sequence[Held]) -> dict[str, float]:
    """Largest change against the sample after the first tenth, as a share of that, for both measures."""
    first = samples[len(samples) // 10]
    rest = samples[len(samples) // 10 :]
    return {
        name: max(abs(asdict(sample)[name] / asdict(first)[name] - 1) for sample in rest)
        for name in ("tensor_bytes", "resident_bytes")
    }


def random_model(config: SamConfig, seed: int) -> Any:
    """In evaluation mode, on the CPU."""
    torch.manual_seed(seed)
    return build_sam(config).eval().requires_grad_(False)


def _compiled_encoder(model: Any, config: SamConfig) -> Any:
    """The package's image encoder with the model's weights: `torch.compile` fails on what ours keeps between frames."""
    encoder = sam_image_encoder(config, still=False).to(model.device)
    encoder.load_state_dict(model.image_encoder.state_dict())
    encoder.compile()
    return encoder.eval().requires_grad_(False)


def drifting_boxes(num_frames: int, num_objects: int, *, seed: int) -> Iterator[np.ndarray]:
    """Frames of coloured boxes that drift over noise, uint8 RGB (H, W, 3)."""
    rng = np.random.default_rng(seed)
    height, width = FRAME_SIZE
    ground = (rng.random((height, width, 3)) * 80).astype(np.uint8)
    colours = rng.integers(80, 256, (num_objects, 3), dtype=np.uint8)
    for index in range(num_frames):
        frame = np.roll(ground, index, axis=1)
        for which in range(num_objects):
            left, top, right, bottom = box_of(which, index, num_objects)
            frame[top:bottom, left:right] = colours[which]
        yield frame


def box_of(which: int, frame: int, num_objects: int) -> tuple[int, int, int, int]:
    """Where an object of `drifting_boxes` is: left, top, right, bottom."""
    height, width = FRAME_SIZE
    tall, wide = max(height // (num_objects + 1), 8), width // 6
    top, left = which * height // num_objects, (which * 97 + frame * 2) % (width - wide)
    return left, top, left + wide, min(top + tall, height)


def tensor_bytes() -> int:
    """Of all tensors of this process that Python can reach, shared storage once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor):  # `isinstance` would ask lazy modules for their class
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def resident_bytes() -> int:
    """Of this process now; Linux only."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024


def _squared(frame: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    return np.array(Image.fromarray(frame).resize((side, side)))


def _now(device: torch.device | str) -> float:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return perf_counter()
