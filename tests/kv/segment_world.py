"""Small blocks that are told from their number alone, and a writer of them that lives until it is killed."""

from __future__ import annotations

import json
import os
import random
from dataclasses import astuple
from pathlib import Path

from vidmem.kv.records import BlockId, Position
from vidmem.kv.segments import SegmentLog
from vidmem.types import Span

SEGMENT_BYTES = 70_000
"""Room for a few blocks behind the table of 65,536 bytes."""


def payload(number: int) -> tuple[bytes, bytes]:
    """Head and body of a block: multiples of 64 bytes, 64 to 128 and 0 to 1280."""
    rng = random.Random(number)
    return rng.randbytes(64 * rng.randint(1, 2)), rng.randbytes(64 * rng.randint(0, 20))


def span(number: int) -> Span:
    return Span(number * 0.5, number * 0.5 + 0.5)


def append(log: SegmentLog, number: int) -> BlockId:
    head, body = payload(number)
    return log.append(head, body, num_tokens=number % 7, span=span(number))


def read(log: SegmentLog, block_ids: list[BlockId] | None = None) -> dict[int, tuple[bytes, bytes] | None]:
    """Head and body of blocks, ascending ids; None for one that is lost."""
    content: dict[int, tuple[bytes, bytes] | None] = {}
    for run in log.runs(map(BlockId, range(log.num_blocks)) if block_ids is None else block_ids):
        bodies = [bytearray(log.body_bytes(block_id)) for block_id in run]
        heads = log.read_run(run, bodies)
        content |= {
            block_id: None if head is None else (head, bytes(body))
            for block_id, head, body in zip(run, heads, bodies, strict=True)
        }
    return content


def expected(num_blocks: int) -> dict[int, tuple[bytes, bytes]]:
    return {number: payload(number) for number in range(num_blocks)}


def committed(folder: Path) -> Position:
    """What the catalogue says: a file `committed` plays it."""
    file = folder / "committed"
    return Position(*json.loads(file.read_text())) if file.exists() else Position()


def commit(folder: Path, position: Position) -> None:
    (folder / "new").write_text(json.dumps(astuple(position)))
    os.replace(folder / "new", folder / "committed")


def append_for_ever(folder: Path, acknowledged) -> None:  # type: ignore[no-untyped-def]
    """Commit clips of one to four blocks and count in shared memory the blocks that were said to be durable."""
    log = SegmentLog(folder / "kv", committed(folder), segment_bytes=SEGMENT_BYTES)
    while True:
        for number in range(log.num_blocks, log.num_blocks + 1 + log.num_blocks % 4):
            append(log, number)
        commit(folder, log.flush())
        acknowledged.value = log.num_blocks
