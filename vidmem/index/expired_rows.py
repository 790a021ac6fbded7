"""The catalogue's rows of what has left streams. A catalogue that nothing has left does not have their tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from vidmem.index.catalogue import LISTED, Catalogue
from vidmem.index.schema import EXPIRED
from vidmem.kv.records import Beginning
from vidmem.types import Retention, Span, VideoId


@dataclass(frozen=True, slots=True)
class Expired:
    """What has left a stream."""

    until: float = 0.0
    """Of the clips that begin before, in seconds of the stream, only those are left that stayed behind."""
    num_clips: int = 0
    num_frames: int = 0
    begin: Beginning = Beginning()
    """Where its log of KV blocks begins."""


@dataclass(frozen=True, slots=True)
class HeldClip:
    """A committed clip, as what may leave."""

    clip_id: int
    video_id: VideoId
    span: Span
    num_frames: int
    num_bytes: int
    """Of its files."""
    log_segment: int | None
    """In kv mode, the segment of the video's log with the last block up to this clip's end."""


class ExpiredRows:
    """Queries on what has left, and may leave, an open catalogue. Each runs inside the `transaction` of its caller."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._run = catalogue.connection.execute

    @classmethod
    def of(cls, catalogue: Catalogue) -> ExpiredRows | None:
        """None if the catalogue has no such tables. Asked anew each time: another process may make them."""
        query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'expired'"
        return cls(catalogue) if catalogue.connection.execute(query).fetchone()[0] else None

    @classmethod
    def made(cls, catalogue: Catalogue) -> ExpiredRows:
        """With the tables, which are made if they are not there, in the caller's writing transaction."""
        rows = cls.of(catalogue)
        if rows is None:
            rows = cls(catalogue)
            for statement in EXPIRED:
                rows._run(statement)
        return rows

    # -- what has left --

    def all(self) -> dict[str, Expired]:
        """By video id."""
        found = self._run("SELECT * FROM expired").fetchall()
        return {video_id: _expired(rest) for video_id, *rest in found}

    def find(self, video_id: str) -> Expired:
        row = self._run("SELECT * FROM expired WHERE video_id = ?", (video_id,)).fetchone()
        return _expired(row[1:]) if row else Expired()

    def put(self, video_id: str, expired: Expired) -> None:
        values = (expired.until, expired.num_clips, expired.num_frames, *astuple(expired.begin))
        self._run("INSERT OR REPLACE INTO expired VALUES (?, ?, ?, ?, ?, ?)", (video_id, *values))

    def retention(self) -> Retention:
        return Retention(*self._run("SELECT days, num_bytes, important_days FROM retention").fetchone())

    def set_retention(self, retention: Retention) -> None:
        self._run("UPDATE retention SET days = ?, num_bytes = ?, important_days = ?", astuple(retention))

    # -- what leaves --

    def remove_clips(self, video_id: str, clip_ids: Sequence[int], until: float) -> tuple[list[str], int]:
        """Remove clips with all that the catalogue has of their time: rows, looks at objects, tracks up to `until`.

        Returns the names of their files, and how many frames they had.
        """
        listed = json.dumps(list(clip_ids))
        names = [
            row[0]
            for row in self._run(
                f"SELECT segment_file FROM clips WHERE clip_id IN {LISTED} AND segment_file NOT NULL UNION ALL"
                f" SELECT thumbnail_file FROM frames WHERE clip_id IN {LISTED} AND thumbnail_file NOT NULL",
                (listed, listed),
            )
        ]
        (num_frames,) = self._run(f"SELECT count(*) FROM frames WHERE clip_id IN {LISTED}", (listed,)).fetchone()
        if self._has("objects"):
            names += self._remove_from_objects(video_id, listed, until)
        self._run(f"DELETE FROM clips WHERE clip_id IN {LISTED}", (listed,))
        self._run("UPDATE store SET removals = removals + 1")
        return names, num_frames

    def forget_said(self, days: float | None, at_most: int) -> None:
        """Remove answered questions, and what standing ones were told, that are older than so many days or are more
        than so many."""
        for table, number, moment in (("questions", "question_id", "asked_at"), ("alerts_told", "told_id", "told_at")):
            if self._has(table):
                self._run(
                    f"DELETE FROM {table} WHERE {number} <= (SELECT max({number}) FROM {table}) - ?"
                    f" OR julianday('now') - julianday({moment}) > ?",
                    (at_most, days),
                )

    def last_segment_before(self, video_id: str, seconds: float) -> int | None:
        """The segment of the log in which the last clip that begins before a time ends. None in tokens mode."""
        row = self._run(
            "SELECT segment FROM kv_clips JOIN clips USING (clip_id) WHERE video_id = ? AND start_seconds < ?"
            " ORDER BY start_seconds DESC LIMIT 1",
            (video_id, seconds),
        ).fetchone()
        return row[0] if row else None

    def _has(self, table: str) -> bool:
        query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?"
        return bool(self._run(query, (table,)).fetchone()[0])

    def _remove_from_objects(self, video_id: str, clips: str, until: float) -> list[str]:
        """Remove looks in some clips, what of tracks ends before a time, and objects of which nothing is left by that.

        Returns the names of the looks' crops.
        """
        looks = self._run(
            "SELECT look_id, object_id, crop_file FROM looks JOIN objects USING (object_id) WHERE video_id = ? AND"
            f" EXISTS (SELECT 1 FROM clips WHERE clip_id IN {LISTED} AND seconds >= start_seconds"
            " AND seconds < end_seconds)",
            (video_id, clips),
        ).fetchall()
        changed = {object_id for _, object_id, _ in looks}
        self._run(f"DELETE FROM looks WHERE look_id IN {LISTED}", (json.dumps([row[0] for row in looks]),))
        for table, ended in (("object_pieces", "last_seconds < ?"), ("object_spans", "end_seconds <= ?")):
            gone = f"object_id IN (SELECT object_id FROM objects WHERE video_id = ?) AND {ended}"
            found = self._run(f"SELECT DISTINCT object_id FROM {table} WHERE {gone}", (video_id, until))
            changed.update(row[0] for row in found)
            self._run(f"DELETE FROM {table} WHERE {gone}", (video_id, until))
        parts = ("object_pieces", "object_spans", "looks")
        empty = " AND ".join(f"object_id NOT IN (SELECT object_id FROM {part})" for part in parts)
        self._run(f"DELETE FROM objects WHERE object_id IN {LISTED} AND {empty}", (json.dumps(list(changed)),))
        return [crop for _, _, crop in looks]

    # -- what may leave --

    def clips(self, video_id: str, start: float, end: float, limit: int, *, has_kv: bool) -> list[HeldClip]:
        """Clips that begin in `[start, end)`, in the order of time."""
        segment = "(SELECT segment FROM kv_clips WHERE kv_clips.clip_id = clips.clip_id)" if has_kv else "NULL"
        rows = self._run(
            "SELECT clip_id, start_seconds, end_seconds, segment_bytes,"
            " (SELECT count(*) FROM frames WHERE frames.clip_id = clips.clip_id),"
            " (SELECT coalesce(sum(thumbnail_bytes), 0) FROM frames WHERE frames.clip_id = clips.clip_id),"
            f" {segment} FROM clips WHERE video_id = ? AND start_seconds >= ? AND start_seconds < ?"
            " ORDER BY start_seconds LIMIT ?",
            (video_id, start, end, limit),
        )
        return [
            HeldClip(clip_id, VideoId(video_id), Span(begun, ended), num_frames, tokens + pictures, log_segment)
            for clip_id, begun, ended, tokens, num_frames, pictures, log_segment in rows
        ]

    def files_bytes(self, video_id: str, start: float, end: float) -> tuple[int, float]:
        """Bytes of the files of the clips that begin in `[start, end)`, and how many seconds they cover."""
        within = "clips.video_id = ? AND start_seconds >= ? AND start_seconds < ?"
        tokens, seconds = self._run(
            "SELECT coalesce(sum(segment_bytes), 0), coalesce(sum(end_seconds - start_seconds), 0.0)"
            f" FROM clips WHERE {within}",
            (video_id, start, end),
        ).fetchone()
        (pictures,) = self._run(
            f"SELECT coalesce(sum(thumbnail_bytes), 0) FROM frames JOIN clips USING (clip_id) WHERE {within}",
            (video_id, start, end),
        ).fetchone()
        return tokens + pictures, seconds

    def num_frames_from(self, video_id: str, start: float) -> int:
        query = "SELECT count(*) FROM frames WHERE video_id = ? AND pts_seconds >= ?"
        return self._run(query, (video_id, start)).fetchone()[0]

    def num_clips_between(self, video_id: str, start: float, end: float) -> int:
        """That begin at or after `start` and end by `end`."""
        query = "SELECT count(*) FROM clips WHERE video_id = ? AND start_seconds >= ? AND end_seconds <= ?"
        return self._run(query, (video_id, start, end)).fetchone()[0]

    def starts_of(self, video_id: str, clip_ids: Sequence[int]) -> list[float]:
        """When clips begin, of those that are a video's."""
        query = f"SELECT start_seconds FROM clips WHERE video_id = ? AND clip_id IN {LISTED}"
        return [row[0] for row in self._run(query, (video_id, json.dumps(list(clip_ids))))]

    def end_of_last_before(self, video_id: str, seconds: float) -> float:
        """When the last clip ends that begins before a time; 0 if there is none."""
        row = self._run(
            "SELECT end_seconds FROM clips WHERE video_id = ? AND start_seconds < ?"
            " ORDER BY start_seconds DESC LIMIT 1",
            (video_id, seconds),
        ).fetchone()
        return row[0] if row else 0.0

    def start_of_newest(self, video_id: str, num_clips: int) -> float:
        """When the first of a video's newest clips begins; infinite if it has none."""
        rows = self._run(
            "SELECT start_seconds FROM clips WHERE video_id = ? ORDER BY start_seconds DESC LIMIT ?",
            (video_id, num_clips),
        ).fetchall()
        return rows[-1][0] if rows else float("inf")

    def shown_spans(self, video_id: str, start: float, end: float, *, but: str) -> list[Span]:
        """Stretches that meet `[start, end)` and that answers cite, but for those cited why `but`, or that standing
        questions were told of; moments of looks."""
        rows = self._run(
            "SELECT json_extract(value, '$.start') AS begun, json_extract(value, '$.end') AS ended FROM questions,"
            " json_each(evidence) WHERE json_extract(value, '$.video_id') = ?"
            " AND json_extract(value, '$.why') != ? AND begun < ? AND ended > ?",
            (video_id, but, end, start),
        ).fetchall()
        if self._has("alerts_told"):
            rows += self._run(
                "SELECT json_extract(evidence, '$.start') AS begun, json_extract(evidence, '$.end') AS ended"
                " FROM alerts_told WHERE video_id = ? AND begun < ? AND ended > ?",
                (video_id, end, start),
            ).fetchall()
        spans = [Span(begun, ended) for begun, ended in rows]
        if self._has("objects"):
            looks = self._run(
                "SELECT seconds FROM looks JOIN objects USING (object_id)"
                " WHERE video_id = ? AND seconds >= ? AND seconds < ?",
                (video_id, start, end),
            )
            spans += [Span(seconds, seconds) for (seconds,) in looks]
        return spans


def _expired(row: Sequence) -> Expired:
    until, num_clips, num_frames, segment, block = row
    return Expired(until, num_clips, num_frames, Beginning(segment, block))
