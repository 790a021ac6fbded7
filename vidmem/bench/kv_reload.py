"""Bringing frames back from a cold disk: our blocks, one piece a layer and block, and a plain sequential read.

The pieces lie as ReKV holds them, each layer by itself and a frame's keys and values apart, and are read as its code
copies them, one after the other. All three read the same number of bytes into memory that was used before, after the
kernel has dropped its pages of their files; ours and the pieces read the same frames, spread over the recording.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vidmem.bench.cold import drop_pages
from vidmem.bench.report import Figure, at_least, beside
from vidmem.kv.payload import Payload
from vidmem.kv.records import BlockId
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.types import Span

_NUM_TOKENS = 196
_SEQUENTIAL_BYTES = 8 * 1024**2
_SPARE_FRAMES = 8
"""Room in the tiers beside the frames of a round: slabs are rarely filled to the last byte."""


@dataclass(frozen=True, slots=True)
class ReloadFigures:
    """Medians over the rounds."""

    ours_seconds: float
    pieces_seconds: float
    sequential_seconds: float
    speedup: float
    """Time of the pieces divided by ours of the same round."""
    share_of_sequential: float
    """Our bytes a second divided by those of the sequential read of the same round."""
    num_bytes: int
    """Read in each round by each way."""
    num_pieces: int
    """Of a round."""


def reload_figures(
    folder: Path,
    *,
    num_frames: int = 64,
    num_layers: int = 28,
    piece_bytes: int = 56_448,
    rounds: int = 5,
    device: str = "cpu",
) -> ReloadFigures:
    """Measure on the disk of `folder`, which needs room for 2 * (rounds + 2) times the bytes of a round.

    Args:
        folder: empty. What is written stays there.
        piece_bytes: of one layer's keys, or values, of one frame: by default those of LLaVA-OneVision-7B (196 tokens
            of 4 heads of 128) at 4.5 bits a number.
        device: where our blocks go; the others stay in RAM.
    """
    layout = _Layout(folder, num_frames, num_layers, piece_bytes)
    num_stored = num_frames * (rounds + 1)
    tiers = _write(layout, num_stored, device)
    room = torch.zeros((num_layers, 2, num_frames, piece_bytes), dtype=torch.uint8)
    taken: list[tuple[float, ...]] = []
    for first in range(rounds + 1):
        chosen = range(first, num_stored, rounds + 1)
        ways = (
            lambda chosen=chosen: _fetch(tiers, chosen),
            lambda chosen=chosen: _read_pieces(layout, room, chosen),
            lambda: _read_sequentially(layout, room),
        )
        taken.append(tuple(_cold_seconds(layout, way) for way in ways))
    tiers.close()
    ours, pieces, sequential = zip(*taken[1:], strict=True)  # the first round was the memory's first use
    return ReloadFigures(
        ours_seconds=statistics.median(ours),
        pieces_seconds=statistics.median(pieces),
        sequential_seconds=statistics.median(sequential),
        speedup=statistics.median(theirs / mine for theirs, mine in zip(pieces, ours, strict=True)),
        share_of_sequential=statistics.median(plain / mine for plain, mine in zip(sequential, ours, strict=True)),
        num_bytes=room.numel(),
        num_pieces=2 * num_layers * num_frames,
    )


def kv_reload_figures(
    folder: Path, *, num_frames: int = 64, num_layers: int = 28, rounds: int = 5, device: str = "cpu"
) -> dict[str, Figure]:
    """`reload_figures` as a report has them."""
    measured = reload_figures(folder, num_frames=num_frames, num_layers=num_layers, rounds=rounds, device=device)
    return {
        "kv_reload_to_pieces": at_least(measured.speedup, f"times sooner than {measured.num_pieces} pieces", 3.0),
        "kv_reload_to_sequential": at_least(measured.share_of_sequential, "of a raw sequential read's speed", 0.85),
        "kv_reload": beside(1e3 * measured.ours_seconds, f"ms for {measured.num_bytes / 1e6:.0f} MB (median)"),
    }


@dataclass(frozen=True, slots=True)
class _Layout:
    """What lies in the folder, and how large."""

    folder: Path
    num_frames: int
    num_layers: int
    piece_bytes: int

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def sequential(self) -> Path:
        return self.folder / "sequential"

    def layer(self, layer_index: int) -> Path:
        return self.folder / f"layer-{layer_index:03d}"


def _write(layout: _Layout, num_stored: int, device: str) -> Tiers:
    """Write random blocks in all three ways; our tiers over the log, still warm with the last blocks."""
    room_bytes = (layout.num_frames + _SPARE_FRAMES) * layout.num_layers * 2 * layout.piece_bytes
    tiers = Tiers(SegmentLog(layout.log), device, TierConfig(room_bytes, room_bytes))
    generator = torch.Generator().manual_seed(0)
    layers = [layout.layer(index).open("wb") for index in range(layout.num_layers)]
    with layout.sequential.open("wb") as sequential:
        for number in range(num_stored):
            shape = layout.num_layers, 2 * layout.piece_bytes
            data = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
            tiers.put(Payload({"data": data}, torch.arange(_NUM_TOKENS).view(1, -1), Span(number, number + 1)))
            for file, piece in zip(layers, data, strict=True):
                file.write(piece.numpy().data)
            if number < layout.num_frames:
                sequential.write(data.numpy().data)
    for file in layers:
        file.close()
    tiers.flush()
    os.sync()
    return tiers


def _cold_seconds(layout: _Layout, way: Callable[[], None]) -> float:
    drop_pages(layout.folder)
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _fetch(tiers: Tiers, chosen: Sequence[int]) -> None:
    with tiers.fetch([BlockId(number) for number in chosen]):
        pass


def _read_pieces(layout: _Layout, room: Tensor, chosen: Sequence[int]) -> None:
    """Layer by layer, for each frame its keys and its values into their place in the context."""
    for layer_index in range(layout.num_layers):
        with layout.layer(layer_index).open("rb", buffering=0) as file:
            for place, number in enumerate(chosen):
                for part in range(2):
                    file.seek((2 * number + part) * layout.piece_bytes)
                    piece = torch.frombuffer(bytearray(file.read(layout.piece_bytes)), dtype=torch.uint8)
                    room[layer_index, part, place].copy_(piece)


def _read_sequentially(layout: _Layout, room: Tensor) -> None:
    left = memoryview(room.view(-1).numpy().data)
    with layout.sequential.open("rb", buffering=0) as file:
        while len(left):
            num_read = file.readinto(left[:_SEQUENTIAL_BYTES])
            left = left[num_read:]
