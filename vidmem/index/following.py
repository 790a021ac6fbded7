"""Keeping the vector index at the state of the catalogue: after opening, and as clips come and videos go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vidmem.errors import StoreCorrupt
from vidmem.index.catalogue import Catalogue, IndexRows
from vidmem.index.object_rows import ObjectRows
from vidmem.index.vectors import INDEX_NAME, DamagedIndex, VectorIndex


def load_index(folder: Path, catalogue: Catalogue, dim: int) -> tuple[VectorIndex, str | None]:
    """Read the index file, as far as it agrees with the catalogue; else start an empty one and say why.

    The file may be behind the catalogue, never beside it: what has left is taken out, `follow` adds what it lacks.
    """
    try:
        index = VectorIndex.load(folder / INDEX_NAME, dim)
        if index.num_removals > catalogue.num_removals():
            raise DamagedIndex("stale")
        _drop_removed(index, catalogue)
        if len(index) != catalogue.num_frames_until(index.last_frame_id):
            raise DamagedIndex("stale")
    except DamagedIndex as error:
        num_frames = catalogue.num_frames_until(catalogue.last_frame_id())
        frames = "1 frame" if num_frames == 1 else f"{num_frames} frames"
        notice = f"{folder / INDEX_NAME} was {error}: it was rebuilt from the catalogue ({frames})."
        return _emptied(catalogue, dim), notice
    for rows in catalogue.index_rows(0, index.last_frame_id, vectors=False):
        index.describe(rows)
    return index, None


def follow(index: VectorIndex, catalogue: Catalogue, dim: int) -> None:
    """Bring the index to the catalogue's present state: drop frames that have left, and add new ones.

    Raises StoreCorrupt if the vectors can't be right.
    """
    _drop_removed(index, catalogue)
    last_frame_id = catalogue.last_frame_id()
    if last_frame_id > index.last_frame_id:
        _extend(index, catalogue.index_rows(index.last_frame_id, last_frame_id, vectors=True), dim)


def follow_looks(index: VectorIndex | None, rows: ObjectRows, dim: int) -> VectorIndex:
    """The same for the index of looks at objects, whose numbers stand where those of frames do. It is of this opening
    alone, and None before it was first needed: looks are few beside frames."""
    num_removals = rows.num_removals()
    if index is None or index.num_removals != num_removals:
        index = VectorIndex(dim)
        index.num_removals = num_removals
    last_look_id = rows.last_look_id()
    if last_look_id > index.last_frame_id:
        _extend(index, rows.index_rows(index.last_frame_id, last_look_id), dim)
    return index


def _drop_removed(index: VectorIndex, catalogue: Catalogue) -> None:
    """No id is given out twice, so that what is left of those that the index knows says it all."""
    num_removals = catalogue.num_removals()
    if index.num_removals != num_removals:
        index.keep_only(catalogue.frame_ids(index.last_frame_id))
        index.num_removals = num_removals


def _extend(index: VectorIndex, batches: Iterator[IndexRows], dim: int) -> None:
    for rows in batches:
        if rows.vectors.shape[1] != dim or not are_unit_length(rows.vectors):
            raise StoreCorrupt("The catalogue holds damaged embeddings: put back a copy of the store.")
        index.add(rows)


def _emptied(catalogue: Catalogue, dim: int) -> VectorIndex:
    index = VectorIndex(dim)
    index.num_removals = catalogue.num_removals()
    return index


def are_unit_length(vectors: np.ndarray) -> bool:
    """Whether vectors (n, C) from the catalogue can be embeddings."""
    return bool((np.abs(np.linalg.norm(vectors, axis=1) - 1.0) < 1e-2).all())
