"""What leaving and entering the tiers costs a CPU: int4 as we pack it against plain torch, and the error it makes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.bench.report import Figure, at_least, at_most, beside
from vidmem.kv.block import Layout
from vidmem.kv.loss import answer_error, with_channel_outliers
from vidmem.kv.quantise import dequantise, quantise

_TOP = 15
LAYOUT = Layout(28, 4, 128)
"""Of LLaVA-OneVision-7B's text model."""


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """Keys or values as int4 in plain torch: codes uint8 (layers, heads, T / 2, D), two tokens a byte, and a step and
    a start (layers, heads, 1, D) in float16 for each channel."""

    codes: Tensor
    step: Tensor
    start: Tensor


def kv_packing_figures(seed: int, *, rounds: int = 20, layout: Layout = LAYOUT) -> dict[str, Figure]:
    """Times are medians over `rounds`, in turns. Numbers are bfloat16, as such a model holds them, and float32."""
    chance = torch.Generator().manual_seed(seed)
    shape = layout.num_layers, layout.num_kv_heads, 64, layout.head_dim  # 64 tokens are one group of ours
    keys, values = (torch.randn(shape, generator=chance) for _ in range(2))
    seconds = _seconds(keys.bfloat16(), values.bfloat16(), rounds)
    in_float32 = _seconds(keys, values, rounds)
    outliers = with_channel_outliers(
        Layout(2, 2, layout.head_dim), num_tokens=480, num_queries=16, heads_per_kv_head=2, generator=chance
    )
    num_bytes = 2 * keys.numel() * torch.bfloat16.itemsize
    unit = "times plain torch's speed"
    return {
        "kv_int4_pack_to_plain": at_least(seconds["pack_plainly"] / seconds["pack"], unit, 10.0),
        "kv_int4_unpack_to_plain": at_least(seconds["unpack_plainly"] / seconds["unpack"], unit, 10.0),
        "kv_int4_pack_to_plain_float32": beside(in_float32["pack_plainly"] / in_float32["pack"], unit),
        "kv_int4_unpack_to_plain_float32": beside(in_float32["unpack_plainly"] / in_float32["unpack"], unit),
        "kv_int4_pack_speed": beside(num_bytes / seconds["pack"] / 1e9, "GB/s of bfloat16"),
        "kv_int4_unpack_speed": beside(num_bytes / seconds["unpack"] / 1e9, "GB/s of bfloat16"),
        "kv_int4_answer_error": at_most(
            answer_error(outliers, "int4", tokens_per_block=64), "of the answer vector's length", 0.02
        ),
    }


def _seconds(keys: Tensor, values: Tensor, rounds: int) -> dict[str, float]:
    packed, plain = quantise(keys, values, "int4"), (pack_plainly(keys), pack_plainly(values))
    ways: dict[str, Callable[[], object]] = {
        "pack": lambda: quantise(keys, values, "int4"),
        "pack_plainly": lambda: (pack_plainly(keys), pack_plainly(values)),
        "unpack": lambda: dequantise(packed),
        "unpack_plainly": lambda: [unpack_plainly(part).to(keys.dtype) for part in plain],
    }
    return _medians(ways, rounds)


def pack_plainly(numbers: Tensor) -> Plain:
    """What one writes down first: smallest and largest of each channel, codes, two of them a byte."""
    low, high = numbers.amin(2, keepdim=True), numbers.amax(2, keepdim=True)
    start = low.half()
    step = ((high - start.float()) / _TOP).half().clamp(min=2**-24)
    codes = ((numbers - start.float()) / step.float()).round().clamp(0, _TOP).to(torch.uint8)
    return Plain(codes[:, :, ::2] | (codes[:, :, 1::2] << 4), step, start)


def unpack_plainly(packed: Plain) -> Tensor:
    codes = torch.stack((packed.codes & _TOP, packed.codes >> 4), dim=3).flatten(2, 3)
    return codes.float() * packed.step.float() + packed.start.float()


def _medians(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}  # the first warms up
