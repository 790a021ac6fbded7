"""A block on its way into the tiers and back: quantised or as it is. What rests says itself in which form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

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


def unpack_all(payloads: Sequence[Payload], layout: Layout, dtype: torch.dtype) -> list[Block]:
    """`unpack` of many blocks, in their order. Those of one length and format are unpacked as one.

    On a GPU a block by itself is a dozen small kernels, which take longer to start than to run; on a CPU 64 blocks of
    21 tokens take half the time together. Blocks that were unpacked together lie in one piece of memory.

    Raises:
        StoreCorrupt: one is of another model or format.
    """
    alike: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, payload in enumerate(payloads):
        alike[tuple((name, tensor.shape) for name, tensor in payload.tensors.items())].append(index)
    blocks: dict[int, Block] = {}
    for places in alike.values():
        together = [payloads[place] for place in places]
        blocks |= zip(places, _unpack_alike(together, layout, dtype), strict=True)
    return [blocks[index] for index in range(len(payloads))]


def _unpack_alike(payloads: Sequence[Payload], layout: Layout, dtype: torch.dtype) -> list[Block]:
    first = payloads[0]
    if len(payloads) == 1 or set(first.tensors) == set(_PLAIN):
        return [unpack(payload, layout, dtype) for payload in payloads]
    ((format, packed),) = first.tensors.items()
    if len(packed) != layout.num_layers:
        unpack(first, layout, dtype)  # says what is wrong
    data = torch.cat([payload.tensors[format] for payload in payloads])  # each layer of each block by itself
    whole = unpack(replace(first, tensors={format: data}), replace(layout, num_layers=len(data)), dtype)
    parts = zip(whole.keys.split(layout.num_layers), whole.values.split(layout.num_layers), strict=True)
    return [
        Block(keys, values, payload.positions, payload.span)
        for payload, (keys, values) in zip(payloads, parts, strict=True)
    ]


def _numbers(payload: Payload, layout: Layout, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    if set(payload.tensors) == set(_PLAIN):
        keys, values = (payload.tensors[name] for name in _PLAIN)
        return keys.to(dtype, copy=True), values.to(dtype, copy=True)
    ((format, data),) = payload.tensors.items()
    return dequantise(Packed(format, dtype, layout.num_kv_heads, len(payload), layout.head_dim, data))  # type: ignore[arg-type]
