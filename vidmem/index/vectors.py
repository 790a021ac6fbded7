"""The vector index: inner-product search over frames, with filters by video and time.

Every vector is looked at in each search, on purpose. Queries are texts, and texts do not lie where frames lie: on
100,000 x 512 vectors with such a gap between both, IVF (512 lists) found 48 % of the true ten best with 8 lists probed
and 80 % with 128, where a flat scan took 14 to 21 ms on one core (docs/decisions/0003-store.md). Vectors are held in 16
bits, which moves a cosine by less than 0.0005 and takes half the bytes and half the time; the catalogue keeps them as
they came. Of very many all are looked at in 2 bits, and the best of these in 16 (`coarse`).
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
from vidmem.index.coarse import COARSE_FROM, MOST_WANTED, NUM_CANDIDATES, fill, learnt, one_thread
from vidmem.index.files import replace_file

INDEX_NAME = "index.faiss"
_FOOTER = struct.Struct("<8sqqq32s")  # magic, last frame id, number of frames, removals, sha256 of all before
_MAGIC = b"vidmemix"
_MOST_GONE = 0.125
"""Of the vectors for the first look, before those that have left are taken out."""


@dataclass(frozen=True, slots=True)
class Matches:
    frame_ids: np.ndarray
    """(n,) int64, best first."""
    scores: np.ndarray
    """(n,) float32 inner products; equal ones are in the order of their ids."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedIndex:
    """The bytes of an index file, and what its footer says."""

    parts: list[memoryview]
    last_frame_id: int
    count: int
    num_removals: int

    def save(self, path: Path) -> None:
        """Replace the file in one step. Raises OSError and leaves the old file if that fails."""
        checksum = hashlib.sha256()
        for part in self.parts:
            checksum.update(part)
        footer = _FOOTER.pack(_MAGIC, self.last_frame_id, self.count, self.num_removals, checksum.digest())
        replace_file(path, *self.parts, footer)


class DamagedIndex(Exception):
    """The index file can't be used; the message says in a word or two why."""


