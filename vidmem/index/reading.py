"""What can be asked of an open store, by its writer and its readers alike."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidmem.errors import FramesGone, StoreCorrupt
from vidmem.index.alert_reading import AlertReader
from vidmem.index.blocks import blocks_bytes, blocks_folder
from vidmem.index.catalogue import CATALOGUE_NAME, Catalogue
from vidmem.index.expired_rows import Expired, ExpiredRows
from vidmem.index.files import translated
from vidmem.index.folder import inside
from vidmem.index.following import follow, load_index
from vidmem.index.object_rows import ObjectRows
from vidmem.index.rows import FrameHit, FrameId, FrameRow, LandmarkRow, QuestionRow, StoredVideo, StoreState
from vidmem.index.segments import read_rows, read_tensors
from vidmem.index.stream_rows import StreamRows
from vidmem.index.streams import StreamClock
from vidmem.index.vectors import INDEX_NAME, VectorIndex
from vidmem.kv.records import Beginning, Position
from vidmem.types import Answer, Hit, VideoId

if TYPE_CHECKING:
    from torch import Tensor

    from vidmem.kv.tier import TierState

_READ_ATTEMPTS = 5


class StoreReader(AlertReader):
    """The reading half of a `Store`. Each read sees one committed state: the newest when it begins."""

    def videos(self) -> list[StoredVideo]:
        """All videos, in the order they came."""
        with self._transaction() as catalogue:
            return catalogue.videos()

    def video(self, video_id: VideoId) -> StoredVideo:
        """Raises NotFound."""
        with self._transaction() as catalogue:
            return self._video(catalogue, video_id)

    def find_video(self, content_id: str, settings_hash: str) -> StoredVideo | None:
        """The video of this content that was ingested, or begun, with these settings."""
        with self._transaction() as catalogue:
            return catalogue.find_video(content_id, settings_hash)

    def find_stream(self, source: str, settings_hash: str) -> StoredVideo | None:
        """The newest stream from a source, by its shown address, that was watched with these settings."""
        with self._transaction() as catalogue:
            streams = StreamRows.of(catalogue)
            video_id = streams.find(source, settings_hash) if streams is not None else None
            return catalogue.video(video_id) if video_id is not None else None

    def stream_clock(self, video_id: VideoId) -> StreamClock | None:
        """Time of day along a stream, and its gaps; None for a video that is no stream, or has no clip yet.

        Raises NotFound.
        """
        with self._transaction() as catalogue:
            self._check_known(catalogue, video_id)
            streams = StreamRows.of(catalogue)
            return streams.clock(video_id) if streams is not None else None

    def search(
        self,
        query: np.ndarray,
        k: int,
        *,
        video_ids: Collection[VideoId] | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> list[FrameHit]:
        """The k frames most alike to a query, best first, equal scores in the order of their commit. Exact.

        Args:
            query: (C,) of unit length, float32.
            video_ids: search only these.
            start, end: search only frames whose span meets `[start, end)`, in seconds of their own video.

        Raises:
            NotFound: one of `video_ids` is not in the store.
            ValueError: the query is not (C,) or not finite, or k < 1.
        """
        query = self._checked_query(query, k)
        with self._transaction() as catalogue:
            for video_id in video_ids or ():
                self._check_known(catalogue, video_id)
            self._is_searched = True
            found = self._followed(catalogue).search(query, k, video_ids=video_ids, start=start, end=end)
            rows = catalogue.frames(found.frame_ids.tolist())
        hits = []
        for frame_id, score in zip(found.frame_ids.tolist(), found.scores.tolist(), strict=True):
            row = self._frame(rows[frame_id])
            hits.append(
                FrameHit(row.frame_id, row.video_id, row.pts_seconds, row.end_seconds, score, row.thumbnail_path)
            )
        return hits

    def frames_between(self, video_id: VideoId, start: float, end: float) -> list[FrameRow]:
        """The frames whose span meets `[start, end)`, in time order. Raises NotFound."""
        with self._transaction() as catalogue:
            self._check_known(catalogue, video_id)
            return [self._frame(row) for row in catalogue.frames_between(video_id, start, end)]

    def frame_ids_before(self, video_id: VideoId, seconds: float) -> np.ndarray:
        """(n,) int64: ids of a video's frames before a time. Raises NotFound."""
        with self._transaction() as catalogue:
            self._check_known(catalogue, video_id)
            return catalogue.frame_ids_before(video_id, seconds)

    def embeddings(
        self, video_id: VideoId, *, start: float = 0.0, limit: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Times (n,) float64 and embeddings (n, C) float32 of a video's frames, in time order. Raises NotFound.

        Args:
            start: only those at or after this time, in seconds.
            limit: at most so many of them.
        """
        with self._transaction() as catalogue:
            self._check_known(catalogue, video_id)
            pts, vectors = catalogue.vectors_of(video_id, start, limit)
        return pts, vectors.reshape(-1, self.identity.embedding_dim)

    def load_tokens(self, frame_ids: Sequence[FrameId]) -> Tensor:
        """Tokens (n, P, D) of frames of any videos, in the order asked for, on the CPU, in the dtype they came in.

        Raises:
            FramesGone: a frame is not in the store.
            StoreCorrupt: a segment is gone or damaged.
        """
        import torch

        if not frame_ids:
            return torch.empty((0, self.identity.tokens_per_frame, self.identity.token_dim))
        for attempt in range(_READ_ATTEMPTS):
            with self._transaction() as catalogue:
                by_id = {placement.frame_id: placement for placement in catalogue.placements(frame_ids)}
            missing = [frame_id for frame_id in frame_ids if frame_id not in by_id]
            if missing:
                raise FramesGone(f"No frame {missing[0]} in {self.path}: it has left, or its video was removed.")
            with translated(self.path), _gone_meanwhile(attempt):
                return read_rows(self.path, [by_id[frame_id] for frame_id in frame_ids])
        raise AssertionError("the last attempt returns or raises")

    def blocks_folder(self, video_id: VideoId) -> Path:
        """Where the log of a video's KV blocks lies in a store in kv mode. It may not be there yet."""
        return blocks_folder(self.path, video_id)

    def landmarks(self, video_id: VideoId, *, start: float = 0.0) -> list[tuple[int, LandmarkRow]]:
        """Landmarks of a video's committed clips that begin at or after a time, each with its clip's id, in order.

        Raises NotFound.
        """
        with self._transaction() as catalogue:
            self._check_known(catalogue, video_id)
            return catalogue.landmarks(video_id, start)

    def blocks_position(self, video_id: VideoId) -> Position:
        """How far that log is committed. Raises NotFound."""
        with self._transaction() as catalogue:
            self._check_known(catalogue, video_id)
            return catalogue.blocks_position(video_id)

    def blocks_beginning(self, video_id: VideoId) -> Beginning:
        """Where that log begins: blocks before it have left. Raises NotFound."""
        return self.expired(video_id).begin

    def expired(self, video_id: VideoId) -> Expired:
        """What has left a video. Raises NotFound."""
        with self._transaction() as catalogue:
            self._check_known(catalogue, video_id)
            rows = ExpiredRows.of(catalogue)
            return rows.find(video_id) if rows is not None else Expired()

    def blocks_state(self) -> TierState | None:
        """The committed KV blocks on disk; None in tokens mode."""
        from vidmem.kv.tier import TierState

        if not self._has_kv:
            return None
        with self._transaction() as catalogue:
            video_ids = catalogue.video_ids()
            expired = ExpiredRows.of(catalogue)
            num_gone = sum(found.begin.block for found in expired.all().values()) if expired is not None else 0
            num_blocks = sum(catalogue.blocks_position(video_id).num_blocks for video_id in video_ids) - num_gone
        num_bytes = blocks_bytes(self.path, video_ids)
        return TierState("disk", num_blocks, num_bytes, num_bytes, None)

    def load_memory(self, video_id: VideoId) -> dict[str, Tensor] | None:
        """The memory state that was committed with the video's last clip, None if there is none yet.

        Raises:
            NotFound: there is no such video.
            StoreCorrupt: the state is gone or damaged.
        """
        for attempt in range(_READ_ATTEMPTS):
            with self._transaction() as catalogue:
                self._check_known(catalogue, video_id)
                file = catalogue.memory_file(video_id)
            if file is None:
                return None
            # A writer may replace the file between both steps; then the catalogue names another by now.
            with translated(self.path), _gone_meanwhile(attempt):
                return read_tensors(self.path, file)
        raise AssertionError("the last attempt returns or raises")

    def questions(self, limit: int = 100) -> list[QuestionRow]:
        """The newest logged questions, oldest first."""
        with self._transaction() as catalogue:
            rows = catalogue.questions(limit)
        return [
            QuestionRow(number, asked_at, Answer(question, text, _hits(evidence), json.loads(timings)))
            for number, asked_at, question, text, evidence, timings in rows
        ]

    def state(self) -> StoreState:
        """Counts, and bytes on disk by part."""
        with self._transaction() as catalogue:
            counts = catalogue.counts()
            objects = ObjectRows.of(catalogue)
            if objects is not None:
                counts["num_objects"] = objects.num_objects()
                counts["thumbs_bytes"] += objects.crops_bytes()
            video_ids = catalogue.video_ids()
        if self._has_kv:
            counts["kv_bytes"] += blocks_bytes(self.path, video_ids)
        journal = _size(self.path / f"{CATALOGUE_NAME}-wal")
        return StoreState(
            catalogue_bytes=_size(self.path / CATALOGUE_NAME) + journal,
            index_bytes=_size(self.path / INDEX_NAME),
            **counts,
        )

    def video_bytes(self, video_id: VideoId) -> int:
        """Bytes on disk of one video: its tokens, memory, thumbnails and KV blocks. Raises NotFound."""
        with self._transaction() as catalogue:
            self._check_known(catalogue, video_id)
            num_bytes = catalogue.bytes_of(video_id)
        folder = self.blocks_folder(video_id)
        return num_bytes + sum(_size(file) for file in folder.glob("*")) if folder.is_dir() else num_bytes

    # -- within --

    def _followed(self, catalogue: Catalogue) -> VectorIndex:
        """The index, at the catalogue's present state."""
        dim = self.identity.embedding_dim
        if self._index is None:
            self._index, _ = load_index(self.path, catalogue, dim)
        follow(self._index, catalogue, dim)
        return self._index

    def _video(self, catalogue: Catalogue, video_id: str) -> StoredVideo:
        self._check_known(catalogue, video_id)
        video = catalogue.video(video_id)
        assert video is not None
        return video

    def _frame(self, row: tuple) -> FrameRow:
        frame_id, video_id, clip_id, pts_seconds, end_seconds, thumbnail, block_id = row
        path = str(inside(self.path, thumbnail)) if thumbnail is not None else None
        return FrameRow(frame_id, video_id, clip_id, pts_seconds, end_seconds, path, block_id)


@contextmanager
def _gone_meanwhile(attempt: int) -> Iterator[None]:
    """Pass over a file that vanished between its row and its reading, until the last attempt."""
    try:
        yield
    except FileNotFoundError as error:
        if attempt == _READ_ATTEMPTS - 1:
            raise StoreCorrupt(
                f"A file of the store is gone ({error}): put back a copy of the store, or remove the video that it"
                " belongs to (`vidmem remove`) and ingest that again."
            ) from error


def _hits(evidence: str) -> list[Hit]:
    return [Hit(**values) for values in json.loads(evidence)]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
