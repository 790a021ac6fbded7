"""Where the logs of KV blocks lie in a store: one folder a video, durable up to what the catalogue says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from vidmem.index.catalogue import Catalogue
from vidmem.index.expired_rows import ExpiredRows
from vidmem.index.folder import KV, inside
from vidmem.index.rows import are_in_order
from vidmem.kv.records import Beginning, Position
from vidmem.kv.recovery import discard_before, discard_beyond
from vidmem.kv.segments import SegmentLog


def blocks_folder(store: Path, video_id: str) -> Path:
    """The folder of one video's log. Raises StoreCorrupt for an id that leads out of the store."""
    return inside(store, f"{KV}/{video_id}")


def discard_uncommitted(store: Path, catalogue: Catalogue) -> None:
    """Cut the logs of unfinished videos back to their last committed clip, a finished one has nothing behind it; and
    remove segments before a log's beginning."""
    begins = beginnings(catalogue)
    for video in catalogue.videos():
        folder = blocks_folder(store, video.video_id)
        if not video.is_finished and folder.is_dir():
            discard_beyond(folder, catalogue.blocks_position(video.video_id))
        if video.video_id in begins and folder.is_dir():
            discard_before(folder, begins[video.video_id])


def beginnings(catalogue: Catalogue) -> dict[str, Beginning]:
    """Where the logs begin that do not begin with their video's first block, by video id."""
    rows = ExpiredRows.of(catalogue)
    return {} if rows is None else {video_id: found.begin for video_id, found in rows.all().items()}


def remove_blocks(folder: Path) -> None:
    """Remove a video's log, as far as it can be: what stays is a leftover, which the next opening removes."""
    with suppress(OSError):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()


def blocks_bytes(store: Path, video_ids: Iterable[str]) -> int:
    """Bytes of the logs of some videos on disk."""
    total = 0
    for video_id in video_ids:  # not by looking into the folder, which has a file for each clip
        with suppress(FileNotFoundError), os.scandir(blocks_folder(store, video_id)) as files:
            for file in files:
                with suppress(FileNotFoundError):  # a writer may just remove it
                    total += file.stat().st_size
    return total


def order_problems(catalogue: Catalogue) -> Iterator[str]:
    """One sentence for each video whose frames don't hold its blocks in order, clip by clip."""
    rows = ExpiredRows.of(catalogue)
    for video in catalogue.videos():
        start, until = 0, 0.0 if rows is None else rows.find(video.video_id).until
        for begun, block_ids, end in catalogue.blocks_by_clip(video.video_id):
            known = [block_id for block_id in block_ids if block_id is not None]
            if until and known:  # clips that have left left gaps, the last of them before the first that had not to
                start = max(start, known[0])
                until = until if begun < until else 0.0
            if end is None or len(known) < len(block_ids) or not are_in_order(known, start, end):
                yield f"The catalogue names KV blocks of {video.name} out of order: remove it and ingest it anew."
                break
            start = end


def blocks_problems(store: Path, positions: Mapping[str, Position], begins: Mapping[str, Beginning]) -> Iterator[str]:
    """One sentence for each video some of whose blocks are damaged or gone. Reads every block."""
    for video_id, position in positions.items():
        log = SegmentLog(blocks_folder(store, video_id), position, begin=begins.get(video_id), read_only=True)
        try:
            lost = [
                block for part in log.verify() for block in range(part.first_block, part.first_block + part.num_blocks)
            ]
            if lost:
                yield str(log.lost(lost))  # type: ignore[arg-type]
        finally:
            log.close()
