"""The bytes of a segment file: a header, a table of records at fixed places, then the blocks.

| where | what |
| --- | --- |
| 0 | header: magic, format, number of the segment, CRC-32 |
| 64 | table: `NUM_RECORDS` records, one for each block, in order; zeros where there is none yet |
| 65536 | blocks: the same record again, the block's head, its body; every part a multiple of 64 bytes |

The table comes first so that a file cut short still tells whose blocks it lost; the record beside each block stands in
where the table is damaged. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NewType

import numpy as np

from vidmem.checksum import crc32
from vidmem.types import Span

BlockId = NewType("BlockId", int)
"""A block's place in the order of writing, from 0; stable for the life of its video."""

FORMAT = 1
ALIGNMENT = 64
"""Of every part in a file: what GPU copies and vector loads like, at under 0.5 % of a small block's bytes."""
NUM_RECORDS = 1023
FIRST_OFFSET = ALIGNMENT * (1 + NUM_RECORDS)

RECORD = np.dtype(
    [
        ("block_id", "<u8"),
        ("offset", "<u8"),
        ("body_bytes", "<u8"),
        ("start", "<f8"),
        ("end", "<f8"),
        ("head_bytes", "<u4"),
        ("num_tokens", "<u4"),
        ("payload_crc32", "<u4"),
        ("segment", "<u4"),
        ("unused", "<u4"),
        ("record_crc32", "<u4"),
    ]
)
"""`offset` is where the block's own record begins in its segment; the payload is its head and body."""
assert RECORD.itemsize == ALIGNMENT

_MAGIC = b"vidmemkv"
_HEADER = struct.Struct("<8sII44sI")
_RECORD = struct.Struct("<QQQddIIIII")
_CHECKED_BYTES = _RECORD.size


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log is durable: `num_blocks` blocks, the last of which ends at `offset` of segment `segment`."""

    segment: int = 0
    offset: int = 0
    num_blocks: int = 0


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a log begins: what lay before was let go on purpose, and is not lost. Whole segments go."""

    segment: int = 0
    block: int = 0
    """The segment's first."""


def segment_name(segment: int) -> str:
    return f"{segment:06d}.kv"


def aligned(num_bytes: int) -> int:
    """Round up to a multiple of `ALIGNMENT`."""
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT


def table_place(slot_index: int) -> int:
    return ALIGNMENT * (1 + slot_index)


def make_header(segment: int) -> bytes:
    unchecked = _HEADER.pack(_MAGIC, FORMAT, segment, b"", 0)[:-4]
    return unchecked + crc32(unchecked).to_bytes(4, "little")


def format_of(header: bytes) -> int | None:
    """The format that a sound header names; None where it is damaged (the records still speak for themselves)."""
    if len(header) < _HEADER.size or crc32(header[: _HEADER.size - 4]) != int.from_bytes(header[60:64], "little"):
        return None
    magic, number, *_ = _HEADER.unpack_from(header)
    return int(number) if magic == _MAGIC else None


def make_record(
    block_id: BlockId,
    *,
    segment: int,
    offset: int,
    head_bytes: int,
    body_bytes: int,
    payload_crc32: int,
    num_tokens: int,
    span: Span,
) -> bytes:
    """One record with its checksum."""
    fields = (block_id, offset, body_bytes, span.start, span.end, head_bytes, num_tokens, payload_crc32, segment, 0)
    unchecked = _RECORD.pack(*fields)
    return unchecked + crc32(unchecked).to_bytes(4, "little")


def parse_record(data: bytes | memoryview) -> np.void | None:
    """The record in these 64 bytes; None where its checksum does not hold."""
    if len(data) < RECORD.itemsize or crc32(data[:_CHECKED_BYTES]) != int.from_bytes(data[_CHECKED_BYTES:], "little"):
        return None
    return np.frombuffer(data, RECORD)[0]


def read_table(table: bytes) -> Iterator[tuple[int, np.void | None]]:
    """Slot index and record of each slot that holds something; None for one whose checksum does not hold."""
    num_slots = len(table) // RECORD.itemsize
    slots = np.frombuffer(table[: num_slots * RECORD.itemsize], np.uint64).reshape(num_slots, RECORD.itemsize // 8)
    # A segment of large blocks fills only the front of its table; the rest is not worth 1023 checksums.
    for slot_index in np.flatnonzero(slots.any(axis=1)):
        place = int(slot_index) * RECORD.itemsize
        yield int(slot_index), parse_record(table[place : place + RECORD.itemsize])


def end_of(record: np.void) -> int:
    """Where the block ends in its segment."""
    return int(record["offset"]) + RECORD.itemsize + int(record["head_bytes"]) + int(record["body_bytes"])
