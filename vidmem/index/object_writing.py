"""How objects come into a store, grow and leave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidmem.checksum import crc32
from vidmem.disk import sync
from vidmem.index.catalogue import Catalogue, Thumbnail
from vidmem.index.files import Syncs, remove_file, translated
from vidmem.index.folder import CROPS, inside
from vidmem.index.lock import WriterLock
from vidmem.index.manifest import Manifest
from vidmem.index.newfiles import NewFiles, force
from vidmem.index.object_rows import ObjectRows
from vidmem.index.objects import Look, ObjectId, ObjectUpdate, Origin
from vidmem.index.reading import StoreReader
from vidmem.index.vectors import VectorIndex
from vidmem.types import Span, VideoId

_CROPS_AT_ONCE = 128
"""Files that are open until all are forced to the disk together: a process may have no more than some hundreds."""


class ObjectWriter(StoreReader):
    """The objects' part of a `Store`. What it raises and leaves is what `Store` says of every method."""

    def __init__(
        self, path: Path, manifest: Manifest, catalogue: Catalogue, lock: WriterLock | None, index: VectorIndex
    ) -> None:
        super().__init__(path, manifest, catalogue, lock, index)
        self._syncs = Syncs()

    def add_object(self, video_id: VideoId, *, label: str = "", label_score: float = 0.0, origin: Origin) -> ObjectId:
        """Make an object of a video, finished or not, without track and looks yet. Raises NotFound."""
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                self._check_known(catalogue, video_id)
                return ObjectId(ObjectRows.made(catalogue).add(video_id, label, label_score, origin))

    def extend_objects(self, video_id: VideoId, updates: Sequence[ObjectUpdate]) -> None:
        """Commit what is new of some objects of a video, in order. All of it, or nothing. No updates do nothing.

        Raises:
            NotFound: there is no such video or object.
            ValueError: an object is of another video, its track or spans run backwards, or embeddings are not those
                of the store's encoder.
        """
        with self._write_lock:
            self._check_writable()
            with self._transaction() as catalogue:
                self._check_known(catalogue, video_id)
                for update in updates:
                    self._check_update(catalogue, video_id, update)
                rows = ObjectRows.of(catalogue)
                first_id = rows.next_look_id() if rows is not None else 1
            if not updates:
                return
            files = CropFiles(self.path, video_id, first_id)
            try:
                with translated(self.path):
                    looks = [look for update in updates for look in update.looks]
                    for start in range(0, len(looks), _CROPS_AT_ONCE):
                        files.write(looks[start : start + _CROPS_AT_ONCE])
                        force([files], self._syncs)
                with self._transaction(write=True) as catalogue:
                    _add_updates(ObjectRows(catalogue), updates, files)
                    files.is_sealed = True
            except BaseException:
                files.discard()
                raise

    def label_object(self, object_id: ObjectId, label: str, label_score: float = 1.0) -> None:
        """Say what an object is: a name that a person gives it has score 1. Raises NotFound."""
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                self._object_rows(catalogue, object_id).set_label(object_id, label, label_score)

    def remove_object(self, object_id: ObjectId) -> None:
        """Forget an object: its rows, vectors and files. Raises NotFound."""
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                rows = self._object_rows(catalogue, object_id)
                names = rows.crops_of(object_id)
                rows.remove(object_id)
            for name in names:
                remove_file(inside(self.path, name))

    def _check_update(self, catalogue: Catalogue, video_id: str, update: ObjectUpdate) -> None:
        found = self._object_rows(catalogue, update.object_id).video_of(update.object_id)
        if found != video_id:
            raise ValueError(f"object {update.object_id} is one of video {found}, not of {video_id}")
        for look in update.looks:
            if len(look.embedding) != self.identity.embedding_dim:
                dim = self.identity.embedding_dim
                raise ValueError(f"a look's embedding is ({len(look.embedding)},), the store's are ({dim},)")


@dataclass(slots=True)
class CropFiles(NewFiles):
    """Crops of looks that are not committed yet, by the numbers that these will have."""

    video_id: str
    first_id: int
    crops: list[Thumbnail] = field(default_factory=list, init=False)

    def write(self, looks: Sequence[Look]) -> None:
        """Write the next ones; `force` brings them to the disk. Raises OSError."""
        folder = self.store / CROPS / self.video_id
        if looks and not folder.is_dir():
            folder.mkdir(parents=True)
            sync(self.store)
        for look_id, look in enumerate(looks, start=self.first_id + len(self.crops)):
            name = f"{CROPS}/{self.video_id}/{look_id:08d}.jpg"
            self.put(name, look.crop)
            self.crops.append(Thumbnail(name, len(look.crop), crc32(look.crop)))


def _add_updates(rows: ObjectRows, updates: Sequence[ObjectUpdate], files: CropFiles) -> None:
    look_ids = enumerate(files.crops, start=files.first_id)
    for update in updates:
        object_id = update.object_id
        if update.track is not None and len(update.track):
            last, first = rows.last_seconds(object_id), float(update.track.seconds[0])
            if last is not None and first <= last:
                raise ValueError(f"the track of object {object_id} goes on at {first} s, which is not after {last} s")
            rows.add_piece(object_id, update.track)
        for span in update.spans:
            _add_span(rows, object_id, span)
        for look in update.looks:
            look_id, crop = next(look_ids)
            rows.add_look(look_id, object_id, look, crop)
        if update.label is not None and update.label_score is not None:
            rows.set_label(object_id, update.label, update.label_score)


def _add_span(rows: ObjectRows, object_id: int, span: Span) -> None:
    """Behind the last one, or as its longer self."""
    last = rows.last_span(object_id)
    if last is not None and span.start < last.start:
        raise ValueError(f"object {object_id} was seen from {last.start} s on: {span} runs back")
    if last is not None and span.start <= last.end:
        span = Span(last.start, max(last.end, span.end))
    rows.put_span(object_id, span)
