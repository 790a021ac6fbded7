"""Payloads told from their number, and tiers that hold a few of them."""

from __future__ import annotations

from pathlib import Path

import torch

from vidmem.kv.payload import Payload
from vidmem.kv.records import Position
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.types import Span

SEGMENT_BYTES = 70_000
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""Where the accelerator's tier is, and where payloads come from."""


def payload(number: int, num_tokens: int = 4) -> Payload:
    """As many tokens as said: 16 bytes of codes and 2 of scale each, in a body of 128 bytes at 4 tokens."""
    generator = torch.Generator().manual_seed(number)
    codes = torch.randint(0, 256, (2, num_tokens, 8), dtype=torch.uint8, generator=generator)
    scale = torch.randn((num_tokens,), generator=generator).half()
    return Payload(
        tensors={"codes": codes.to(DEVICE), "scale": scale.to(DEVICE)},
        positions=torch.arange(3 * num_tokens).view(3, num_tokens) + number,
        span=Span(number * 0.5, number * 0.5 + 0.5),
    )


BODY_BYTES = 128


def equal(found: Payload, expected: Payload) -> bool:
    """The same to the bit."""
    return (
        list(found.tensors) == list(expected.tensors)
        and all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.tensors.items())
        and all(found.tensors[name].dtype == tensor.dtype for name, tensor in expected.tensors.items())
        and torch.equal(found.positions, expected.positions)
        and found.span == expected.span
        and len(found) == len(expected)
    )


def opened(
    folder: Path, position: Position | None = None, *, accelerator: int = 4, ram: int = 6, num_readers: int = 2
) -> Tiers:
    """Room for so many blocks of 4 tokens."""
    log = SegmentLog(folder / "kv", position, segment_bytes=SEGMENT_BYTES)
    config = TierConfig(accelerator * BODY_BYTES, ram * BODY_BYTES, num_readers)
    return Tiers(log, DEVICE, config)
