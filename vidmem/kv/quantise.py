"""Blocks as bytes: the form in which keys and values leave the accelerator, the same in memory and on disk.

| format | bits | keys' groups | values' groups |
| --- | --- | --- | --- |
| none | all | | |
| int8, int4 | 8, 4 | a channel over up to 64 tokens | the same |
| int2 | 2 | a channel over up to 64 tokens | the same |
| kivi2 | 2 | a channel over up to 64 tokens | a token over up to 64 channels |

KIVI (Liu et al., ICML 2024) groups keys per channel, as some channels lie far from the others, and values per token.
VidKV (arXiv 2503.16257) finds values of video models better per channel, and so do we: on the embedded model, in
blocks of 21 tokens, the error of the attention's output is 0.002 with int8, 0.035 with int4, 0.20 with int2 and 0.40
with kivi2. We store nothing below 2 bits: VidKV's three codes for the values alone, around each channel's mean, make
it 0.47.

A block is quantised once, whole, when it leaves the accelerator, and never again; no group crosses a block, so that
each loads alone. KIVI's residual (the newest tokens, kept full) is here what still lies on the accelerator: a packed
block has none. `vidmem.kv.kivi` has KIVI's own residual, words and arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType

import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv import operators
from vidmem.kv.block import Layout
from vidmem.kv.formats import Format
from vidmem.kv.groups import bytes_of_parts, groups_of


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Keys and values of one block as bytes, layer by layer, on any device.

    A layer's bytes are its keys', then its values': the scales of all groups, then the codes (heads, T, channels), or
    with "none" the numbers themselves. They can be written and mapped as they are, if they start at a multiple of the
    dtype's size (2 where quantised). `data[layers]`, with the other fields as they are, is a block of these layers.

    Raises:
        BadInput: `data` is not uint8 (layers, bytes of a layer): it is cut, or of another format or model.
    """

    format: Format
    dtype: torch.dtype
    """Of the numbers that were packed, and that come back."""
    num_heads: int
    num_tokens: int
    head_dim: int
    data: Tensor = field(repr=False)
    """uint8 (layers, bytes of a layer), contiguous."""

    def __post_init__(self) -> None:
        expected = sum(bytes_of_parts(self.format, self.shape[1:], self.dtype))
        if self.data.dtype != torch.uint8 or self.data.ndim != 2 or self.data.shape[1] != expected:
            raise BadInput(
                f"{tuple(self.data.shape)} {self.data.dtype} is no block of {self.num_tokens} tokens as {self.format}, "
                f"of which a layer takes {expected} bytes: it is cut, or was written with another format or model."
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of keys and of values: (layers, KV heads, T, head dim)."""
        return len(self.data), self.num_heads, self.num_tokens, self.head_dim

    @property
    def num_bytes(self) -> int:
        return self.data.numel()


def num_bytes(format: Format, layout: Layout, num_tokens: int, dtype: torch.dtype) -> int:
    """Bytes of one packed block of `num_tokens` tokens; `dtype` counts with "none" only.

    Of float16's bytes, in blocks of 24, 64 and 196 tokens, int8 takes 0.58, 0.53 and 0.54, int4 0.33, 0.28 and 0.29,
    int2 0.16, 0.14 and 0.14. 2 bits take at most 1/6 from 18 tokens a block on with int2, and from 13 on with kivi2,
    whose values need a head dimension that a number from 32 to 64 divides.
    """
    shape = layout.num_kv_heads, num_tokens, layout.head_dim
    return layout.num_layers * sum(bytes_of_parts(format, shape, dtype))


def quantise(keys: Tensor, values: Tensor, format: Format) -> Packed:
    """Pack the keys and values of one block, on their device.

    Args:
        keys: (layers, KV heads, T, head dim), before RoPE, T at least 1. Not modified. Several blocks of the same T can
            be stacked along the layers: each layer of each block has its own groups and bytes.
        values: the same shape and dtype.
        format: with "none" the bytes are the numbers' own, so that `dequantise` gives them back exactly.

    Returns:
        What `dequantise` reads. A number comes back within half a step of its group: (max - min) / (2^bits - 1). With
        2 bits a step is rounded by up to a fifth, and is no finer than a ninth of the group's largest magnitude, or a
        seventh of it below 0; with 4 and 8 bits the group's start is rounded to float16. Numbers beyond float16's range
        are held to it. Where one is not finite, its head is undefined in its layer.

    Raises:
        BadInput: unknown format; shapes or dtypes that differ, or are none of a block; a head dimension that is no
            multiple of 4.
    """
    if keys.shape != values.shape or keys.dtype != values.dtype or keys.ndim != 4 or not keys.is_floating_point():
        raise BadInput(
            f"keys {tuple(keys.shape)} {keys.dtype} and values {tuple(values.shape)} {values.dtype} are no block: "
            "give both as (layers, KV heads, tokens, head dim) in one float dtype"
        )
    num_layers, num_heads, num_tokens, head_dim = keys.shape
    shape = num_heads, num_tokens, head_dim
    sizes = bytes_of_parts(format, shape, keys.dtype)
    data = torch.empty((num_layers, sum(sizes)), dtype=torch.uint8, device=keys.device)
    way = _way(keys.device)
    for numbers, groups, begin in zip((keys, values), groups_of(format, shape), (0, sizes[0]), strict=True):
        if groups is None:
            into = data[:, begin : begin + sizes[0]].view(keys.dtype)
            into.unflatten(1, shape).copy_(numbers.detach())
        else:
            way.quantise_into(data, begin, numbers, groups)
    return Packed(format, keys.dtype, *shape, data)


def dequantise(packed: Packed, *, out: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Keys and values (layers, KV heads, T, head dim), on the device of the bytes.

    Args:
        out: write them here instead of to new tensors of the block's dtype, and return this. Any float dtype and
            strides: so blocks are read straight into their places in a context, on a CPU in half the time.
    """
    if out is None:
        # In one piece: two of megabytes were given back to the system each time, and took it twice as long to map anew.
        keys, values = torch.empty((2, *packed.shape), dtype=packed.dtype, device=packed.data.device)
        out = keys, values
    shape, way = packed.shape[1:], _way(packed.data.device)
    sizes = bytes_of_parts(packed.format, shape, packed.dtype)
    for numbers, groups, begin in zip(out, groups_of(packed.format, shape), (0, sizes[0]), strict=True):
        if groups is None:
            stored = packed.data[:, begin : begin + sizes[0]].view(packed.dtype)
            numbers.copy_(stored.unflatten(1, shape))
        else:
            way.dequantise_into(numbers, packed.data, begin, groups)
    return out


def _way(device: torch.device) -> ModuleType:
    """What quantises there."""
    if device.type != "cpu":
        return operators
    from vidmem.kv import compiled  # brings numba and compiles: only for whoever packs blocks

    return compiled
