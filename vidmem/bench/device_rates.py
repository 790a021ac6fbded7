"""What a device can do at most, measured, and how many operations an ingest asks of it, counted.

A frame costs its share of the vision tower and of the prefill. The tower's operations are counted by torch while it
runs (`FlopCounterMode`: products of matrices, convolutions, attention). The prefill's follow from sizes:

    2 * T * (weights of the text model's linear layers) + 4 * layers * query heads * head dim * (keys that all T see)

for the T tokens of a clip, each of which sees itself, what is in the window before it, and the initial tokens. The
head that scores the vocabulary is not run. Rotations, norms and copies count as nothing.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vidmem.kv.attention import Window
from vidmem.models.families.family import Family

_ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured on one device, medians."""

    operations: float
    """Floating point operations a second of a large product of matrices, in the dtype that models run in."""
    copied_bytes: float
    """Bytes read and written a second, on the device."""
    lifted_bytes: float
    """Bytes a second from page-locked host memory to the device; on a CPU from memory to memory."""


def measure_rates(device: torch.device, dtype: torch.dtype, *, side: int, copy_bytes: int) -> Rates:
    """Multiply two matrices of `side` x `side` numbers, and copy `copy_bytes` bytes, a few times each.

    Numbers are random: zeros are multiplied faster, for they take less power.
    """
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    here, there = (torch.empty(copy_bytes, dtype=torch.uint8, device=device) for _ in range(2))
    host = torch.empty(copy_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
    multiply = median_seconds(device, lambda: torch.mm(left, right, out=out))
    copy = median_seconds(device, lambda: there.copy_(here))
    lift = median_seconds(device, lambda: here.copy_(host, non_blocking=True))
    return Rates(2 * side**3 / multiply, 2 * copy_bytes / copy, copy_bytes / lift)


def median_seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Median of some rounds, after two that are not counted."""
    return statistics.median([seconds(device, work) for _ in range(_ROUNDS + 2)][2:])


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Wall time of `work` with all that it started on the device."""
    settle(device)
    begun = time.perf_counter()
    work()
    settle(device)
    return time.perf_counter() - begun


def settle(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def host_waits(device: torch.device, work: Callable[[], object]) -> int | None:
    """How often torch saw the host wait for the device while `work` ran; None where there is no GPU.

    Waits of other threads, for copies that they asked for, are none of the host's.
    """
    if device.type != "cuda":
        return None
    settle(device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(one.message) for one in caught)


def forget_peak(device: torch.device) -> None:
    """Begin to measure what `peak_bytes` gives."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """Most bytes of a GPU that tensors took; None where there is no GPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def counted_operations(work: Callable[[], object]) -> int:
    """Operations of all products, convolutions and attention while `work` runs."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return int(counter.get_total_flops())


def prefill_operations(family: Family, num_tokens: int, *, num_before: int, window: Window) -> int:
    """Operations of the text model's layers for T tokens that have `num_before` tokens of their stream before them."""
    weights = sum(module.weight.numel() for module in family.decoder.modules() if isinstance(module, nn.Linear))
    seen = sum(
        min(place + 1, window.size) + (window.num_initial if place >= window.size else 0)
        for place in range(num_before, num_before + num_tokens)
    )
    layout, config = family.layout, family.decoder.config
    return 2 * num_tokens * weights + 4 * layout.num_layers * config.num_attention_heads * layout.head_dim * seen
