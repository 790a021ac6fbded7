"""Blocks as payloads: what rests says itself in which form, and comes back as the format promises."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from vidmem.errors import StoreCorrupt
from vidmem.kv.block import Block, Layout
from vidmem.kv.formats import Format
from vidmem.kv.packing import pack, unpack, unpack_all
from vidmem.kv.rope import grid_positions, text_positions
from vidmem.types import Span

LAYOUT = Layout(num_layers=3, num_kv_heads=2, head_dim=32, num_axes=3)


def block(dtype: torch.dtype = torch.float32) -> Block:
    keys, values = torch.randn(2, 3, 2, 24, 32, generator=torch.manual_seed(0)).to(dtype)
    return Block(keys, values, grid_positions(4, 6), Span(3.0, 4.0))


@pytest.mark.parametrize("format", get_args(Format))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_comes_back(format: Format, dtype: torch.dtype) -> None:
    given = block(dtype)
    back = unpack(pack(given, format), LAYOUT, dtype)
    assert (back.keys.dtype, back.values.dtype, back.span) == (dtype, dtype, given.span)
    assert torch.equal(back.positions, given.positions)
    most = {"none": 0.0, "int8": 0.02, "int4": 0.3, "int2": 1.5, "kivi2": 1.5}[format]
    for ours, theirs in ((back.keys, given.keys), (back.values, given.values)):
        error = (ours.float() - theirs.float()).abs().max()
        assert error <= most + (0.03 if dtype == torch.bfloat16 and most else 0)
    assert format == "none" or (back.keys.float() - given.keys.float()).abs().max() > 0


def test_what_comes_back_shares_no_memory_with_what_rests() -> None:
    payload = pack(block(), "none")
    back = unpack(payload, LAYOUT, torch.float32)
    for tensor in payload.tensors.values():
        tensor.zero_()
    assert back.keys.any() and back.values.any()


def test_a_block_of_another_model_is_refused() -> None:
    other = Layout(num_layers=2, num_kv_heads=2, head_dim=32, num_axes=3)
    with pytest.raises(StoreCorrupt, match="ingest the video anew"):
        unpack(pack(block(), "none"), other, torch.float32)


def test_many_blocks_come_back_as_each_would_by_itself() -> None:
    chance, payloads = torch.manual_seed(1), []
    for index, (num_tokens, format) in enumerate(
        [(24, "int4"), (7, "int4"), (24, "int2"), (24, "int4"), (24, "none"), (7, "int4"), (24, "none")]
    ):
        keys, values = torch.randn(2, 3, 2, num_tokens, 32, generator=chance)
        made = Block(keys, values, text_positions(num_tokens, 3) + index, Span(index, index + 1))
        payloads.append(pack(made, format))  # type: ignore[arg-type]
    for back, payload in zip(unpack_all(payloads, LAYOUT, torch.float32), payloads, strict=True):
        alone = unpack(payload, LAYOUT, torch.float32)
        assert torch.equal(back.keys, alone.keys) and torch.equal(back.values, alone.values)
        assert torch.equal(back.positions, payload.positions) and back.span == payload.span
    assert unpack_all([], LAYOUT, torch.float32) == []


def test_many_blocks_of_another_model_are_refused() -> None:
    other = Layout(num_layers=2, num_kv_heads=2, head_dim=32, num_axes=3)
    with pytest.raises(StoreCorrupt, match="ingest the video anew"):
        unpack_all([pack(block(), "int4")] * 2, other, torch.float32)
