"""The files of one clip: tokens, thumbnails and the memory state after it, on disk before its rows are committed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vidmem.checksum import crc32
from vidmem.index.catalogue import StoredFile, Thumbnail
from vidmem.index.folder import KV, MEMORY, THUMBS
from vidmem.index.newfiles import NewFiles
from vidmem.index.rows import FrameRows
from vidmem.index.segments import row_checksums, tensors_file, tokens_file

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class ClipFiles(NewFiles):
    """What has been written for a clip that is not committed yet."""

    video_id: str
    clip_id: int
    segment: StoredFile | None = None
    memory: StoredFile | None = None
    thumbnails: list[Thumbnail | None] = field(default_factory=list)
    tokens_crc32: list[int] = field(default_factory=list)

    def write(self, frames: FrameRows, memory_state: Mapping[str, Tensor] | None, last_pts: float | None) -> None:
        """Write all; `force` brings it to the disk. `last_pts` is that of the video's frame before. Raises OSError."""
        if len(frames):
            self.segment = self._write_hashed(f"{KV}/{self._stem}.safetensors", tokens_file(frames.tokens))
            self.tokens_crc32 = row_checksums(frames.tokens)
        if memory_state is not None:
            self.memory = self._write_hashed(f"{MEMORY}/{self._stem}.safetensors", tensors_file(memory_state))
        self._write_thumbnails(frames, last_pts)

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
            self.put(name, jpeg)
            self.thumbnails.append(Thumbnail(name, len(jpeg), crc32(jpeg)))

    @property
    def _stem(self) -> str:
        return f"{self.video_id}-{self.clip_id:08d}"

    def _write_hashed(self, name: str, data: bytes) -> StoredFile:
        self.put(name, data)
        return StoredFile(name, len(data), hashlib.sha256(data).hexdigest())


def _milliseconds(pts_seconds: float) -> int:
    return round(pts_seconds * 1000)
