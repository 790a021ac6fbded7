"""The catalogue's rows of streams. A catalogue that no stream has come to does not have their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np

from vidmem.index.catalogue import Catalogue
from vidmem.index.rows import NewClip
from vidmem.index.schema import STREAMS
from vidmem.index.streams import StreamClock
from vidmem.types import Gap, VideoId

_DRIFT_SECONDS = 0.1
"""Clocks that part by more are noted as parted."""


class StreamRows:
    """Queries on the streams of one open catalogue. Each runs inside the `transaction` of its caller."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._run = catalogue.connection.execute

    @classmethod
    def of(cls, catalogue: Catalogue) -> StreamRows | None:
        """None if the catalogue has no tables of streams. Asked anew each time: another process may make them."""
        query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'streams'"
        return cls(catalogue) if catalogue.connection.execute(query).fetchone()[0] else None

    @classmethod
    def made(cls, catalogue: Catalogue) -> StreamRows:
        """With the tables, which are made if they are not there, in the caller's writing transaction."""
        rows = cls.of(catalogue)
        if rows is None:
            rows = cls(catalogue)
            for statement in STREAMS:
                rows._run(statement)
        return rows

    def add(self, video_id: str) -> None:
        self._run("INSERT INTO streams VALUES (?)", (video_id,))

    def ids(self) -> list[VideoId]:
        """Of all streams, in the order they came."""
        found = self._run("SELECT video_id FROM streams JOIN videos USING (video_id) ORDER BY videos.rowid")
        return [row[0] for row in found]

    def find(self, source: str, settings_hash: str) -> str | None:
        """Id of the newest stream from a source with these settings."""
        row = self._run(
            "SELECT video_id FROM streams JOIN videos USING (video_id) WHERE source = ? AND settings_hash = ?"
            " ORDER BY videos.rowid DESC LIMIT 1",
            (source, settings_hash),
        ).fetchone()
        return row[0] if row else None

    def add_clips(self, video_id: str, clips: Sequence[NewClip]) -> None:
        """Note what clips, in order, say of time of day and of gaps."""
        for clip in clips:
            if clip.gap is not None:
                self._run("INSERT INTO stream_gaps VALUES (?, ?, ?, ?, ?, ?)", (video_id, *astuple(clip.gap)))
            if clip.wall_start is not None:
                self._set_clock(video_id, clip.span.start, clip.wall_start)

    def clock(self, video_id: str) -> StreamClock | None:
        """None if the video is no stream, or nothing of it is committed."""
        clocks = self._run(
            "SELECT start_seconds, wall_seconds FROM stream_clocks WHERE video_id = ? ORDER BY start_seconds",
            (video_id,),
        ).fetchall()
        if not clocks:
            return None
        gaps = self._run(
            "SELECT start_seconds, end_seconds, wall_start, wall_end, reason FROM stream_gaps WHERE video_id = ?"
            " ORDER BY start_seconds",
            (video_id,),
        )
        starts, walls = np.array(clocks, dtype=np.float64).T
        return StreamClock(starts, walls, tuple(Gap(*row) for row in gaps))

    def _set_clock(self, video_id: str, start: float, wall: float) -> None:
        row = self._run(
            "SELECT start_seconds, wall_seconds FROM stream_clocks WHERE video_id = ? ORDER BY start_seconds DESC"
            " LIMIT 1",
            (video_id,),
        ).fetchone()
        if row is None or abs(row[1] + start - row[0] - wall) > _DRIFT_SECONDS:
            self._run("INSERT INTO stream_clocks VALUES (?, ?, ?)", (video_id, start, wall))
