"""The vector index: exact inner-product search over frames, with filters by video and time.

Flat at every size, on purpose. Queries are texts, and texts do not lie where frames lie: on 100,000 x 512 vectors
with such a gap between both, IVF (512 lists) found 48 % of the true ten best with 8 lists probed and 80 % with 128,
where a flat scan took 14 to 21 ms on one core (docs/decisions/0003-store.md). Vectors are held in 16 bits, which moves
a cosine by less than 0.0005 and takes half the bytes and half the time; the catalogue keeps them as they came.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from vidmem.index.catalogue import IndexRows
from vidmem.index.files import replace_file

INDEX_NAME = "index.faiss"
_FOOTER = struct.Struct("<8sqqq32s")  # magic, last frame id, number of frames, removals, sha256 of all before
_MAGIC = b"vidmemix"


@dataclass(frozen=True, slots=True)
class Matches:
    frame_ids: np.ndarray
    """(n,) int64, best first."""
    scores: np.ndarray
    """(n,) float32 inner products; equal ones are in the order of their ids."""


class DamagedIndex(Exception):
    """The index file can't be used; the message says in a word or two why."""


class VectorIndex:
    """Frames' vectors under their frame ids, and beside them each frame's video and span, which filters need.

    `last_frame_id` and `num_removals` say which state of the catalogue it stands for.
    """

    def __init__(self, dim: int) -> None:
        self._faiss: Any = faiss.IndexIDMap2(_flat(dim))
        self._videos: dict[str, int] = {}
        self._columns = _Columns.empty()
        self._pending: list[_Columns] = []
        self.last_frame_id = 0
        self.num_removals = 0

    def __len__(self) -> int:
        return self._faiss.ntotal

    def add(self, rows: IndexRows) -> None:
        """Append frames whose ids come after all that are there."""
        self._faiss.add_with_ids(np.ascontiguousarray(rows.vectors, dtype=np.float32), rows.frame_ids)
        self.describe(rows)

    def describe(self, rows: IndexRows) -> None:
        """Append the videos and spans of frames, not their vectors: for what `load` brought."""
        numbers = [self._videos.setdefault(video_id, len(self._videos)) for video_id in rows.video_ids]
        self._pending.append(_Columns(rows.frame_ids, np.array(numbers, dtype=np.int32), rows.spans))
        self.last_frame_id = int(rows.frame_ids[-1])

    def search(
        self,
        query: np.ndarray,
        k: int,
        *,
        video_ids: Collection[str] | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Matches:
        """The k frames most alike to `query` (C,), of those videos and with spans that meet `[start, end)`."""
        k = min(k, len(self))
        if k == 0:
            return Matches(np.empty(0, np.int64), np.empty(0, np.float32))
        parameters = None
        are_all = video_ids is None or self._videos.keys() <= set(video_ids)
        if not are_all or start is not None or end is not None:
            columns = self._merged()
            chosen = columns.frame_ids[self._meets(columns, video_ids, start, end)]
            # A bit an id: 100,000 frames take 12 KB, and the scan passes over the rest at a tenth of the cost.
            bits = np.zeros(self.last_frame_id + 1, dtype=bool)
            bits[chosen] = True
            packed = np.packbits(bits, bitorder="little")  # has to outlive the selector, which only points to it
            selector = faiss.IDSelectorBitmap(packed)  # type: ignore[call-arg,arg-type]
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, ids = self._faiss.search(query.reshape(1, -1), k, params=parameters)
        found = ids[0] >= 0
        ids, scores = ids[0][found], scores[0][found]
        order = np.lexsort((ids, -scores))
        return Matches(ids[order], scores[order])

    def save(self, path: Path) -> None:
        """Replace the file in one step. Raises OSError and leaves the old file if that fails."""
        body = faiss.serialize_index(self._faiss).data
        checksum = hashlib.sha256(body).digest()
        footer = _FOOTER.pack(_MAGIC, self.last_frame_id, len(self), self.num_removals, checksum)
        replace_file(path, body, footer)

    @classmethod
    def load(cls, path: Path, dim: int) -> VectorIndex:
        """Read an index file; FAISS reads only bytes whose checksum holds. Raises DamagedIndex."""
        try:
            data = np.fromfile(path, dtype=np.uint8)
        except FileNotFoundError as error:
            raise DamagedIndex("gone") from error
        if len(data) < _FOOTER.size:
            raise DamagedIndex("cut")
        body = data[: -_FOOTER.size]
        magic, last_frame_id, count, removals, checksum = _FOOTER.unpack(data[-_FOOTER.size :].tobytes())
        if magic != _MAGIC:
            raise DamagedIndex("cut")
        if hashlib.sha256(body.data).digest() != checksum:
            raise DamagedIndex("damaged")
        index = cls(dim)
        try:
            index._faiss = faiss.deserialize_index(body)
        except RuntimeError as error:
            raise DamagedIndex("damaged") from error
        index.last_frame_id, index.num_removals = last_frame_id, removals
        if not isinstance(index._faiss, faiss.IndexIDMap2) or index._faiss.d != dim or len(index) != count:
            raise DamagedIndex("of another store")
        if not isinstance(faiss.downcast_index(index._faiss.index), faiss.IndexScalarQuantizer):
            raise DamagedIndex("of an earlier version")
        return index

    def frame_ids(self) -> np.ndarray:
        return faiss.vector_to_array(self._faiss.id_map)

    def vectors(self) -> np.ndarray:
        """All vectors (n, C) as they are held, in the order of `frame_ids`."""
        flat = faiss.downcast_index(self._faiss.index)
        return flat.reconstruct_n(0, len(self)) if len(self) else np.empty((0, flat.d), np.float32)

    def _merged(self) -> _Columns:
        if self._pending:
            parts = [self._columns, *self._pending]
            self._columns = _Columns(
                np.concatenate([part.frame_ids for part in parts]),
                np.concatenate([part.videos for part in parts]),
                np.concatenate([part.spans for part in parts]),
            )
            self._pending.clear()
        return self._columns

    def _meets(
        self, columns: _Columns, video_ids: Collection[str] | None, start: float | None, end: float | None
    ) -> np.ndarray:
        starts, ends = columns.spans.T
        mask = np.ones(len(starts), dtype=bool)
        if video_ids is not None:
            numbers = [self._videos[video_id] for video_id in video_ids if video_id in self._videos]
            mask &= np.isin(columns.videos, numbers)
        if end is not None:
            mask &= starts < end
        if start is not None:
            mask &= (ends > start) | (starts >= start)
        return mask


def as_held(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, C) rounded to what the index holds of them: float32 of 16 bits."""
    return vectors.astype(np.float16).astype(np.float32)


def _flat(dim: int) -> Any:
    return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    frame_ids: np.ndarray
    videos: np.ndarray
    spans: np.ndarray

    @classmethod
    def empty(cls) -> _Columns:
        return cls(np.empty(0, np.int64), np.empty(0, np.int32), np.empty((0, 2), np.float64))
