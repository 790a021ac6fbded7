"""A block as it rests in a tier: one piece of bytes, whatever its quantisation, and what is needed to read it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from vidmem.kv.records import aligned
from vidmem.types import Span

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_SIZES = struct.Struct("<II")


@dataclass(frozen=True, slots=True, eq=False)
class Payload:
    """A block's tensors, at least one, under any names, on any device, and its token positions (axes, T) on the CPU."""

    tensors: Mapping[str, Tensor]
    positions: Tensor
    span: Span

    def __len__(self) -> int:
        return self.positions.shape[1]


@dataclass(frozen=True, slots=True)
class Field:
    """Where a tensor lies in a body."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    """A multiple of 64."""

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def of(self, body: Tensor) -> Tensor:
        """View of the tensor in a body, uint8 (n,)."""
        return body[self.offset : self.offset + self.num_bytes].view(self.dtype).view(self.shape)


Fields = tuple[Field, ...]


def fields_of(tensors: Mapping[str, Tensor]) -> Fields:
    """Lay tensors out behind each other. Raises ValueError on a dtype that is not stored."""
    return _laid_out(tuple((name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()))


def body_bytes(fields: Fields) -> int:
    """Size of a body, a multiple of 64."""
    return aligned(fields[-1].offset + fields[-1].num_bytes)


def views(fields: Fields, body: Tensor) -> dict[str, Tensor]:
    """The tensors in a body, sharing its memory."""
    return {field.name: field.of(body) for field in fields}


def fill(body: Tensor, fields: Fields, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors, from any device, into a body, and return them there. What lies between them is zeroed: it goes to
    disk, too."""
    placed = views(fields, body)
    ends = [*(field.offset for field in fields[1:]), len(body)]
    for field, end in zip(fields, ends, strict=True):
        placed[field.name].copy_(tensors[field.name], non_blocking=True)
        if field.offset + field.num_bytes < end:
            body[field.offset + field.num_bytes : end].zero_()
    return placed


def make_head(fields: Fields, positions: Tensor) -> bytes:
    """What tells a body's tensors apart, and the positions: a multiple of 64 bytes. JSON and numbers, no pickle."""
    description = _describe(fields, positions.dtype, tuple(positions.shape))
    numbers = positions.contiguous().numpy().tobytes()
    head = _SIZES.pack(len(description), len(numbers)) + description + numbers
    return head + bytes(aligned(len(head)) - len(head))


@lru_cache(maxsize=1024)
def _describe(fields: Fields, dtype: torch.dtype, shape: tuple[int, ...]) -> bytes:
    described = {
        "tensors": [[field.name, _NAMES[field.dtype], field.shape] for field in fields],
        "positions": [_NAMES[dtype], shape],
    }
    return json.dumps(described, separators=(",", ":")).encode()


def read_head(head: bytes) -> tuple[Fields, Tensor]:
    """The fields of a body, and the positions."""
    description_bytes, numbers_bytes = _SIZES.unpack_from(head)
    begin = _SIZES.size + description_bytes
    fields, dtype, shape = _read_description(head[_SIZES.size : begin])
    numbers = torch.frombuffer(bytearray(head[begin : begin + numbers_bytes]), dtype=dtype)
    return fields, numbers.view(shape)


@lru_cache(maxsize=1024)
def _read_description(description: bytes) -> tuple[Fields, torch.dtype, tuple[int, ...]]:
    """Blocks of one length share their description, so it is seldom parsed."""
    described = json.loads(description)
    dtype, shape = described["positions"]
    parts = tuple((name, _DTYPES[kind], tuple(sizes)) for name, kind, sizes in described["tensors"])
    return _laid_out(parts), _DTYPES[dtype], tuple(shape)


@lru_cache(maxsize=1024)
def _laid_out(parts: tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]) -> Fields:
    fields, offset = [], 0
    for name, dtype, shape in parts:
        if dtype not in _NAMES:
            raise ValueError(f"{name} is {dtype}: a block's tensors are of {', '.join(_DTYPES)}")
        fields.append(Field(name, dtype, shape, offset))
        offset = aligned(offset + fields[-1].num_bytes)
    return tuple(fields)
