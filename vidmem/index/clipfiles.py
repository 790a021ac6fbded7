"""The files of one clip: tokens, thumbnails and the memory state after it, on disk before its rows are committed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vidmem.checksum import crc32
from vidmem.index.catalogue import StoredFile, Thumbnail
from vidmem.index.files import Syncs, remove_file, write_file
from vidmem.index.folder import KV, MEMORY, THUMBS
from vidmem.index.rows import FrameRows
from vidmem.index.segments import row_checksums, tensors_file, tokens_file

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class ClipFiles:
    """What has been written for a clip that is not committed yet. Its file names were never used before.

    `begun` names every file from before its first byte, so that `discard` misses none.
    """

    store: Path
    video_id: str
    clip_id: int
    segment: StoredFile | None = None
    memory: StoredFile | None = None
    thumbnails: list[Thumbnail | None] = field(default_factory=list)
    tokens_crc32: list[int] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    unsynced: list[int] = field(default_factory=list)
    """Open descriptors of what is not yet forced to the disk."""
    is_sealed: bool = False
    """Set once all rows that name the files stand in the transaction: whatever then befalls its COMMIT, the files may
    belong to a durable clip, and only the next opening can tell."""

    def write(self, frames: FrameRows, memory_state: Mapping[str, Tensor] | None, last_pts: float | None) -> None:
        """Write all; `force` brings it to the disk. `last_pts` is that of the video's frame before. Raises OSError."""
        if len(frames):
            self.segment = self._write_hashed(f"{KV}/{self._stem}.safetensors", tokens_file(frames.tokens))
            self.tokens_crc32 = row_checksums(frames.tokens)
        if memory_state is not None:
            self.memory = self._write_hashed(f"{MEMORY}/{self._stem}.safetensors", tensors_file(memory_state))
        self._write_thumbnails(frames, last_pts)

    def discard(self) -> None:
        """Remove what was written, unless sealed; what stays is a leftover for the next opening."""
        self.close()
        if not self.is_sealed:
            for name in self.begun:
                remove_file(self.store / name)

    def close(self) -> None:
        """Close what `write` left open."""
        while self.unsynced:
            os.close(self.unsynced.pop())

    def _write_thumbnails(self, frames: FrameRows, last_pts: float | None) -> None:
        if not frames.thumbnails:
            self.thumbnails = [None] * len(frames)
            return
        folder = self.store / THUMBS / self.video_id
        if not folder.is_dir():
            folder.mkdir()
        previous = None if last_pts is None else _milliseconds(last_pts)
        for row, (pts, jpeg) in enumerate(zip(frames.pts_seconds.tolist(), frames.thumbnails, strict=True)):
            # Above 1000 fps two frames share a millisecond; the later one then has its clip and row in its name.
            stem = f"{_milliseconds(pts):09d}"
            if _milliseconds(pts) == previous:
                stem += f"-{self.clip_id}-{row}"
            previous = _milliseconds(pts)
            name = f"{THUMBS}/{self.video_id}/{stem}.jpg"
            self._write(name, jpeg)
            self.thumbnails.append(Thumbnail(name, len(jpeg), crc32(jpeg)))

    @property
    def _stem(self) -> str:
        return f"{self.video_id}-{self.clip_id:08d}"

    def _write_hashed(self, name: str, data: bytes) -> StoredFile:
        self._write(name, data)
        return StoredFile(name, len(data), hashlib.sha256(data).hexdigest())

    def _write(self, name: str, data: bytes) -> None:
        self.begun.append(name)
        self.unsynced.append(write_file(self.store / name, data))


def force(written: Sequence[ClipFiles], syncs: Syncs) -> None:
    """Force the files of some clips, and their names, to the disk together. Raises OSError."""
    names = [name for files in written for name in files.begun]
    folders = {name.rpartition("/")[0] for name in names} | {name.partition("/")[0] for name in names}
    last = written[-1]
    for folder in sorted(folders):
        last.unsynced.append(os.open(last.store / folder, os.O_RDONLY))
    syncs.sync([descriptor for files in written for descriptor in files.unsynced])
    for files in written:
        files.close()


def _milliseconds(pts_seconds: float) -> int:
    return round(pts_seconds * 1000)
