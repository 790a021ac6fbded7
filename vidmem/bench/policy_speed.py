"""What writing a frame costs: policies against the loops of their references, on one stream, with the same room."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from vidmem.bench.naive.flash_vstream import NaiveFlashStream
from vidmem.bench.naive.hermes import NaiveHermes
from vidmem.bench.naive.moviechat import NaiveMovieChat
from vidmem.bench.naive.xmem import NaiveXMem
from vidmem.bench.report import Figure, Say, at_least, at_most, beside
from vidmem.memory import Elements, Memory, MemoryConfig
from vidmem.memory.resolution import resample

SHAPE = 4096, 16, 256
"""Frames, tokens of each, channels."""
WORKING, STRETCH = 32, 16
"""Frames of working memory; frames that leave it at once, which are a window of the references."""
LONG_TERM = 224
"""Elements of long-term memory."""
_STRETCHES_IN_TURN = 4
_FRAMES_IN_SCENE = 40

Write = Callable[[Tensor, Tensor], object]
"""Takes the next frames: embeddings (STRETCH, D) and tokens (STRETCH, P, D)."""


def policy_speed_figures(seed: int, *, shape: tuple[int, int, int] = SHAPE, say: Say) -> dict[str, Figure]:
    """What a frame costs with each policy once memory is full, and what its reference's loop takes to that.

    A policy's part is what its memory takes beyond one that keeps the newest frames alone: the references' loops copy
    no frames, keep no sensory memory and check nothing.
    """
    figures: dict[str, Figure] = {}
    for name, naive in naive_writes(seed, shape).items():
        say(f"policies: cost of a frame, {name} and its reference's loop")
        writes = {"ours": memory_write(name), "stores": memory_write("latest"), "naive": naive}
        figures |= _figures(name, in_turns(writes, seed, shape))
    return figures


def naive_writes(seed: int, shape: tuple[int, int, int]) -> Mapping[str, Write]:
    """The references' loops, with the room that the policies have."""
    _, num_tokens, num_channels = shape
    flash = Memory(_config("flash-vstream")).policy.levels(num_tokens, LONG_TERM)
    random = torch.Generator().manual_seed(seed)

    def draws(num: int, num_drawn: int) -> list[int]:
        return torch.randperm(num, generator=random)[:num_drawn].tolist()

    moviechat, hermes = NaiveMovieChat(2, LONG_TERM), NaiveHermes(LONG_TERM)
    synopsis = NaiveFlashStream(flash[0].max_elements, flash[1].max_elements, draws)
    xmem = NaiveXMem(top_k=30, max_frames=WORKING + 1, min_frames=STRETCH, num_prototypes=4, max_elements=LONG_TERM)

    def write_to_xmem(keys: Tensor, frames: Tensor) -> None:
        shrinkage, selection = torch.ones(1, 1), torch.ones(num_channels, 1)
        for key, frame in zip(keys, frames, strict=True):  # a frame is one token, as in the policy
            if xmem.working:
                xmem.read(key[:, None], selection)
            xmem.write(key[:, None], shrinkage, selection, frame.flatten()[:, None])

    return {
        "xmem": write_to_xmem,
        "moviechat": lambda keys, frames: moviechat.write(frames),
        "flash-vstream": lambda keys, frames: synopsis.write(frames, resample(frames, flash[0].num_tokens)),
        "hermes": lambda keys, frames: hermes.write(frames[None]),
    }


def memory_write(name: str) -> Write:
    """A policy's whole memory: sensory, working and long-term store."""
    memory, num_frames = Memory(_config(name)), 0

    def write(keys: Tensor, frames: Tensor) -> None:
        nonlocal num_frames
        starts = torch.arange(num_frames, num_frames + len(frames), dtype=torch.float64)
        memory.write(Elements.fresh(keys, frames, torch.stack([starts, starts + 1], dim=1)))
        num_frames += len(frames)

    return write


def in_turns(writes: Mapping[str, Write], seed: int, shape: tuple[int, int, int]) -> dict[str, list[float]]:
    """Seconds a frame of each, a few stretches of the stream at a time in turns, so that a busy machine slows all."""
    seconds: dict[str, list[float]] = {name: [] for name in writes}
    for part in stream(seed, shape):
        stretches = [(frames.mean(1), frames) for frames in part.split(STRETCH)]
        for name, write in writes.items():
            begun = time.perf_counter()
            for keys, frames in stretches:
                write(keys, frames)
            seconds[name].append((time.perf_counter() - begun) / len(part))
    return seconds


def stream(seed: int, shape: tuple[int, int, int]) -> Iterator[Tensor]:
    """Frames (n, P, D) float32 in pieces: scenes of noise around pictures of their own."""
    random, (num_frames, *frame) = torch.Generator().manual_seed(seed), shape
    pictures = torch.randn(-(-num_frames // _FRAMES_IN_SCENE), *frame, generator=random)
    for places in torch.arange(num_frames).split(STRETCH * _STRETCHES_IN_TURN):
        yield pictures[places // _FRAMES_IN_SCENE] + 0.3 * torch.randn(len(places), *frame, generator=random)


def _figures(name: str, seconds: Mapping[str, list[float]]) -> dict[str, Figure]:
    quarter = len(seconds["ours"]) // 4
    ours, stores, naive = (seconds[which][quarter:] for which in ("ours", "stores", "naive"))  # memory is full by then
    policy = [whole - bare for whole, bare in zip(ours, stores, strict=True)]
    ratio = statistics.median(naive) / statistics.median(policy)
    flat = statistics.median(ours[-quarter:]) / statistics.median(ours[:quarter])
    return {
        f"policy_{name}_speed_to_reference": at_least(ratio, "times its reference's loop, a frame", 3.0),
        f"policy_{name}_late_to_early": at_most(flat, "cost of a frame in the last quarter, to the second's", 1.25),
        f"policy_{name}_frame": beside(1e3 * statistics.median(ours), "ms a frame of 16 x 256, with all stores"),
        f"policy_{name}_frame_stores": beside(1e3 * statistics.median(stores), "ms of it are the stores'"),
    }


def _config(name: str) -> MemoryConfig:
    return MemoryConfig(
        working_max_frames=WORKING, working_min_frames=WORKING + 1 - STRETCH, max_elements=LONG_TERM, policy=name
    )
