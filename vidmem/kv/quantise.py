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
from typing import get_args

import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv import codes, scales
from vidmem.kv.block import Layout
from vidmem.kv.formats import Format

MAX_GROUP = 64
"""Most numbers in a group. A block's tokens are cut into the fewest equal groups, the last of which may be shorter; a
token's channels into groups of the largest size that divides them."""

_CHUNK = 1 << 17
"""Numbers quantised at a time on a CPU: 512 KiB of float32, which a core's own cache holds."""


@dataclass(frozen=True, slots=True)
class _Groups:
    """How the (tokens, channels) of a head are cut into groups, and how many bytes that makes."""

    num_heads: int
    num_tokens: int
    head_dim: int
    bits: int
    along_tokens: bool = True

    @property
    def short_scales(self) -> bool:
        return self.bits == 2

    @property
    def num_cuts(self) -> int:
        """Groups along the axis that is cut."""
        return -(-self.num_tokens // MAX_GROUP) if self.along_tokens else self.head_dim // self.size

    @property
    def size(self) -> int:
        if self.along_tokens:
            return -(-self.num_tokens // self.num_cuts)
        return next(size for size in range(min(MAX_GROUP, self.head_dim), 0, -1) if self.head_dim % size == 0)

    @property
    def padded_tokens(self) -> int:
        """Tokens that fill all groups. Those added repeat the last one, and are not stored."""
        return self.num_cuts * self.size if self.along_tokens else self.num_tokens

    @property
    def shape_of_scales(self) -> tuple[int, int, int]:
        if self.along_tokens:
            return self.num_heads, self.num_cuts, self.head_dim
        return self.num_heads, self.num_tokens, self.num_cuts

    @property
    def num_groups(self) -> int:
        heads, rows, columns = self.shape_of_scales
        return heads * rows * columns

    @property
    def axis(self) -> int:
        """The axis of `cut` that a group runs along."""
        return -2 if self.along_tokens else -1

    def cut(self, tokens: Tensor) -> Tensor:
        """View (..., tokens, channels) as (..., groups, size, channels), or as (..., tokens, groups, size)."""
        return tokens.unflatten(self.axis, (self.num_cuts, self.size))

    def spread(self, scale: Tensor) -> Tensor:
        """View (layers, groups) so that it broadcasts with `cut`."""
        return scale.view(-1, *self.shape_of_scales).unsqueeze(self.axis)

    def parts(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """View (layers, bytes) as the scales' bytes (layers, bytes) and the codes' (layers, heads, bytes)."""
        of_scales, of_codes = data[:, : self.bytes_of_scales], data[:, self.bytes_of_scales :]
        return of_scales, of_codes.unflatten(1, (self.num_heads, -1))

    @property
    def bytes_of_scales(self) -> int:
        return scales.num_bytes(self.num_groups, short=self.short_scales)

    @property
    def bytes_of_head(self) -> int:
        """Bytes of one head's codes."""
        return self.num_tokens * self.head_dim // codes.codes_per_byte(self.bits)

    @property
    def num_bytes(self) -> int:
        return self.bytes_of_scales + self.num_heads * self.bytes_of_head


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
        expected = sum(_bytes_of_parts(self.format, self.shape[1:], self.dtype))
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
    return layout.num_layers * sum(_bytes_of_parts(format, shape, dtype))


@torch.no_grad()
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
    sizes = _bytes_of_parts(format, shape, keys.dtype)
    data = torch.empty((num_layers, sum(sizes)), dtype=torch.uint8, device=keys.device)
    for numbers, groups, into in zip((keys, values), _groups(format, shape), data.split(sizes, dim=1), strict=True):
        if groups is None:
            into.view(keys.dtype).unflatten(1, shape).copy_(numbers)
        else:
            _quantise_into(into, numbers, groups)
    return Packed(format, keys.dtype, *shape, data)


@torch.no_grad()
def dequantise(packed: Packed, *, out: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Keys and values (layers, KV heads, T, head dim), on the device of the bytes.

    Args:
        out: write them here instead of to new tensors of the block's dtype, and return this. Any float dtype and
            strides: so blocks are read straight into their places in a context, on a CPU in half the time.
    """
    if out is None:
        out = _empty(packed), _empty(packed)
    shape = packed.shape[1:]
    parts = packed.data.split(_bytes_of_parts(packed.format, shape, packed.dtype), dim=1)
    for numbers, groups, stored in zip(out, _groups(packed.format, shape), parts, strict=True):
        if groups is None:
            numbers.copy_(stored.view(packed.dtype).unflatten(1, shape))
        else:
            _dequantise_into(numbers, stored, groups)
    return out


def _empty(packed: Packed) -> Tensor:
    return torch.empty(packed.shape, dtype=packed.dtype, device=packed.data.device)


def _groups(format: Format, shape: tuple[int, int, int]) -> tuple[_Groups | None, _Groups | None]:
    """The groups of keys and of values (KV heads, tokens, head dim)."""
    match format:
        case "none":
            return None, None
        case "int8" | "int4" | "int2":
            groups = _Groups(*shape, bits=int(format[3:]))
            return groups, groups
        case "kivi2":
            return _Groups(*shape, bits=2), _Groups(*shape, bits=2, along_tokens=False)
    raise BadInput(f"{format!r} is no format for stored keys and values: choose one of {', '.join(get_args(Format))}")


def _bytes_of_parts(format: Format, shape: tuple[int, int, int], dtype: torch.dtype) -> list[int]:
    """Bytes of a layer's keys and of its values."""
    num_heads, num_tokens, head_dim = shape
    if min(shape) < 1 or (format != "none" and head_dim % 4):
        raise BadInput(
            f"{num_heads} KV heads, {num_tokens} tokens and head dimension {head_dim} can't be packed as {format}: "
            "none may be 0, and to be quantised the head dimension has to be a multiple of 4"
        )
    full = num_heads * num_tokens * head_dim * dtype.itemsize
    return [full if groups is None else groups.num_bytes for groups in _groups(format, shape)]


def _quantise_into(into: Tensor, numbers: Tensor, groups: _Groups) -> None:
    """Write (layers, heads, tokens, channels) to (layers, bytes), a few layers at a time."""
    num_step = _layers_at_a_time(numbers)
    num_heads, num_tokens, head_dim = numbers.shape[1:]
    top = (1 << groups.bits) - 1
    room = codes.room_for(num_step * num_heads, groups.padded_tokens * head_dim, groups.bits, numbers.device)
    tokens = codes.fillable(room, groups.bits).unflatten(1, (-1, head_dim)).unflatten(0, (-1, num_heads))
    scaled = groups.cut(tokens)
    as_is = groups.cut(numbers) if _can_be_cut(numbers, groups) else None
    scale_bytes, code_bytes = groups.parts(into)
    for at in range(0, len(numbers), num_step):
        num_layers = min(num_step, len(numbers) - at)
        layers = slice(at, at + num_layers)
        if as_is is None:
            tokens[:num_layers, :, :num_tokens] = numbers[layers]
            tokens[:num_layers, :, num_tokens:] = numbers[layers, :, -1:]
        target = scaled[:num_layers]
        source = target if as_is is None else as_is[layers]
        low, high = source.amin(groups.axis).flatten(1), source.amax(groups.axis).flatten(1)
        step, start = scales.fit(low, high, top, scale_bytes[layers], short=groups.short_scales)
        per_step = step.reciprocal_()
        torch.addcmul(groups.spread(start.mul_(per_step).neg_()), source, groups.spread(per_step), out=target)
        target.clamp_(0, top)
        packed = codes.pack(room[: num_layers * num_heads], groups.bits)[:, : groups.bytes_of_head]
        code_bytes[layers] = packed.view(num_layers, num_heads, -1)


def _dequantise_into(numbers: Tensor, stored: Tensor, groups: _Groups) -> None:
    num_step = _layers_at_a_time(numbers)
    num_heads, num_tokens, head_dim = numbers.shape[1:]
    num_codes = groups.padded_tokens * head_dim
    room = codes.room_for_packed(num_step * num_heads, num_codes, groups.bits, stored.device)
    rows = room[:, : groups.bytes_of_head].unflatten(0, (-1, num_heads))
    as_is = groups.cut(numbers) if _can_be_cut(numbers, groups) else None
    scale_bytes, code_bytes = groups.parts(stored)
    step, start = scales.read(scale_bytes, groups.num_groups, short=groups.short_scales)
    step, start = groups.spread(step), groups.spread(start)
    for at in range(0, len(numbers), num_step):
        num_layers = min(num_step, len(numbers) - at)
        layers = slice(at, at + num_layers)
        rows[:num_layers] = code_bytes[layers]
        unpacked = codes.unpack(room[: num_layers * num_heads], groups.bits)
        tokens = unpacked.view(num_layers, num_heads, -1, head_dim)
        source = groups.cut(tokens)
        torch.addcmul(start[layers], source, step[layers], out=source if as_is is None else as_is[layers])
        if as_is is None:
            numbers[layers] = tokens[:, :, :num_tokens]


def _can_be_cut(numbers: Tensor, groups: _Groups) -> bool:
    """Whether groups can be read and written where the numbers lie, without a copy in float32."""
    return numbers.dtype == torch.float32 and groups.padded_tokens == numbers.shape[2]


def _layers_at_a_time(numbers: Tensor) -> int:
    if numbers.device.type != "cpu":
        return len(numbers)
    return min(len(numbers), max(1, _CHUNK // numbers[0].numel()))