class VectorIndex:
    """Frames' vectors under their frame ids, and beside them each frame's video and span, which filters need.

    `last_frame_id` and `num_removals` say which state of the catalogue it stands for.
    """

    def __init__(self, dim: int) -> None:
        self._faiss: Any = faiss.IndexIDMap2(_flat(dim))
        self._coarse: Any = None
        """The same vectors for the first look, once there are many."""
        self._coarse_ids: np.ndarray | None = None
        """(n,) of the frames in it, where some have left since; None while it holds just those that are here."""
        self._videos: dict[str, int] = {}
        self._columns = _Columns.empty()
        self._pending: list[_Columns] = []
        self.last_frame_id = 0
        self.num_removals = 0

    def __len__(self) -> int:
        return self._faiss.ntotal

    def add(self, rows: IndexRows) -> None:
        """Append frames whose ids come after all that are there."""
        vectors = as_held(rows.vectors)  # rounded here: FAISS rounds what lies half-way otherwise than numpy
        self._faiss.add_with_ids(vectors, rows.frame_ids)
        if self._coarse is not None:
            fill(self._coarse, vectors)
            if self._coarse_ids is not None:
                self._coarse_ids = np.concatenate([self._coarse_ids, rows.frame_ids])
        self._begin_coarse()
        self.describe(rows)

    def _begin_coarse(self) -> None:
        if self._coarse is None and len(self) >= COARSE_FROM:
            vectors = self.vectors()
            self._coarse = learnt(vectors)
            fill(self._coarse, vectors)

    def keep_only(self, frame_ids: np.ndarray) -> None:
        """Let all frames go but these, of ascending ids (n,)."""
        held = self.frame_ids()
        gone = held[~np.isin(held, frame_ids, assume_unique=True)]
        if not len(gone):
            return
        self._faiss.remove_ids(gone)
        if self._coarse is not None and self._coarse_ids is None:
            self._coarse_ids = held
        columns = self._merged()
        stays = np.isin(columns.frame_ids, frame_ids, assume_unique=True)
        self._columns = _Columns(columns.frame_ids[stays], columns.videos[stays], columns.spans[stays])
        if self._coarse_ids is not None and len(self._coarse_ids) - len(self) > _MOST_GONE * len(self._coarse_ids):
            self._renew_coarse()

    def _renew_coarse(self) -> None:
        """Drop from the first look what has left: it can only be filled anew, at 5 us a vector."""
        self._coarse_ids = None
        if len(self) < COARSE_FROM:
            self._coarse = None
        elif self._coarse is not None:
            self._coarse.reset()
            fill(self._coarse, self.vectors())

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
        with one_thread():  # FAISS shares out queries, not vectors: of one query other threads get nothing
            return self._search(query.reshape(1, -1), k, self._among(query.reshape(1, -1), k, video_ids, start, end))

    def _search(self, query: np.ndarray, k: int, among: np.ndarray | None) -> Matches:
        parameters = None
        if among is not None:
            # A bit an id: 100,000 frames take 12 KB, and the scan passes over the rest at a tenth of the cost.
            bits = np.zeros(self.last_frame_id + 1, dtype=bool)
            bits[among] = True
            packed = np.packbits(bits, bitorder="little")  # has to outlive the selector, which only points to it
            selector = faiss.IDSelectorBitmap(packed)  # type: ignore[call-arg,arg-type]
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, ids = self._faiss.search(query, k, params=parameters)
        found = ids[0] >= 0
        ids, scores = ids[0][found], scores[0][found]
        order = np.lexsort((ids, -scores))
        return Matches(ids[order], scores[order])

    def _among(
        self, query: np.ndarray, k: int, video_ids: Collection[str] | None, start: float | None, end: float | None
    ) -> np.ndarray | None:
        """Ids of the frames to look at in 16 bits: those that pass the filters, or the best of these; None is all."""
        are_all = video_ids is None or self._videos.keys() <= set(video_ids)
        passes = None
        if not are_all or start is not None or end is not None:
            passes = self._meets(self._merged(), video_ids, start, end)
        num_passing = len(self) if passes is None else np.count_nonzero(passes)
        if self._coarse is not None and num_passing >= COARSE_FROM and k <= MOST_WANTED:
            places = self._places(self._coarse.search(query, NUM_CANDIDATES)[1][0])
            places = places if passes is None else places[passes[places]]
            # Those left are the best of all that pass. They may be too few: what passes is less alike than the rest.
            if len(places) >= NUM_CANDIDATES // 2:
                return self._merged().frame_ids[places]
        return None if passes is None else self._merged().frame_ids[passes]

    def _places(self, coarse: np.ndarray) -> np.ndarray:
        """Places among the frames that are here, of places (n,) of the first look."""
        if self._coarse_ids is None:
            return coarse
        ids, here = self._coarse_ids[coarse], self._merged().frame_ids
        places = np.minimum(np.searchsorted(here, ids), len(here) - 1)
        return places[here[places] == ids]

    def save(self, path: Path) -> None:
        """Replace the file in one step. Raises OSError and leaves the old file if that fails."""
        self.packed().save(path)

    def packed(self) -> PackedIndex:
        """A copy of the whole, on its way to the disk: what the index takes up meanwhile is not in it."""
        if self._coarse_ids is not None:
            self._renew_coarse()
        indexes = [self._faiss] if self._coarse is None else [self._faiss, self._coarse]
        parts = [faiss.serialize_index(index).data for index in indexes]
        return PackedIndex(parts, self.last_frame_id, len(self), self.num_removals)

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
        reader: Any = faiss.VectorIOReader()
        faiss.copy_array_to_vector(body, reader.data)
        try:
            index._faiss = faiss.read_index(reader)
            if reader.rp < len(body):
                index._coarse = faiss.read_index(reader)
        except RuntimeError as error:
            raise DamagedIndex("damaged") from error
        index.last_frame_id, index.num_removals = last_frame_id, removals
        if not isinstance(index._faiss, faiss.IndexIDMap2) or index._faiss.d != dim or len(index) != count:
            raise DamagedIndex("of another store")
        if not isinstance(faiss.downcast_index(index._faiss.index), faiss.IndexScalarQuantizer):
            raise DamagedIndex("of an earlier version")
        if index._coarse is not None and index._coarse.ntotal != count:
            raise DamagedIndex("of another store")
        index._begin_coarse()
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
    return np.ascontiguousarray(vectors).astype(np.float16).astype(np.float32)


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
