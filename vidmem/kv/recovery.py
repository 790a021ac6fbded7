"""Opening what a writer left, however it ended: what was committed is found, what lies beyond it is discarded."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from vidmem.errors import StoreVersion
from vidmem.kv.files import read_at, size_of, write_at
from vidmem.kv.records import (
    ALIGNMENT,
    FIRST_OFFSET,
    FORMAT,
    RECORD,
    Beginning,
    BlockId,
    Position,
    end_of,
    format_of,
    parse_record,
    read_table,
    segment_name,
    table_place,
)


def discard_before(folder: Path, begin: Beginning) -> None:
    """Remove segments that lie before the beginning of a log. Does the same when done again. Raises OSError."""
    for path in folder.glob("*.kv"):
        if path.stem.isdigit() and int(path.stem) < begin.segment:
            path.unlink()


def first_block_of(folder: Path, segment: int) -> int | None:
    """The first block of a segment; None if its table does not tell. Raises OSError."""
    found = [slot for slot in read_table(_table(folder / segment_name(segment))) if slot[0] == 0]
    record = found[0][1] if found else None
    return int(record["block_id"]) if record is not None and record["segment"] == segment else None


def discard_beyond(folder: Path, position: Position) -> None:
    """Remove segments, bytes and records that were written after `position`. Does the same when done again.

    Raises OSError.
    """
    last = position.segment if position.num_blocks else -1
    for path in folder.glob("*.kv"):
        if path.stem.isdigit() and int(path.stem) > last:
            path.unlink()
    path = folder / segment_name(position.segment)
    if size_of(path) <= FIRST_OFFSET:
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        if os.fstat(descriptor).st_size > position.offset:
            os.ftruncate(descriptor, position.offset)
        # A later block may go to another segment, and the old record of its id would contradict it.
        for slot_index, record in read_table(_table(path)):
            if record is None or record["block_id"] >= position.num_blocks:
                write_at(descriptor, [bytes(ALIGNMENT)], table_place(slot_index))
    finally:
        os.close(descriptor)


def load_records(
    folder: Path, begin: Beginning, position: Position, known: np.ndarray | None = None, first_segment: int = 0
) -> tuple[np.ndarray, set[BlockId]]:
    """The records of the blocks from `begin` to `position`, and the ids of those that are known to be lost.

    A record that is in neither of its places gets offset 0, and for its span all the time between its neighbours.
    Tables of segments before `first_segment` are not read: their records are among the first ones, `known`.

    Raises:
        StoreVersion: a newer vidmem wrote a segment.
    """
    records = np.zeros(position.num_blocks - begin.block, RECORD)
    if known is not None:
        records[: len(known)] = known
    sizes = []
    for segment in range(begin.segment, position.segment + 1 if position.num_blocks else 0):
        path = folder / segment_name(segment)
        sizes.append(size_of(path))
        if segment < first_segment:
            continue
        _check_format(path)
        for _, record in read_table(_table(path)):
            if record is not None and record["segment"] == segment:
                index = int(record["block_id"]) - begin.block
                if 0 <= index < len(records):
                    records[index] = record
    gone = [index for index in _where(records["offset"] == 0) if not _is_restored(folder, begin, records, index)]
    _bound_spans(begin, records, gone)
    ends = records["offset"] + ALIGNMENT + records["head_bytes"] + records["body_bytes"]
    in_file = np.maximum(records["segment"].astype(np.int64) - begin.segment, 0)  # 0 where the record is gone
    cut = _where(ends > np.array(sizes or [0], np.uint64)[in_file])
    return records, {BlockId(begin.block + index) for index in (*gone, *cut)}


def _where(flags: np.ndarray) -> list[int]:
    return [int(index) for index in np.flatnonzero(flags)]


def _table(path: Path) -> bytes:
    """A segment's table, shorter where the file is."""
    table = bytearray(FIRST_OFFSET - ALIGNMENT)
    return bytes(table[: read_at(path, [table], ALIGNMENT)])


def _check_format(path: Path) -> None:
    header = bytearray(ALIGNMENT)
    read_at(path, [header], 0)
    found = format_of(bytes(header))
    if found is not None and found > FORMAT:
        raise StoreVersion(f"{path} has format {found}, this vidmem reads up to {FORMAT}: update vidmem.")


def _is_restored(folder: Path, begin: Beginning, records: np.ndarray, index: int) -> bool:
    """Find a record beside its block: right after the block before it, or as the first of the next segment."""
    before = records[index - 1] if index else None
    if before is None:
        places = [(begin.segment, FIRST_OFFSET)]
    elif before["offset"] == 0:
        return False
    else:
        places = [(int(before["segment"]), end_of(before)), (int(before["segment"]) + 1, FIRST_OFFSET)]
    for segment, offset in places:
        data = bytearray(ALIGNMENT)
        read_at(folder / segment_name(segment), [data], offset)
        record = parse_record(bytes(data))
        if record is not None and record["block_id"] == begin.block + index and record["segment"] == segment:
            records[index] = record
            return True
    return False


def _bound_spans(begin: Beginning, records: np.ndarray, gone: list[int]) -> None:
    """Give the blocks whose records are gone, ascending, the time from the nearest one before to the nearest after."""
    is_gone = set(gone)
    for index in gone:
        records[index]["block_id"] = begin.block + index
        if index:
            records[index]["start"] = records[index - 1]["start" if index - 1 in is_gone else "end"]
    for index in reversed(gone):
        end = math.inf
        if index + 1 < len(records):
            end = float(records[index + 1]["end" if index + 1 in is_gone else "start"])
        records[index]["end"] = max(end, float(records[index]["start"]))
