"""Blocks on disk: append-only segment files, each block's layers, keys and values in one contiguous piece.

A log belongs to one video and lies in a folder of its own. It is durable up to a `Position` that its owner commits
elsewhere; what lies beyond is discarded on opening. What a file lost is found by checksums and told by time span.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vidmem.checksum import crc32
from vidmem.disk import sync
from vidmem.errors import BlocksLost, NotFound, StorageFull
from vidmem.kv.files import Bytes, read_at, translated, write_at
from vidmem.kv.records import (
    ALIGNMENT,
    FIRST_OFFSET,
    NUM_RECORDS,
    RECORD,
    Beginning,
    BlockId,
    Position,
    end_of,
    make_header,
    make_record,
    segment_name,
    table_place,
)
from vidmem.kv.recovery import discard_beyond, load_records
from vidmem.types import Span, format_time

SEGMENT_BYTES = 256 * 1024**2
RUN_BYTES = 4 * 1024**2
"""Of neighbours read with one call: long enough for any disk's full speed, short enough that one thread checks and
copies what it has while the others read."""
_BLOCKS_A_RUN = 256
"""Up to three times as many buffers go into one call; the system takes 1024."""
_SPANS_NAMED = 5


@dataclass(frozen=True, slots=True, eq=False)
class NewBlock:
    """A block on its way into a log; its head and body are multiples of 64 bytes long."""

    head: bytes
    body: Bytes = field(repr=False)
    num_tokens: int
    span: Span

    def __post_init__(self) -> None:
        sizes = len(self.head), memoryview(self.body).nbytes
        assert not any(size % ALIGNMENT for size in sizes), f"head and body of {sizes} bytes are not aligned"

    @property
    def num_bytes(self) -> int:
        """On disk, with its record."""
        return ALIGNMENT + len(self.head) + memoryview(self.body).nbytes


@dataclass(frozen=True, slots=True)
class LostBlocks:
    """Neighbouring blocks that can't be read. `span` may be wider than theirs, even infinite, if a record is gone."""

    first_block: BlockId
    num_blocks: int
    span: Span


