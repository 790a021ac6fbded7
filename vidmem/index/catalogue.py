"""`catalogue.sqlite`: the only truth on what the store holds. A file that it does not name is no part of the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from vidmem.errors import StorageFull, StoreCorrupt
from vidmem.index.rows import FrameId, LandmarkRow, StoredVideo, VideoRow
from vidmem.index.schema import HAS_BLOCKS, SCHEMA
from vidmem.kv.records import Position
from vidmem.types import Span, VideoId

CATALOGUE_NAME = "catalogue.sqlite"
_APPLICATION_ID = 0x7669646D  # "vidm"
_BUSY_SECONDS = 10.0
_CACHE_KIB = 16384
_JOURNAL_PAGES = 256  # 4 MiB; SQLite's own 1000 would let the journal of a small store outgrow it
_VIDEO_FIELDS = tuple(field.name for field in fields(VideoRow))
_STORED_FIELDS = tuple(
    field.name for field in fields(StoredVideo) if field.name not in (*_VIDEO_FIELDS, "num_clips", "num_frames")
)
_VIDEO_COLUMNS = (
    ", ".join(_VIDEO_FIELDS + _STORED_FIELDS)
    + ", (SELECT count(*) FROM clips WHERE clips.video_id = videos.video_id) AS num_clips"
    + ", (SELECT count(*) FROM frames WHERE frames.video_id = videos.video_id) AS num_frames"
)


class CommitUnsure(Exception):
    """COMMIT itself failed: whether the transaction is durable is known only once the catalogue is opened again."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as the catalogue names it: its path within the store, length and checksum (hex)."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Thumbnail:
    name: str
    num_bytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one frame's tokens lie: a row of a segment file, and the checksum of that row's bytes."""

    frame_id: FrameId
    segment_file: str
    row: int
    crc32: int


@dataclass(frozen=True, slots=True, eq=False)
class IndexRows:
    """Frames on their way from the catalogue into the index, in the order of their ids."""

    frame_ids: np.ndarray
    video_ids: list[str]
    spans: np.ndarray
    vectors: np.ndarray


class Catalogue:
    """Queries on one open catalogue. Each runs inside the `transaction` of its caller."""

    def __init__(self, connection: sqlite3.Connection, user_version: int) -> None:
        self._connection = connection
        self._run = connection.execute
        self._has_blocks = user_version >= HAS_BLOCKS
        block = (
            ", block_id FROM frames LEFT JOIN kv_frames USING (frame_id)" if self._has_blocks else ", NULL FROM frames"
        )
        self._select_frames = _FRAME_COLUMNS + block

    @classmethod
    def create(cls, folder: Path, user_version: int) -> None:
        """Make an empty catalogue. Raises sqlite3.Error; what it leaves then is for the caller to remove."""
        connection = sqlite3.connect(folder / CATALOGUE_NAME, isolation_level=None)
        try:
            # 7 vectors of 512 floats fit a page of 16 KiB; with 4 KiB pages half of the file would be empty.
            connection.execute("PRAGMA page_size = 16384")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            marks = f"PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {user_version};"
            connection.executescript(f"BEGIN; {SCHEMA} {marks} COMMIT;")
        finally:
            connection.close()

    @classmethod
    def open(cls, folder: Path, user_version: int, *, read_only: bool) -> Catalogue:
        """Open the catalogue and look it through once.

        Raises:
            StoreCorrupt: it is gone, of another kind, or its pages contradict each other.
            sqlite3.Error: it can't be opened.
        """
        path = folder / CATALOGUE_NAME
        if not path.is_file():
            raise StoreCorrupt(f"{path} is gone: put back a copy of the store, or ingest the videos anew.")
        connection = _connect(path, read_only=read_only)
        try:
            found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
            damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except BaseException:
            connection.close()
            raise
        if found != [_APPLICATION_ID, user_version] or damage != "ok":
            connection.close()
            what = damage if damage != "ok" else "it is no catalogue of this store"
            raise StoreCorrupt(f"{path} is damaged ({what}): put back a copy of the store, or ingest the videos anew.")
        return cls(connection, user_version)

    @property
    def connection(self) -> sqlite3.Connection:
        """For queries that stand in modules of their own; they, too, run inside the caller's `transaction`."""
        return self._connection

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[None]:
        """Run the block on one state of the catalogue; a writing block is durable when it ends, or undone.

        Raises:
            CommitUnsure: the block ended well, but its COMMIT did not, or was interrupted.
        """
        self._roll_back()  # an interrupt can fall between two lines of a `with` and leave a transaction open
        self._run("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        try:
            self._run("COMMIT")
        except BaseException as error:
            self._roll_back()
            raise CommitUnsure from error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # SQLite has rolled back by itself after some errors
            self._run("ROLLBACK")

    # -- videos and clips --

    def videos(self) -> list[StoredVideo]:
        return [_video(row) for row in self._run(f"SELECT {_VIDEO_COLUMNS} FROM videos ORDER BY rowid")]

    def video(self, video_id: str) -> StoredVideo | None:
        row = self._run(f"SELECT {_VIDEO_COLUMNS} FROM videos WHERE video_id = ?", (video_id,)).fetchone()
        return _video(row) if row else None

    def find_video(self, content_id: str, settings_hash: str) -> StoredVideo | None:
        query = f"SELECT {_VIDEO_COLUMNS} FROM videos WHERE content_id = ? AND settings_hash = ?"
        row = self._run(query, (content_id, settings_hash)).fetchone()
        return _video(row) if row else None

    def video_ids(self) -> list[str]:
        return [row[0] for row in self._run("SELECT video_id FROM videos ORDER BY rowid")]

    def has_video(self, video_id: str) -> bool:
        return self._run("SELECT 1 FROM videos WHERE video_id = ?", (video_id,)).fetchone() is not None

    def progress(self, video_id: str) -> tuple[bool, float]:
        """Whether a video is finished, and the end in seconds of its last clip. Counts nothing, unlike `video`."""
        query = "SELECT is_finished, committed_until FROM videos WHERE video_id = ?"
        is_finished, committed_until = self._run(query, (video_id,)).fetchone()
        return bool(is_finished), committed_until

    def add_video(self, video: VideoRow) -> None:
        names = (*_VIDEO_FIELDS, "added_at")
        values = [getattr(video, name) for name in _VIDEO_FIELDS] + [now()]
        self._run(f"INSERT INTO videos ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", values)

    def finish_video(self, video_id: str, duration_seconds: float) -> None:
        self._run(
            "UPDATE videos SET is_finished = 1, duration_seconds = ? WHERE video_id = ?", (duration_seconds, video_id)
        )

    def remove_video(self, video_id: str) -> None:
        """Remove a video with all its rows, and every question whose evidence names it."""
        self._run(
            "DELETE FROM questions WHERE EXISTS (SELECT 1 FROM json_each(evidence)"
            " WHERE json_extract(json_each.value, '$.video_id') = ?)",
            (video_id,),
        )
        self._run("DELETE FROM videos WHERE video_id = ?", (video_id,))
        self._run("UPDATE store SET removals = removals + 1")

    def num_free_pages(self) -> int:
        """Pages of removed rows, which new rows take."""
        return self._one("PRAGMA freelist_count")

    def page_bytes(self) -> int:
        return self._one("PRAGMA page_size")

    def give_back(self, num_pages: int | None = None) -> None:
        """Give pages of removed rows back to the disk; None is all. Not within a transaction."""
        # `execute` would step this statement, which has rows without columns, only once: one page.
        self._connection.executescript(f"PRAGMA incremental_vacuum({num_pages or 0})")

    def shrink(self) -> None:
        """Give the space of removed rows, and the journal's, back to the disk. Not within a transaction."""
        self.give_back()
        self._run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def memory_file(self, video_id: str) -> StoredFile | None:
        row = self._run(
            "SELECT memory_file, memory_bytes, memory_sha256 FROM videos WHERE video_id = ?", (video_id,)
        ).fetchone()
        return StoredFile(*row) if row and row[0] else None

    def next_clip_id(self) -> int:
        row = self._run("SELECT seq FROM sqlite_sequence WHERE name = 'clips'").fetchone()
        return row[0] + 1 if row else 1

    def add_clip(self, clip_id: int, video_id: str, span: Span, segment: StoredFile | None) -> None:
        file = (segment.name, segment.num_bytes, segment.sha256) if segment else (None, 0, None)
        self._run("INSERT INTO clips VALUES (?, ?, ?, ?, ?, ?, ?)", (clip_id, video_id, span.start, span.end, *file))
        self._run("UPDATE videos SET committed_until = ? WHERE video_id = ?", (span.end, video_id))

    def set_blocks(self, clip_id: int, position: Position) -> None:
        self._run("INSERT INTO kv_clips VALUES (?, ?, ?, ?)", (clip_id, *astuple(position)))

    def blocks_position(self, video_id: str) -> Position:
        """How far a video's log of KV blocks is committed; the beginning of the log if no clip is."""
        row = self._run(
            "SELECT segment, end_offset, num_blocks FROM kv_clips JOIN clips USING (clip_id) WHERE video_id = ?"
            " ORDER BY start_seconds DESC LIMIT 1",
            (video_id,),
        ).fetchone()
        return Position(*row) if row else Position()

    def add_landmarks(self, clip_id: int, rows: Iterable[LandmarkRow]) -> None:
        for row in rows:
            self._run("INSERT INTO landmarks VALUES (?, ?, ?, ?)", (clip_id, *astuple(row)))

    def landmarks(self, video_id: str, start: float) -> list[tuple[int, LandmarkRow]]:
        """Of a video's clips that begin at or after a time: the clip's id with each, in order."""
        rows = self._run(
            "SELECT clip_id, first_frame, num_frames, data FROM landmarks JOIN clips USING (clip_id)"
            " WHERE video_id = ? AND start_seconds >= ? ORDER BY start_seconds, first_frame",
            (video_id, start),
        )
        return [(clip_id, LandmarkRow(*row)) for clip_id, *row in rows]

    def set_memory(self, video_id: str, memory: StoredFile) -> None:
        self._run(
            "UPDATE videos SET memory_file = ?, memory_bytes = ?, memory_sha256 = ? WHERE video_id = ?",
            (*astuple(memory), video_id),
        )

    # -- frames --

    def last_pts(self, video_id: str) -> float | None:
        return self._one("SELECT max(pts_seconds) FROM frames WHERE video_id = ?", video_id)

    def add_frame(
        self, video_id: str, clip_id: int, row: int, span: Span, crc32: int, thumbnail: Thumbnail | None, vector: bytes
    ) -> int:
        """Returns its id."""
        picture = astuple(thumbnail) if thumbnail else (None, 0, None)
        cursor = self._run(
            "INSERT INTO frames VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (video_id, clip_id, row, span.start, span.end, crc32, *picture),
        )
        assert cursor.lastrowid is not None
        self._run("INSERT INTO embeddings VALUES (?, ?)", (cursor.lastrowid, vector))
        return cursor.lastrowid

    def set_block_of(self, frame_id: int, block_id: int) -> None:
        """Say which KV block holds a frame."""
        self._run("INSERT INTO kv_frames VALUES (?, ?)", (frame_id, block_id))

    def blocks_by_clip(self, video_id: str) -> list[tuple[float, list[int | None], int | None]]:
        """Of each clip that has frames, in order: the time of the first, their KV blocks, and how many the log holds up
        to the clip's end."""
        if not self._has_blocks:
            return []
        rows = self._run(
            "SELECT clip_id, pts_seconds, block_id, num_blocks FROM frames LEFT JOIN kv_frames USING (frame_id)"
            " LEFT JOIN kv_clips USING (clip_id) WHERE video_id = ? ORDER BY pts_seconds",
            (video_id,),
        )
        clips = [list(group) for _, group in groupby(rows, key=itemgetter(0))]
        return [(clip[0][1], [block_id for _, _, block_id, _ in clip], clip[-1][3]) for clip in clips]

    def frames(self, frame_ids: Sequence[int]) -> dict[int, tuple]:
        """Columns (frame_id, video_id, clip_id, pts_seconds, end_seconds, thumbnail_file, block_id) by frame id."""
        rows = self._run(f"{self._select_frames} WHERE frame_id IN {LISTED}", (json.dumps(list(frame_ids)),))
        return {row[0]: row for row in rows}

    def frames_between(self, video_id: str, start: float, end: float) -> list[tuple]:
        """Columns as `frames` has them, of the frames whose span meets `[start, end)`, in time order."""
        return self._run(
            f"{self._select_frames} WHERE video_id = ? AND pts_seconds < ? AND (end_seconds > ? OR pts_seconds >= ?)"
            " ORDER BY pts_seconds",
            (video_id, end, start, start),
        ).fetchall()

    def placements(self, frame_ids: Sequence[int]) -> list[Placement]:
        rows = self._run(
            "SELECT frame_id, segment_file, segment_row, tokens_crc32 FROM frames JOIN clips USING (clip_id)"
            f" WHERE frame_id IN {LISTED}",
            (json.dumps(list(frame_ids)),),
        )
        return [Placement(*row) for row in rows]

    def vectors_of(self, video_id: str, start: float, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Times (n,) and vectors (n, C) of a video's frames from a time on, in time order; (0, 0) vectors of none."""
        rows = self._run(
            "SELECT pts_seconds, vector FROM frames JOIN embeddings USING (frame_id)"
            " WHERE video_id = ? AND pts_seconds >= ? ORDER BY pts_seconds LIMIT ?",
            (video_id, start, -1 if limit is None else limit),
        ).fetchall()
        return np.array([row[0] for row in rows], dtype=np.float64), stacked([row[1] for row in rows])

    # -- what the index needs --

    def num_removals(self) -> int:
        return self._one("SELECT removals FROM store")

    def last_frame_id(self) -> int:
        return self._one("SELECT coalesce(max(frame_id), 0) FROM frames")

    def frame_ids(self, until: int) -> np.ndarray:
        """(n,) int64, ascending: of all frames up to an id."""
        # An index alone is read, not the rows: 600,000 take 0.2 s.
        rows = self._run("SELECT frame_id FROM frames INDEXED BY frames_of_clip WHERE frame_id <= ?", (until,))
        return np.sort(np.fromiter((row[0] for row in rows), np.int64))

    def frame_ids_before(self, video_id: str, seconds: float) -> np.ndarray:
        """(n,) int64: of a video's frames before a time."""
        rows = self._run("SELECT frame_id FROM frames WHERE video_id = ? AND pts_seconds < ?", (video_id, seconds))
        return np.fromiter((row[0] for row in rows), np.int64)

    def num_frames_until(self, frame_id: int) -> int:
        return self._one("SELECT count(*) FROM frames WHERE frame_id <= ?", frame_id)

    def index_rows(self, after: int, until: int, *, vectors: bool, limit: int = 16384) -> Iterator[IndexRows]:
        """Batches of the frames with ids in (after, until]; without `vectors`, (n, 0) stands in their place."""
        table = "frames JOIN embeddings USING (frame_id)" if vectors else "frames"
        cursor = self._run(
            f"SELECT frame_id, video_id, pts_seconds, end_seconds, {'vector' if vectors else 'NULL'} FROM {table}"
            " WHERE frame_id > ? AND frame_id <= ? ORDER BY frame_id",
            (after, until),
        )
        while rows := cursor.fetchmany(limit):
            ids, videos, starts, ends, blobs = zip(*rows, strict=True)
            spans = np.stack([np.array(starts, dtype=np.float64), np.array(ends, dtype=np.float64)], axis=1)
            held = stacked(blobs) if vectors else np.empty((len(rows), 0), dtype=np.float32)
            yield IndexRows(np.array(ids, dtype=np.int64), list(videos), spans, held)

    # -- files, counts and questions --

    def stored_files(self) -> list[StoredFile]:
        """Every segment and memory file that the catalogue names."""
        rows = self._run(
            "SELECT segment_file, segment_bytes, segment_sha256 FROM clips WHERE segment_file NOT NULL UNION ALL"
            " SELECT memory_file, memory_bytes, memory_sha256 FROM videos WHERE memory_file NOT NULL"
        )
        return [StoredFile(*row) for row in rows]

    def thumbnails(self, video_id: str | None = None) -> list[Thumbnail]:
        """Every thumbnail that the catalogue names, or those of one video."""
        of_video, values = ("AND video_id = ?", [video_id]) if video_id is not None else ("", [])
        rows = self._run(
            f"SELECT thumbnail_file, thumbnail_bytes, thumbnail_crc32 FROM frames"
            f" WHERE thumbnail_file NOT NULL {of_video}",
            values,
        )
        return [Thumbnail(*row) for row in rows]

    def files_of(self, video_id: str) -> list[str]:
        """Names of all files of one video."""
        rows = self._run(
            "SELECT segment_file FROM clips WHERE video_id = :v AND segment_file NOT NULL UNION ALL"
            " SELECT memory_file FROM videos WHERE video_id = :v AND memory_file NOT NULL UNION ALL"
            " SELECT thumbnail_file FROM frames WHERE video_id = :v AND thumbnail_file NOT NULL",
            {"v": video_id},
        )
        return [row[0] for row in rows]

    def bytes_of(self, video_id: str) -> int:
        """Bytes of the files of one video that the catalogue names: no KV blocks, no objects."""
        query = (
            "SELECT (SELECT coalesce(sum(segment_bytes), 0) FROM clips WHERE video_id = :v)"
            " + (SELECT coalesce(memory_bytes, 0) FROM videos WHERE video_id = :v)"
            " + (SELECT coalesce(sum(thumbnail_bytes), 0) FROM frames WHERE video_id = :v)"
        )
        return int(self._run(query, {"v": video_id}).fetchone()[0])

    def counts(self) -> dict[str, int]:
        """Rows of each table, and the bytes of the files that the catalogue names."""
        sums = {f"num_{table}": f"SELECT count(*) FROM {table}" for table in ("videos", "clips", "frames", "questions")}
        sums["kv_bytes"] = "SELECT coalesce(sum(segment_bytes), 0) FROM clips"
        sums["memory_bytes"] = "SELECT coalesce(sum(memory_bytes), 0) FROM videos"
        sums["thumbs_bytes"] = "SELECT coalesce(sum(thumbnail_bytes), 0) FROM frames"
        return {name: self._one(query) for name, query in sums.items()}

    def add_question(self, question: str, text: str, evidence: str, timings: str) -> int:
        cursor = self._run(
            "INSERT INTO questions VALUES (NULL, ?, ?, ?, ?, ?)", (now(), question, text, evidence, timings)
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def questions(self, limit: int) -> list[tuple]:
        """The newest `limit` rows of the table, oldest first."""
        rows = self._run("SELECT * FROM questions ORDER BY question_id DESC LIMIT ?", (limit,)).fetchall()
        return rows[::-1]

    def damage(self) -> list[str]:
        """What a full check of the database finds: contradictions between pages, indexes and references."""
        found = [row[0] for row in self._run("PRAGMA integrity_check(20)") if row[0] != "ok"]
        references = self._run("PRAGMA foreign_key_check").fetchall()
        return found + [f"row {row[1]} of {row[0]} has lost its {row[2]}" for row in references]

    def _one(self, query: str, *values: object):  # type: ignore[no-untyped-def]
        return self._run(query, values).fetchone()[0]


_FRAME_COLUMNS = "SELECT frame_id, video_id, clip_id, pts_seconds, end_seconds, thumbnail_file"
LISTED = "(SELECT value FROM json_each(?))"  # of any length, where SQLite bounds the number of `?`


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="microseconds")


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    address = path.absolute().as_uri()
    if not read_only:
        connection = _connection(f"{address}?mode=rw")
        for setting in (
            "synchronous = FULL",
            "foreign_keys = ON",
            "secure_delete = ON",
            f"cache_size = -{_CACHE_KIB}",
            f"wal_autocheckpoint = {_JOURNAL_PAGES}",
        ):
            connection.execute(f"PRAGMA {setting}")
        return connection
    connection = _connection(f"{address}?mode=ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        # A folder that can't be written takes no WAL files; without them, nobody writes and the file is all there is.
        journal = path.with_name(path.name + "-wal")
        if journal.exists() and journal.stat().st_size:
            raise StorageFull(
                f"{path.parent} was not closed by its last writer and can't be written now: allow writing to it."
            ) from error
        connection = _connection(f"{address}?immutable=1")
    return connection


def _connection(address: str) -> sqlite3.Connection:
    # The store's lock keeps threads apart; see `Store`.
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)


def _video(row: tuple) -> StoredVideo:
    names = (*_VIDEO_FIELDS, *_STORED_FIELDS, "num_clips", "num_frames")
    values = dict(zip(names, row, strict=True))
    return StoredVideo(**values | {"video_id": VideoId(values["video_id"]), "is_finished": bool(values["is_finished"])})


def stacked(blobs: Iterable[bytes]) -> np.ndarray:
    """Vectors (n, C) out of their columns; (0, 0) of none. Raises StoreCorrupt if they differ in length."""
    blobs = list(blobs)
    if any(len(blob) != len(blobs[0]) or len(blob) % 4 for blob in blobs):
        raise StoreCorrupt("The catalogue holds damaged embeddings: put back a copy of the store.")
    return np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), -1) if blobs else np.empty((0, 0), "f4")
