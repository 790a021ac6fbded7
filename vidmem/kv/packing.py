"""A block on its way into the tiers and back: quantised or as it is. What rests says itself in which form."""

from __future__ import annotations

import torch
from torch import Tensor

from vidmem.errors import StoreCorrupt
from vidmem.kv.block import Block, Layout
from vidmem.kv.formats import Format
from vidmem.kv.payload import Payload
from vidmem.kv.quantise import Packed, dequantise, quantise

_PLAIN = ("keys", "values")


def pack(block: Block, format: Format) -> Payload:
    """A block's bytes, on its device. The name of a payload's tensor is its format; "none" keeps keys and values."""
    positions = block.positions.cpu()
    if format == "none":
        return Payload(dict(zip(_PLAIN, (block.keys, block.values), strict=True)), positions, block.span)
    return Payload({format: quantise(block.keys, block.values, format).data}, positions, block.span)


def unpack(payload: Payload, layout: Layout, dtype: torch.dtype) -> Block:
    """The block in `dtype`, on the device of the payload, with whose tensors it shares no memory.

    Raises:
        StoreCorrupt: it is of another model or format.
    """
    keys, values = _numbers(payload, layout, dtype)
    if (keys.shape[0], keys.shape[1], keys.shape[3]) != (layout.num_layers, layout.num_kv_heads, layout.head_dim):
        raise StoreCorrupt(f"A block holds keys of {tuple(keys.shape)}, which is not {layout}: ingest the video anew.")
    return Block(keys, values, payload.positions, payload.span)


def _numbers(payload: Payload, layout: Layout, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    if set(payload.tensors) == set(_PLAIN):
        keys, values = (payload.tensors[name] for name in _PLAIN)
        return keys.to(dtype, copy=True), values.to(dtype, copy=True)
    ((format, data),) = payload.tensors.items()
    return dequantise(Packed(format, dtype, layout.num_kv_heads, len(payload), layout.head_dim, data))  # type: ignore[arg-type]