class SegmentLog:
    """Appends blocks of one video and reads them back. One thread writes, any number read.

    A failed `append` or `flush` leaves all that was flushed before readable; the log then takes no block until
    `cut` has brought it back to the position that its owner committed.
    """

    def __init__(
        self,
        folder: Path,
        position: Position | None = None,
        *,
        begin: Beginning | None = None,
        read_only: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Open the log as it was committed at `position`; None is an empty log.

        What lies beyond `position` is removed, or with `read_only` not looked at. Damage does not hinder opening:
        see `lost_blocks`. A segment is closed once a block would carry it over `segment_bytes`. What lies before
        `begin` was let go and is no part of the log, though ids and places go on being counted from it.

        Raises:
            StoreVersion: a newer vidmem wrote it.
            StorageFull: what lies beyond can't be removed.
        """
        self.folder = folder
        self._begin = begin or Beginning()
        self._read_only = read_only
        self._segment_bytes = segment_bytes
        self._descriptor: int | None = None
        self._records: np.ndarray
        self._lost: set[BlockId]
        self._position: Position
        self._segment: int
        self._offset: int
        self._num_in_segment: int
        self._has_new_names: bool
        self._is_torn: bool
        self._restore(position or Position())

    # -- writing --

    def append(self, head: bytes, body: Bytes, *, num_tokens: int, span: Span) -> BlockId:
        """Add one block: `append_all`."""
        block_id = BlockId(self.num_blocks)
        self.append_all([NewBlock(head, body, num_tokens, span)])
        return block_id

    def append_all(self, blocks: Sequence[NewBlock]) -> None:
        """Add blocks; they are durable once `flush` has returned and its position is committed. Raises StorageFull."""
        self._check_writable()
        self._is_torn = True
        rest = list(blocks)
        with translated(self.folder):
            while rest:
                descriptor = self._segment_for(rest[0].num_bytes)
                together = rest[: self._num_fitting(rest)]
                records = self._records_of(together)
                parts = [(record, new.head, new.body) for record, new in zip(records, together, strict=True)]
                write_at(descriptor, [part for block in parts for part in block], self._offset)
                write_at(descriptor, records, table_place(self._num_in_segment))
                self._remember(b"".join(records))
                rest = rest[len(together) :]
        self._is_torn = False

    def flush(self) -> Position:
        """Force all blocks to the disk and say up to where that is. Raises StorageFull."""
        self._check_writable()
        self._is_torn = True
        with translated(self.folder):
            if self._descriptor is not None:
                os.fsync(self._descriptor)
            if self._has_new_names:
                sync(self.folder)
                sync(self.folder.parent)
        self._is_torn = False
        self._has_new_names = False
        return self._position

    def cut(self, position: Position) -> None:
        """Go back to a position that was flushed before, as opening anew would. Raises StorageFull."""
        assert not self._read_only, "a log opened to read is not cut"
        self._restore(position)

    def forget(self, begin: Beginning) -> None:
        """Begin later from now on. The files before are for the log's owner to remove."""
        num_gone = begin.block - self._begin.block
        if num_gone > 0:
            self._records = self._records[num_gone:].copy()
            self._lost = {block_id for block_id in self._lost if block_id >= begin.block}
            self._begin = begin

    def close(self) -> None:
        """Let go of the files. What was not flushed may be lost."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    # -- reading --

    @property
    def position(self) -> Position:
        """Where the log ends."""
        return self._position

    @property
    def num_blocks(self) -> int:
        """Of all that were ever put, also before the log's beginning."""
        return self._position.num_blocks

    @property
    def first_block(self) -> BlockId:
        """The one that the log begins with."""
        return BlockId(self._begin.block)

    @property
    def num_bytes(self) -> int:
        """Bytes of all blocks that are not known to be lost, heads and records included."""
        records = self._records[: self.num_blocks - self.first_block]
        there = records[records["offset"] > 0]
        return int((there["head_bytes"] + there["body_bytes"]).sum()) + ALIGNMENT * len(there)

    def num_tokens(self) -> list[int]:
        """Tokens of each block from `first_block` on, 0 for one that is not known any more."""
        num_held = self.num_blocks - self.first_block
        return [int(number) for number in self._records["num_tokens"][:num_held].tolist()]

    def position_of(self, num_blocks: int) -> Position:
        """Where the log ended when it held so many blocks, of which the last one is not lost."""
        if num_blocks == 0:
            return Position()
        record = self._record(BlockId(num_blocks - 1))
        return Position(int(record["segment"]), end_of(record), num_blocks)

    def follow(self, position: Position, begin: Beginning | None = None) -> None:
        """In a log opened to read: see also what its writer has committed since, and that it begins later. Reads only
        what is new.

        Raises:
            StoreVersion: a newer vidmem wrote it.
        """
        assert self._read_only, "a log opened to write is ahead of what is committed"
        if begin is not None:
            self.forget(begin)
        known = self._records[: self.num_blocks - self.first_block]
        records, lost = load_records(self.folder, self._begin, position, known, self._position.segment)
        self._records, self._lost, self._position = records, self._lost | lost, position

    def body_bytes(self, block_id: BlockId) -> int:
        """Size of a block's body; 0 if it is not known any more. Raises NotFound."""
        return int(self._record(block_id)["body_bytes"])

    def span(self, block_id: BlockId) -> Span:
        """The stretch of time that a block covers, or a wider one if its record is gone. Raises NotFound."""
        record = self._record(block_id)
        return Span(float(record["start"]), float(record["end"]))

    def runs(self, block_ids: Iterable[BlockId], *, max_bytes: int = RUN_BYTES) -> list[list[BlockId]]:
        """Group ascending ids into neighbours on disk, of `max_bytes` or one block each. Raises NotFound."""
        runs: list[list[BlockId]] = []
        end, run_bytes = (-1, -1), 0
        for block_id in block_ids:
            record = self._record(block_id)
            segment, offset, num_bytes = int(record["segment"]), int(record["offset"]), end_of(record)
            num_bytes -= offset
            run_bytes += num_bytes
            if (segment, offset) != end or run_bytes > max_bytes or len(runs[-1]) == _BLOCKS_A_RUN:
                runs.append([])
                run_bytes = num_bytes
            runs[-1].append(block_id)
            end = (segment, offset + num_bytes)
        return runs

    def read_run(self, run: Sequence[BlockId], bodies: Sequence[Bytes]) -> list[bytes | None]:
        """Read one of the `runs` with one call: each block's body into its buffer, its head as returned.

        None stands for a block whose checksum does not hold or that is gone: it counts as lost from now on, and what
        is in its buffer is of no use. Raises OSError if the disk can't be reached at all.
        """
        records = [self._record(block_id) for block_id in run]
        heads = [bytearray(ALIGNMENT + int(record["head_bytes"])) for record in records]
        if records[0]["offset"] == 0:
            return self._note_lost(run, [None] * len(run))
        parts = [part for pair in zip(heads, bodies, strict=True) for part in pair]
        read_at(self._path(int(records[0]["segment"])), parts, int(records[0]["offset"]))
        payloads = [bytes(head[ALIGNMENT:]) for head in heads]
        read: list[bytes | None] = [
            head if crc32(body, crc32(head)) == record["payload_crc32"] else None
            for head, body, record in zip(payloads, bodies, records, strict=True)
        ]
        if len(run) > 1:  # an unreadable sector ends the whole call: what came after it is read by itself
            for index, block_id in enumerate(run):
                if read[index] is None:
                    read[index] = self.read_run([block_id], [bodies[index]])[0]
        return self._note_lost(run, read)

    # -- damage --

    def lost_blocks(self) -> list[LostBlocks]:
        """All that is known to be lost: what opening, reading or `verify` has found."""
        groups: list[list[BlockId]] = []
        for block_id in sorted(self._lost):
            if not groups or groups[-1][-1] + 1 != block_id:
                groups.append([])
            groups[-1].append(block_id)
        return [
            LostBlocks(group[0], len(group), Span(self.span(group[0]).start, self.span(group[-1]).end))
            for group in groups
        ]

    def lost(self, block_ids: Iterable[BlockId]) -> BlocksLost:
        """The error that tells of these lost blocks."""
        ids = sorted(block_ids)
        spans = [(span.start, span.end) for span in map(self.span, ids)]
        return BlocksLost(
            f"{self.folder} is damaged at {_named(spans)}: put back a copy of the store, or ingest the video anew. "
            "All else can still be asked.",
            block_ids=ids,
            spans=spans,
        )

    def verify(self) -> list[LostBlocks]:
        """Read every block and say what is lost."""
        for run in self.runs(map(BlockId, range(self.first_block, self.num_blocks))):
            self.read_run(run, [bytearray(self.body_bytes(block_id)) for block_id in run])
        return self.lost_blocks()

    # -- inside --

    def _record(self, block_id: BlockId) -> np.void:
        if not self.first_block <= block_id < self.num_blocks:
            raise NotFound(f"{self.folder} has no block {block_id}: it holds {self.num_blocks - self.first_block}.")
        return self._records[block_id - self.first_block]

    def _path(self, segment: int) -> Path:
        return self.folder / segment_name(segment)

    def _note_lost(self, run: Sequence[BlockId], read: list[bytes | None]) -> list[bytes | None]:
        self._lost.update(block_id for block_id, head in zip(run, read, strict=True) if head is None)
        return read

    def _check_writable(self) -> None:
        assert not self._read_only, "a log opened to read takes no blocks"
        if self._is_torn:
            raise StorageFull(f"Writing to {self.folder} failed before: free space and go on from the last commit.")

    def _segment_for(self, num_bytes: int) -> int:
        """The open file that takes the next block."""
        is_full = self._num_in_segment == NUM_RECORDS or self._offset + num_bytes > self._segment_bytes
        if is_full or self._num_in_segment == 0:
            return self._begin_segment()
        if self._descriptor is None:
            self._descriptor = os.open(self._path(self._segment), os.O_RDWR)
        return self._descriptor

    def _begin_segment(self) -> int:
        if self._descriptor is not None:
            os.fsync(self._descriptor)
        self.close()
        if self._num_in_segment:
            self._segment += 1
        self._has_new_names = True
        self.folder.mkdir(exist_ok=True)
        self._descriptor = os.open(self._path(self._segment), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        write_at(self._descriptor, [make_header(self._segment)], 0)
        self._num_in_segment, self._offset = 0, FIRST_OFFSET
        return self._descriptor

    def _num_fitting(self, blocks: Sequence[NewBlock]) -> int:
        """How many of the next blocks one call writes into the open segment: the first, and those that fit behind."""
        most, end = min(NUM_RECORDS - self._num_in_segment, _BLOCKS_A_RUN), self._offset
        for index, block in enumerate(blocks[:most]):
            end += block.num_bytes
            if index and end > self._segment_bytes:
                return index
        return min(most, len(blocks))

    def _records_of(self, blocks: Sequence[NewBlock]) -> list[bytes]:
        """Of blocks that come next, behind each other in the open segment."""
        records, offset = [], self._offset
        for block_id, block in enumerate(blocks, start=self.num_blocks):
            record = make_record(
                BlockId(block_id),
                segment=self._segment,
                offset=offset,
                head_bytes=len(block.head),
                body_bytes=memoryview(block.body).nbytes,
                payload_crc32=crc32(block.body, crc32(block.head)),
                num_tokens=block.num_tokens,
                span=block.span,
            )
            records.append(record)
            offset += block.num_bytes
        return records

    def _remember(self, written: bytes) -> None:
        """Take up the records of blocks that were written into the open segment."""
        records = np.frombuffer(written, RECORD)
        before = self.num_blocks - self.first_block
        after = before + len(records)
        if after > len(self._records):
            grown = np.zeros(max(64, before * 2, after), RECORD)
            grown[:before] = self._records[:before]
            self._records = grown  # readers keep the old array, which stays as it is
        self._records[before:after] = records
        self._offset = end_of(records[-1])
        self._num_in_segment += len(records)
        self._position = Position(self._segment, self._offset, self.num_blocks + len(records))

    def _restore(self, position: Position) -> None:
        self.close()
        # Which refuses what a newer vidmem wrote.
        self._records, self._lost = load_records(self.folder, self._begin, position)
        self._position = position
        if not self._read_only:
            with translated(self.folder):
                discard_beyond(self.folder, position)
        self._is_torn = False
        self._has_new_names = False
        self._segment, self._offset = position.segment, position.offset
        self._num_in_segment = int((self._records["segment"] == position.segment).sum())
        if self._lost:  # a damaged segment is not written to any more
            self._num_in_segment = NUM_RECORDS


def _named(spans: Sequence[tuple[float, float]]) -> str:
    """Spans as people read them, neighbours joined, not more than a handful."""
    joined: list[list[float]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    names = [f"{format_time(start)}-{format_time(end) if math.isfinite(end) else 'its end'}" for start, end in joined]
    more = len(names) - _SPANS_NAMED
    return ", ".join(names[:_SPANS_NAMED]) + (f" and {more} more stretches" if more > 0 else "")
