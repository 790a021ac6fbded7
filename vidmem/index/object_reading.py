"""What can be asked of the objects of an open store."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from vidmem.checksum import crc32
from vidmem.errors import NotFound, StoreCorrupt
from vidmem.index.catalogue import Catalogue
from vidmem.index.folder import inside
from vidmem.index.following import follow_looks
from vidmem.index.object_rows import ObjectRows
from vidmem.index.objects import ObjectHit, ObjectId, StoredLook, StoredObject, Track
from vidmem.index.opened import OpenStore
from vidmem.index.tracks import joined, unpack_track
from vidmem.index.vectors import VectorIndex
from vidmem.types import Span, VideoId

_LOOKS_AN_OBJECT = 4
"""How many times as many looks as objects are asked for at first: several of the best may be of one object."""


class ObjectReader(OpenStore):
    """The objects' part of `StoreReader`. A store that no object has come to has none."""

    def objects(self, video_ids: Collection[VideoId] | None = None) -> list[StoredObject]:
        """The objects of all videos, or of some, in the order they came. Raises NotFound for an unknown video."""
        with self._transaction() as catalogue:
            for video_id in video_ids or ():
                self._check_known(catalogue, video_id)
            rows = ObjectRows.of(catalogue)
            if rows is None:
                return []
            found = rows.objects(video_ids)
            spans = rows.spans([row[0] for row in found])
        return [self._object(row, spans.get(row[0], ())) for row in found]

    def object(self, object_id: ObjectId) -> StoredObject:
        """Raises NotFound."""
        with self._transaction() as catalogue:
            rows = self._object_rows(catalogue, object_id)
            found = rows.find(object_id)
            spans = rows.spans([object_id])
        assert found is not None
        return self._object(found, spans.get(object_id, ()))

    def track_of(self, object_id: ObjectId, start: float | None = None, end: float | None = None) -> Track:
        """Where an object was at the times within `[start, end)`; by default its whole track.

        Times and scores are what they were; a side of a box is rounded by less than 1/65535 of the frame.

        Raises:
            NotFound: there is no such object.
            StoreCorrupt: its track is damaged.
        """
        start, end = -np.inf if start is None else start, np.inf if end is None else end
        with self._transaction() as catalogue:
            pieces = self._object_rows(catalogue, object_id).pieces(object_id, start, end)
        try:
            track = joined([unpack_track(data) for data in pieces])
        except ValueError as error:
            raise StoreCorrupt(self._damaged_object(object_id, "track")) from error
        chosen = (track.seconds >= start) & (track.seconds < end)
        return Track(track.seconds[chosen], track.boxes[chosen], track.scores[chosen])

    def looks_of(self, object_id: ObjectId) -> list[StoredLook]:
        """An object at its key moments, in time order. Raises NotFound, and StoreCorrupt if a mask is damaged."""
        with self._transaction() as catalogue:
            rows = self._object_rows(catalogue, object_id).looks(object_id)
        return [self._look(object_id, row) for row in rows]

    def search_objects(
        self, query: np.ndarray, k: int, video_ids: Collection[VideoId] | None = None
    ) -> list[ObjectHit]:
        """The k objects with the looks most alike to a query, best first, each once. Exact, as `search` is.

        Args:
            query: (C,) of unit length, float32.
            video_ids: search only these.

        Raises:
            NotFound: one of `video_ids` is not in the store.
            ValueError: the query is not (C,) or not finite, or k < 1.
        """
        query = self._checked_query(query, k)
        with self._transaction() as catalogue:
            for video_id in video_ids or ():
                self._check_known(catalogue, video_id)
            rows = ObjectRows.of(catalogue)
            if rows is None:
                return []
            self._looks = follow_looks(self._looks, rows, self.identity.embedding_dim)
            best = _best_looks(self._looks, rows, query, k, video_ids)
        return [
            ObjectHit(object_id, VideoId(video_id), score, seconds, str(inside(self.path, crop)))
            for score, (_, object_id, video_id, seconds, crop) in best
        ]

    # -- within --

    def _object_rows(self, catalogue: Catalogue, object_id: int) -> ObjectRows:
        """The rows, which hold this object. Raises NotFound."""
        rows = ObjectRows.of(catalogue)
        if rows is None or rows.video_of(object_id) is None:
            raise NotFound(f"No object {object_id} in {self.path}: it, or its video, may have been removed.")
        return rows

    def _object(self, row: tuple, spans: tuple[Span, ...]) -> StoredObject:
        object_id, video_id, label, label_score, origin, added_at, first, last, num_looks, crop = row
        path = str(inside(self.path, crop)) if crop is not None else None
        return StoredObject(
            object_id, video_id, label, label_score, origin, added_at, spans, first, last, num_looks, path
        )

    def _look(self, object_id: int, row: tuple) -> StoredLook:
        seconds, left, top, right, bottom, height, width, mask_crc32, mask, vector, crop = row
        if crc32(mask) != mask_crc32:
            raise StoreCorrupt(self._damaged_object(object_id, "mask"))
        embedding = np.frombuffer(vector, dtype="<f4")
        path = str(inside(self.path, crop))
        return StoredLook(seconds, (left, top, right, bottom), (height, width), mask, embedding, path)

    def _damaged_object(self, object_id: int, what: str) -> str:
        return (
            f"The {what} of object {object_id} in {self.path} is damaged: put back a copy of the store, or remove the"
            " object and track it again."
        )


def _best_looks(
    index: VectorIndex, rows: ObjectRows, query: np.ndarray, k: int, video_ids: Collection[str] | None
) -> list[tuple[float, tuple]]:
    """Score and columns (look_id, object_id, video_id, seconds, crop_file) of the k best looks of different objects."""
    num_looks = k
    while True:
        num_looks = min(_LOOKS_AN_OBJECT * num_looks, len(index))
        found = index.search(query, num_looks, video_ids=video_ids)
        columns = rows.found(found.frame_ids.tolist())
        best: dict[int, tuple[float, tuple]] = {}
        for look_id, score in zip(found.frame_ids.tolist(), found.scores.tolist(), strict=True):
            best.setdefault(columns[look_id][1], (score, columns[look_id]))
        if len(best) >= k or len(found.frame_ids) < num_looks or num_looks == len(index):
            return list(best.values())[:k]
