"""A store that is open: its parts, its locks, and one state of its catalogue at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vidmem.errors import NotFound, StorageFull
from vidmem.index.catalogue import Catalogue, CommitUnsure
from vidmem.index.files import translated
from vidmem.index.lock import WriterLock
from vidmem.index.manifest import Manifest, StoreIdentity
from vidmem.index.vectors import VectorIndex


class OpenStore:
    """What reading and writing stand on. The locks keep the threads of one process apart."""

    def __init__(
        self, path: Path, manifest: Manifest, catalogue: Catalogue, lock: WriterLock | None, index: VectorIndex
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.notices: list[str] = []
        """Sentences for the user on what was found and mended."""
        self._catalogue: Catalogue | None = catalogue
        self._writer_lock = lock
        self._index: VectorIndex | None = index
        """None where a writer that nobody searches has let it go: a stream of days would fill memory with it."""
        self._is_searched = False
        self._saved, self._num_saved = (index.last_frame_id, index.num_removals), len(index)
        self._looks: VectorIndex | None = None
        self._is_unsure = False
        self._lock = threading.RLock()  # the catalogue's connection and the indexes
        self._write_lock = threading.RLock()  # one change at a time

    @property
    def is_read_only(self) -> bool:
        return self._writer_lock is None

    def notice(self, sentence: str) -> None:
        """Add a sentence to `notices`, once."""
        if sentence not in self.notices:
            self.notices.append(sentence)

    @property
    def identity(self) -> StoreIdentity:
        return self.manifest.identity

    @property
    def _has_kv(self) -> bool:
        return self.identity.mode == "kv"

    # -- within --

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[Catalogue]:
        with self._lock, translated(self.path):
            if self._catalogue is None:
                raise ValueError(f"{self.path} is closed")
            try:
                with self._catalogue.transaction(write=write):
                    yield self._catalogue
            except CommitUnsure as unsure:
                self._is_unsure |= write
                assert unsure.__cause__ is not None
                raise unsure.__cause__ from None

    def _check_known(self, catalogue: Catalogue, video_id: str) -> None:
        if not catalogue.has_video(video_id):
            raise NotFound(f"No video {video_id!r} in {self.path}: `vidmem info` lists those that are there.")

    def _checked_query(self, query: np.ndarray, k: int) -> np.ndarray:
        """(C,) float32. Raises ValueError."""
        query = np.ascontiguousarray(query, dtype=np.float32)
        if query.shape != (self.identity.embedding_dim,) or not np.isfinite(query).all():
            raise ValueError(f"a query must be finite and ({self.identity.embedding_dim},), got {query.shape}")
        if k < 1:
            raise ValueError(f"{k=} must be at least 1")
        return query

    def _check_writable(self) -> None:
        if self.is_read_only:
            raise ValueError(f"{self.path} was opened read-only")
        if self._is_unsure:
            raise StorageFull(f"An earlier write to {self.path} broke off: close the store and open it again.")
