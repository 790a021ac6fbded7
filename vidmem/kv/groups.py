"""How the numbers of a block are cut into groups, and how many bytes that makes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import get_args

import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv import codes, scales
from vidmem.kv.formats import Format

MAX_GROUP = 64
"""Most numbers in a group. A block's tokens are cut into the fewest equal groups, the last of which may be shorter; a
token's channels into groups of the largest size that divides them."""


@dataclass(frozen=True)
class Groups:
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

    @cached_property
    def tokens_and_channels(self) -> tuple[int, int]:
        """Of a group, one of them 1."""
        return (self.size, 1) if self.along_tokens else (1, self.size)

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

    @cached_property
    def num_bytes(self) -> int:
        return self.bytes_of_scales + self.num_heads * self.bytes_of_head


@lru_cache(maxsize=1024)
def groups_of(format: Format, shape: tuple[int, int, int]) -> tuple[Groups | None, Groups | None]:
    """The groups of keys and of values (KV heads, tokens, head dim)."""
    match format:
        case "none":
            return None, None
        case "int8" | "int4" | "int2":
            groups = Groups(*shape, bits=int(format[3:]))
            return groups, groups
        case "kivi2":
            return Groups(*shape, bits=2), Groups(*shape, bits=2, along_tokens=False)
    raise BadInput(f"{format!r} is no format for stored keys and values: choose one of {', '.join(get_args(Format))}")


@lru_cache(maxsize=1024)
def bytes_of_parts(format: Format, shape: tuple[int, int, int], dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of a layer's keys and of its values."""
    num_heads, num_tokens, head_dim = shape
    if min(shape) < 1 or (format != "none" and head_dim % 4):
        raise BadInput(
            f"{num_heads} KV heads, {num_tokens} tokens and head dimension {head_dim} can't be packed as {format}: "
            "none may be 0, and to be quantised the head dimension has to be a multiple of 4"
        )
    full = num_heads * num_tokens * head_dim * dtype.itemsize
    keys, values = (full if groups is None else groups.num_bytes for groups in groups_of(format, shape))
    return keys, values
