"""A full check of a store: every byte that the catalogue has a checksum for, and every file that it does not name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidmem.checksum import crc32
from vidmem.index.catalogue import Catalogue, StoredFile, Thumbnail
from vidmem.index.folder import KV, inside, leftovers
from vidmem.index.following import are_unit_length
from vidmem.index.object_rows import ObjectRows
from vidmem.index.tracks import unpack_track
from vidmem.index.vectors import VectorIndex, as_held
from vidmem.types import format_time


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the catalogue says that the folder holds."""

    files: list[StoredFile]
    thumbnails: list[Thumbnail]
    """Of frames, and crops of objects."""
    block_folders: list[str]
    """Where the videos' logs of KV blocks lie, or would lie."""

    @classmethod
    def of(cls, catalogue: Catalogue) -> Inventory:
        folders = [f"{KV}/{video_id}" for video_id in catalogue.video_ids()]
        objects = ObjectRows.of(catalogue)
        crops = objects.crops() if objects is not None else []
        return cls(catalogue.stored_files(), catalogue.thumbnails() + crops, folders)

    def names(self) -> set[str]:
        """Of files."""
        return {file.name for file in self.files} | {thumbnail.name for thumbnail in self.thumbnails}

    def kept(self) -> set[str]:
        """Names of files, and of folders with all that is in them, that are no leftovers."""
        return self.names().union(self.block_folders)


def file_problems(store: Path, inventory: Inventory) -> Iterator[str]:
    """One sentence for each file that is gone or damaged."""
    for file in inventory.files:
        data = _bytes(inside(store, file.name))
        if data is None:
            yield f"{file.name} is gone."
        elif hashlib.sha256(data).hexdigest() != file.sha256:
            yield f"{file.name} is damaged."
    for thumbnail in inventory.thumbnails:
        data = _bytes(inside(store, thumbnail.name))
        if data is None:
            yield f"{thumbnail.name} is gone."
        elif crc32(data) != thumbnail.crc32:
            yield f"{thumbnail.name} is damaged."


def orphan_problems(store: Path, inventory: Inventory) -> Iterator[str]:
    """One sentence for each file that no committed clip names. Only while nobody writes: a clip begins as orphans."""
    for name in leftovers(store, inventory.kept()):
        yield f"{name} belongs to no committed clip: opening the store for writing removes it."


def index_problems(catalogue: Catalogue, index: VectorIndex) -> Iterator[str]:
    """Compare the index with the catalogue, vector by vector."""
    ids, vectors = index.frame_ids(), index.vectors()
    position = 0
    for rows in catalogue.index_rows(0, catalogue.last_frame_id(), vectors=True):
        place = slice(position, position + len(rows.frame_ids))
        position = place.stop
        if not np.array_equal(ids[place], rows.frame_ids) or not np.array_equal(vectors[place], as_held(rows.vectors)):
            yield "The vector index and the catalogue differ: remove index.faiss, and it is rebuilt."
            return
    if position != len(ids):
        yield "The vector index holds frames that the catalogue lacks: remove index.faiss, and it is rebuilt."


def object_problems(catalogue: Catalogue, dim: int) -> Iterator[str]:
    """One sentence for each object whose track, masks or vectors are damaged."""
    rows = ObjectRows.of(catalogue)
    if rows is None:
        return
    damaged: dict[int, float] = {}
    for object_id, first, last, data in rows.all_pieces():
        if not _is_piece(data, first, last):
            damaged.setdefault(object_id, first)
    for object_id, seconds, mask_crc32, mask, vector in rows.all_looks():
        if crc32(mask) != mask_crc32 or not _is_embedding(vector, dim):
            damaged.setdefault(object_id, seconds)
    for object_id, seconds in sorted(damaged.items()):
        yield f"Object {object_id} is damaged at {format_time(seconds)}: remove it and track it again."


def _is_piece(data: bytes, first: float, last: float) -> bool:
    try:
        seconds = unpack_track(data).seconds
    except ValueError:
        return False
    return len(seconds) > 0 and (seconds[0], seconds[-1]) == (first, last)


def _is_embedding(vector: bytes | None, dim: int) -> bool:
    if vector is None or len(vector) != 4 * dim:
        return False
    return are_unit_length(np.frombuffer(vector, dtype="<f4")[None])


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
