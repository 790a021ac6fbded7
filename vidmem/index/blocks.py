"""Where the logs of KV blocks lie in a store: one folder a video, durable up to what the catalogue says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from vidmem.index.catalogue import Catalogue
from vidmem.index.folder import KV, inside
from vidmem.index.rows import are_in_order
from vidmem.kv.records import Position
from vidmem.kv.recovery import discard_beyond
from vidmem.kv.segments import SegmentLog


def blocks_folder(store: Path, video_id: str) -> Path:
    """The folder of one video's log. Raises StoreCorrupt for an id that leads out of the store."""
    return inside(store, f"{KV}/{video_id}")


def discard_uncommitted(store: Path, catalogue: Catalogue) -> None:
    """Cut the logs of unfinished videos back to their last committed clip. A finished one has nothing behind it."""
    for video in catalogue.videos():
        folder = blocks_folder(store, video.video_id)
        if not video.is_finished and folder.is_dir():
            discard_beyond(folder, catalogue.blocks_position(video.video_id))


def remove_blocks(folder: Path) -> None:
    """Remove a video's log, as far as it can be: what stays is a leftover, which the next opening removes."""
    with suppress(OSError):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()


def blocks_bytes(store: Path) -> int:
    """Bytes of all logs on disk."""
    total = 0
    with os.scandir(store / KV) as folders:
        for folder in folders:
            if folder.is_dir(follow_symlinks=False):
                with suppress(FileNotFoundError), os.scandir(folder) as files:  # a writer may just remove it
                    total += sum(file.stat().st_size for file in files)
    return total


def order_problems(catalogue: Catalogue) -> Iterator[str]:
    """One sentence for each video whose frames don't hold its blocks in order, clip by clip."""
    for video in catalogue.videos():
        start = 0
        for block_ids, end in catalogue.blocks_by_clip(video.video_id):
            known = [block_id for block_id in block_ids if block_id is not None]
            if end is None or len(known) < len(block_ids) or not are_in_order(known, start, end):
                yield f"The catalogue names KV blocks of {video.name} out of order: remove it and ingest it anew."
                break
            start = end


def blocks_problems(store: Path, positions: Mapping[str, Position]) -> Iterator[str]:
    """One sentence for each video some of whose blocks are damaged or gone. Reads every block."""
    for video_id, position in positions.items():
        log = SegmentLog(blocks_folder(store, video_id), position, read_only=True)
        try:
            lost = [
                block for part in log.verify() for block in range(part.first_block, part.first_block + part.num_blocks)
            ]
            if lost:
                yield str(log.lost(lost))  # type: ignore[arg-type]
        finally:
            log.close()
