"""The catalogue's rows of objects. A catalogue that no object has come to does not have their tables."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

import numpy as np

from vidmem.checksum import crc32
from vidmem.index.catalogue import LISTED, Catalogue, IndexRows, Thumbnail, now, stacked
from vidmem.index.objects import Look, Origin, Track
from vidmem.index.schema import OBJECTS
from vidmem.index.tracks import pack_track
from vidmem.types import Span

_OBJECT = (
    "SELECT object_id, video_id, label, label_score, origin, added_at,"
    " (SELECT min(first_seconds) FROM object_pieces AS p WHERE p.object_id = objects.object_id),"
    " (SELECT max(last_seconds) FROM object_pieces AS p WHERE p.object_id = objects.object_id),"
    " (SELECT count(*) FROM looks WHERE looks.object_id = objects.object_id),"
    " (SELECT crop_file FROM looks WHERE looks.object_id = objects.object_id"
    "  ORDER BY seconds DESC, look_id DESC LIMIT 1)"
    " FROM objects"
)


class ObjectRows:
    """Queries on the objects of one open catalogue. Each runs inside the `transaction` of its caller."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._run = catalogue.connection.execute

    @classmethod
    def of(cls, catalogue: Catalogue) -> ObjectRows | None:
        """None if the catalogue has no tables of objects. Asked anew each time: another process may make them."""
        rows = cls(catalogue)
        found = rows._one("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'objects'")
        return rows if found else None

    @classmethod
    def made(cls, catalogue: Catalogue) -> ObjectRows:
        """With the tables, which are made if they are not there, in the caller's writing transaction."""
        rows = cls.of(catalogue)
        if rows is None:
            rows = cls(catalogue)
            for statement in OBJECTS:
                rows._run(statement)
        return rows

    # -- objects --

    def add(self, video_id: str, label: str, label_score: float, origin: Origin) -> int:
        """Returns its id."""
        cursor = self._run(
            "INSERT INTO objects VALUES (NULL, ?, ?, ?, ?, ?)", (video_id, label, float(label_score), origin, now())
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def objects(self, video_ids: Collection[str] | None = None) -> list[tuple]:
        """Columns (object_id, video_id, label, label_score, origin, added_at, tracked_from, tracked_until, num_looks,
        crop_file of the newest look), in the order the objects came, of all videos or of some."""
        if video_ids is None:
            return self._run(f"{_OBJECT} ORDER BY object_id").fetchall()
        listed = json.dumps(list(video_ids))
        return self._run(f"{_OBJECT} WHERE video_id IN {LISTED} ORDER BY object_id", (listed,)).fetchall()

    def find(self, object_id: int) -> tuple | None:
        """Columns as `objects` has them."""
        return self._run(f"{_OBJECT} WHERE object_id = ?", (object_id,)).fetchone()

    def video_of(self, object_id: int) -> str | None:
        row = self._run("SELECT video_id FROM objects WHERE object_id = ?", (object_id,)).fetchone()
        return row[0] if row else None

    def set_label(self, object_id: int, label: str, label_score: float) -> None:
        self._run(
            "UPDATE objects SET label = ?, label_score = ? WHERE object_id = ?", (label, float(label_score), object_id)
        )

    def remove(self, object_id: int) -> None:
        """Remove an object with all its rows."""
        self._run("DELETE FROM objects WHERE object_id = ?", (object_id,))
        self._run("UPDATE object_store SET removals = removals + 1")

    # -- tracks and spans --

    def last_seconds(self, object_id: int) -> float | None:
        """Time of the last box of its track."""
        return self._one("SELECT max(last_seconds) FROM object_pieces WHERE object_id = ?", object_id)

    def add_piece(self, object_id: int, track: Track) -> None:
        first, last = float(track.seconds[0]), float(track.seconds[-1])
        self._run("INSERT INTO object_pieces VALUES (?, ?, ?, ?)", (object_id, first, last, pack_track(track)))

    def pieces(self, object_id: int, start: float, end: float) -> list[bytes]:
        """Packed pieces of its track that hold a time in `[start, end)`, in time order, and others beside them."""
        rows = self._run(
            "SELECT data FROM object_pieces WHERE object_id = ? AND first_seconds < ? AND last_seconds >= ?"
            " ORDER BY first_seconds",
            (object_id, end, start),
        )
        return [row[0] for row in rows]

    def all_pieces(self) -> Iterator[tuple[int, float, float, bytes]]:
        """Columns (object_id, first_seconds, last_seconds, data) of every piece."""
        return self._run("SELECT * FROM object_pieces ORDER BY object_id, first_seconds")

    def spans(self, object_ids: Sequence[int]) -> dict[int, tuple[Span, ...]]:
        """The spans of each object that has any, in time order."""
        rows = self._run(
            f"SELECT * FROM object_spans WHERE object_id IN {LISTED} ORDER BY object_id, start_seconds",
            (json.dumps(list(object_ids)),),
        )
        return {
            object_id: tuple(Span(start, end) for _, start, end in group)
            for object_id, group in groupby(rows, key=lambda row: row[0])
        }

    def last_span(self, object_id: int) -> Span | None:
        row = self._run(
            "SELECT start_seconds, end_seconds FROM object_spans WHERE object_id = ?"
            " ORDER BY start_seconds DESC LIMIT 1",
            (object_id,),
        ).fetchone()
        return Span(*row) if row else None

    def put_span(self, object_id: int, span: Span) -> None:
        """Add a span, or give the one with its start its end."""
        self._run(
            "INSERT OR REPLACE INTO object_spans VALUES (?, ?, ?)", (object_id, float(span.start), float(span.end))
        )

    # -- looks --

    def next_look_id(self) -> int:
        row = self._run("SELECT seq FROM sqlite_sequence WHERE name = 'looks'").fetchone()
        return row[0] + 1 if row else 1

    def add_look(self, look_id: int, object_id: int, look: Look, crop: Thumbnail) -> None:
        picture = (crop.name, crop.num_bytes, crop.crc32)
        self._run(
            f"INSERT INTO looks VALUES ({', '.join('?' * 14)})",
            (look_id, object_id, look.seconds, *look.box, *picture, *look.mask_size, crc32(look.mask), look.mask),
        )
        self._run("INSERT INTO look_embeddings VALUES (?, ?)", (look_id, look.embedding.astype("<f4").tobytes()))

    def looks(self, object_id: int) -> list[tuple]:
        """Columns (seconds, left, top, right, bottom, mask_height, mask_width, mask_crc32, mask, vector, crop_file) of
        an object's looks, in time order."""
        return self._run(
            "SELECT seconds, box_left, box_top, box_right, box_bottom, mask_height, mask_width, mask_crc32, mask,"
            " vector, crop_file FROM looks JOIN look_embeddings USING (look_id)"
            " WHERE object_id = ? ORDER BY seconds, look_id",
            (object_id,),
        ).fetchall()

    def all_looks(self) -> Iterator[tuple[int, float, int, bytes, bytes | None]]:
        """Columns (object_id, seconds, mask_crc32, mask, vector) of every look."""
        return self._run(
            "SELECT object_id, seconds, mask_crc32, mask, vector FROM looks LEFT JOIN look_embeddings USING (look_id)"
        )

    def found(self, look_ids: Sequence[int]) -> dict[int, tuple]:
        """Columns (look_id, object_id, video_id, seconds, crop_file) by look id."""
        rows = self._run(
            "SELECT look_id, object_id, video_id, seconds, crop_file FROM looks JOIN objects USING (object_id)"
            f" WHERE look_id IN {LISTED}",
            (json.dumps(list(look_ids)),),
        )
        return {row[0]: row for row in rows}

    def crops(self) -> list[Thumbnail]:
        """Every crop that the catalogue names."""
        return [Thumbnail(*row) for row in self._run("SELECT crop_file, crop_bytes, crop_crc32 FROM looks")]

    def crops_of(self, object_id: int) -> list[str]:
        """Names of the crops of one object."""
        return [row[0] for row in self._run("SELECT crop_file FROM looks WHERE object_id = ?", (object_id,))]

    def crops_in(self, video_id: str) -> list[str]:
        """Names of the crops of all objects of one video."""
        rows = self._run("SELECT crop_file FROM looks JOIN objects USING (object_id) WHERE video_id = ?", (video_id,))
        return [row[0] for row in rows]

    # -- what the index and the counts need --

    def num_removals(self) -> int:
        """Grows whenever looks leave, be it with their object or with their video."""
        return self._one("SELECT (SELECT removals FROM store) + (SELECT removals FROM object_store)")

    def last_look_id(self) -> int:
        return self._one("SELECT coalesce(max(look_id), 0) FROM looks")

    def index_rows(self, after: int, until: int, *, limit: int = 16384) -> Iterator[IndexRows]:
        """Batches of the looks with ids in (after, until]; the span of each is its moment."""
        cursor = self._run(
            "SELECT look_id, video_id, seconds, vector FROM looks JOIN objects USING (object_id)"
            " JOIN look_embeddings USING (look_id) WHERE look_id > ? AND look_id <= ? ORDER BY look_id",
            (after, until),
        )
        while rows := cursor.fetchmany(limit):
            ids, videos, seconds, blobs = zip(*rows, strict=True)
            spans = np.repeat(np.array(seconds, dtype=np.float64)[:, None], 2, axis=1)
            yield IndexRows(np.array(ids, dtype=np.int64), list(videos), spans, stacked(blobs))

    def num_objects(self) -> int:
        return self._one("SELECT count(*) FROM objects")

    def crops_bytes(self) -> int:
        return self._one("SELECT coalesce(sum(crop_bytes), 0) FROM looks")

    def _one(self, query: str, *values: object):  # type: ignore[no-untyped-def]
        return self._run(query, values).fetchone()[0]
