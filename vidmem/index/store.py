"""The `.vidmem` folder: what was seen, when, and what is remembered of it. One writer, many readers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vidmem.errors import BadInput, StorageFull, StoreLocked, VidmemError
from vidmem.index.blocks import (
    beginnings,
    blocks_folder,
    blocks_problems,
    discard_uncommitted,
    order_problems,
    remove_blocks,
)
from vidmem.index.catalogue import CATALOGUE_NAME, Catalogue
from vidmem.index.clipfiles import ClipFiles
from vidmem.index.expiring import ExpiringStore
from vidmem.index.files import remove_file, translated
from vidmem.index.folder import (
    CROPS,
    THUMBS,
    count_missing,
    create_store,
    discard_leftovers,
    discard_store,
    discard_unfinished,
    inside,
    is_store,
)
from vidmem.index.following import load_index
from vidmem.index.heap import return_freed
from vidmem.index.lock import LOCK_NAME, WriterLock
from vidmem.index.manifest import MANIFEST_NAME, Manifest, StoreIdentity, check_identity, read_manifest
from vidmem.index.newfiles import force
from vidmem.index.object_rows import ObjectRows
from vidmem.index.rows import ClipBlocks, FrameRows, NewClip, StoredVideo, VideoRow
from vidmem.index.stream_rows import StreamRows
from vidmem.index.vectors import INDEX_NAME
from vidmem.index.verification import Inventory, file_problems, index_problems, object_problems, orphan_problems
from vidmem.kv.records import Position
from vidmem.types import Answer, Span, VideoId

if TYPE_CHECKING:
    from torch import Tensor

_UNSAVED_FRAMES = 1024
_FRAMES_BETWEEN_RETURNS = 128
"""After so many frames, memory that was freed goes back to the machine."""


class Store(ExpiringStore):
    """An open store. Made by `Store.open`; a context manager; its methods may be called from several threads.

    Clips are durable once `append_clips` returns, and what is new of objects once `extend_objects` does. A process that
    dies at any instant leaves all that was committed and nothing else: what lies beyond the last commit is removed when
    the store is next opened for writing. Every read sees the newest committed state, also of a writer in another
    process. Files are written outside of the lock that reads take, so a read never waits longer than for the rows of
    what is committed together.

    Every method may raise `StorageFull` (no space, or no permission), after which the store is as it was, and
    `StoreCorrupt`.
    """

    is_new = False
    """Whether this opening made it."""
    _is_new_folder = False
    _num_since_return = 0

    # -- opening and closing --

    @classmethod
    def open(cls, path: str | Path, identity: StoreIdentity, *, create: bool = True, read_only: bool = False) -> Store:
        """Open the store at `path`, or make one there.

        Args:
            identity: the models that will write to it or question it; it must be the one the store was made with.
            create: make the store if nothing is there. Readers never do.
            read_only: leave the folder as it is; any number of readers may be open, beside one writer.

        Raises:
            NotFound: nothing is there, and none is to be made.
            BadInput: what is there is no store.
            StoreLocked: another process writes to it.
            ModelMismatch, StoreVersion: other models, or a newer program, made it.
            StoreCorrupt: its catalogue or manifest is gone or damaged. A damaged index is rebuilt, and said.
        """
        folder = Path(path)
        with translated(folder), ExitStack() as undo:
            exists = is_store(folder, create=create and not read_only)
            if exists:
                # Before the lock: who can't use the store at all should hear that, not that it is busy.
                check_identity(folder, read_manifest(folder).identity, identity)
            is_new_folder, lock = not folder.exists(), None
            if not read_only:
                lock = _lock_or_create(folder, identity, exists)
                undo.callback(lock.release)
            manifest = read_manifest(folder)
            check_identity(folder, manifest.identity, identity)
            catalogue = Catalogue.open(folder, manifest.format, read_only=read_only)
            undo.callback(catalogue.close)
            with catalogue.transaction():
                index, notice = load_index(folder, catalogue, identity.embedding_dim)
            store = cls(folder, manifest, catalogue, lock, index)
            store.is_new, store._is_new_folder = not exists, is_new_folder
            store._start(notice)
            undo.pop_all()
        return store

    @staticmethod
    def is_at(path: str | Path, *, create: bool) -> bool:
        """Whether a store is at `path`; False only with `create`, where one can be made. Else raises as `open` does."""
        folder = Path(path)
        with translated(folder):
            return is_store(folder, create=create)

    @staticmethod
    def peek(path: str | Path) -> Manifest:
        """Read what made the store, without opening it. Raises as `open` does."""
        folder = Path(path)
        with translated(folder):
            is_store(folder, create=False)
            return read_manifest(folder)

    def close(self) -> None:
        """Save the index and end all use of the store. Closing again does nothing."""
        with self._write_lock, self._lock:
            if self._catalogue is None:
                return
            try:
                if not self.is_read_only:
                    self._save_index()
            finally:
                self._syncs.close()
                self._catalogue.close()
                self._catalogue = None
                if self._writer_lock is not None:
                    self._writer_lock.release()

    def discard(self) -> None:
        """Remove a store that this opening made and that has no video yet, and end all use of it.

        Raises ValueError if it was there before, or has a video.
        """
        with self._write_lock, self._lock:
            if not self.is_new or self.videos():
                raise ValueError(f"{self.path} is not new and empty")
            assert self._catalogue is not None and self._writer_lock is not None
            self._syncs.close()
            self._catalogue.close()
            self._catalogue = None
            discard_store(self.path, with_folder=self._is_new_folder)
            self._writer_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- writing --

    def begin_video(self, video: VideoRow, *, is_stream: bool = False) -> StoredVideo:
        """Make room for a video, or return the one that is there with the same content and settings.

        An unfinished one that is returned goes on from its `committed_until`; a finished one takes no more clips.

        Args:
            is_stream: its clips tell the time of day (`NewClip.wall_start`), and `find_stream` finds it.

        Raises:
            BadInput: its id, or its content and settings, belong to another video of the store.
        """
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                same = catalogue.find_video(video.content_id, video.settings_hash)
                taken = catalogue.video(video.video_id)
                if same is None and taken is None:
                    catalogue.add_video(video)
                    if is_stream:
                        StreamRows.made(catalogue).add(video.video_id)
                    return self._video(catalogue, video.video_id)
        if same is None or same.video_id != video.video_id:
            there = same or taken
            assert there is not None
            command = f"vidmem remove {shlex.quote(str(self.path))} {there.video_id}"
            raise BadInput(
                f"{video.name} is in {self.path} as {there.video_id}, with other settings or under another name:"
                f" remove that one first (`{command}`), or use another store."
            )
        return same

    def append_clip(
        self,
        video_id: VideoId,
        span: Span,
        frames: FrameRows,
        memory_state: Mapping[str, Tensor] | None = None,
        blocks: ClipBlocks | None = None,
    ) -> None:
        """Commit the next clip of a video: `append_clips`."""
        self.append_clips(video_id, [NewClip(span, frames, blocks)], memory_state)

    def append_clips(
        self, video_id: VideoId, clips: Sequence[NewClip], memory_state: Mapping[str, Tensor] | None = None
    ) -> None:
        """Commit the next clips of a video, in order, and the memory as it is after them. All of it, or nothing.

        Args:
            clips: one transaction for several costs less of everything: waits for the disk, journal, and code that
                is no more in the CPU's caches when a model has run between.
            memory_state: takes the place of the video's memory; None leaves what is there.

        Raises:
            NotFound: there is no such video.
            ValueError: there is no clip, the video is finished, time runs backwards, shapes are not those of the
                store's models, or blocks do not follow those of the clip before, or not as frames do.
        """
        if not clips:
            raise ValueError("no clips to commit")
        with self._write_lock:
            self._check_writable()
            for clip in clips:
                self._check_shapes(clip.span, clip.frames)
            with self._transaction() as catalogue:
                self._check_known(catalogue, video_id)
                last_pts = catalogue.last_pts(video_id)
                _check_order(video_id, *catalogue.progress(video_id), last_pts, clips)
                self._check_blocks(clips, catalogue.blocks_position(video_id) if self._has_kv else None)
                old_memory = catalogue.memory_file(video_id) if memory_state is not None else None
                first_id = catalogue.next_clip_id()
            written = [ClipFiles(self.path, video_id, first_id + index) for index in range(len(clips))]
            try:
                with translated(self.path):
                    self._write_files(written, clips, memory_state, last_pts)
                with self._transaction(write=True) as catalogue:
                    for files, clip in zip(written, clips, strict=True):
                        frame_ids = _add_rows(catalogue, files, clip.span, clip.frames)
                        if clip.blocks is not None:
                            _add_blocks(catalogue, files.clip_id, frame_ids, clip.blocks)
                    if any(clip.wall_start is not None for clip in clips):
                        StreamRows.made(catalogue).add_clips(video_id, clips)
                    for files in written:
                        files.is_sealed = True
            except BaseException:
                for files in written:
                    files.discard()
                raise
            if old_memory is not None:
                remove_file(inside(self.path, old_memory.name))
            self._save_index_if_far_behind()
            self._num_since_return += sum(len(clip.frames) for clip in clips)
            if self._num_since_return >= _FRAMES_BETWEEN_RETURNS:
                self._num_since_return = 0
                return_freed()

    def finish_video(self, video_id: VideoId, duration_seconds: float) -> None:
        """Note that a video was ingested to its end. Raises NotFound."""
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                self._video(catalogue, video_id)
                catalogue.finish_video(video_id, duration_seconds)

    def remove_video(self, video_id: VideoId) -> None:
        """Forget a video: rows, vectors, objects, files, and any question whose evidence names it. Raises NotFound."""
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                self._video(catalogue, video_id)
                objects = ObjectRows.of(catalogue)
                names = catalogue.files_of(video_id) + (objects.crops_in(video_id) if objects is not None else [])
                catalogue.remove_video(video_id)
            for name in names:
                remove_file(inside(self.path, name))
            for folder in (THUMBS, CROPS):
                with suppress(OSError):
                    (self.path / folder / video_id).rmdir()
            remove_blocks(blocks_folder(self.path, video_id))
            self._save_index()
            with self._lock, translated(self.path):
                catalogue.shrink()

    def log_question(self, answer: Answer) -> int | None:
        """Keep a question with its answer. Returns its id, or None if this store is read-only or the disk is full:
        an answer is worth more than its log."""
        if self.is_read_only or self._is_unsure:
            return None
        # Programs from before there were streams read what has no time of day.
        hits = [{name: value for name, value in asdict(hit).items() if value is not None} for hit in answer.evidence]
        evidence = json.dumps(hits)
        try:
            with self._write_lock, self._transaction(write=True) as catalogue:
                return catalogue.add_question(answer.question, answer.text, evidence, json.dumps(answer.timings))
        except StorageFull as error:
            self.notices.append(f"A question was not logged. {error}")
            return None

    def verify(self) -> list[str]:
        """Check every checksum and look for orphans. One sentence for each problem; none if the store is sound."""
        with self._transaction() as catalogue:
            problems = catalogue.damage()
            if problems:
                return [f"{CATALOGUE_NAME}: {problem}" for problem in problems]
            problems += index_problems(catalogue, self._followed(catalogue))
            inventory = Inventory.of(catalogue)
            problems += order_problems(catalogue)
            problems += object_problems(catalogue, self.identity.embedding_dim)
            positions = (
                {name: catalogue.blocks_position(name) for name in catalogue.video_ids()} if self._has_kv else {}
            )
            begins = beginnings(catalogue)
        with translated(self.path):
            problems += file_problems(self.path, inventory)
            problems += blocks_problems(self.path, positions, begins)
        with suppress(StoreLocked, StorageFull), translated(self.path), self._nobody_writes():
            with self._transaction() as catalogue:
                inventory = Inventory.of(catalogue)
            problems += orphan_problems(self.path, inventory)
        return problems

    # -- within --

    def _start(self, notice: str | None) -> None:
        """Mend after opening: remove leftovers, complete the index, say what was found."""
        num_missing = 0
        with self._transaction() as catalogue:
            assert self._index is not None, "it was just loaded"
            num_loaded = len(self._index)
            num_added = len(self._followed(catalogue)) - num_loaded
            if not self.is_read_only:
                inventory = Inventory.of(catalogue)
                num_missing = count_missing(self.path, inventory.names(), inventory.block_folders)
                discard_leftovers(self.path, inventory.kept())
                if self._has_kv:
                    discard_uncommitted(self.path, catalogue)
        if notice is not None:
            self.notices.append(notice)
        elif num_added and not self.is_read_only:
            self.notices.append(f"{self.path} was not closed last time: {num_added} frames were added to its index.")
        if num_missing:
            self.notices.append(f"{num_missing} files are gone from {self.path}: `vidmem info --verify` names them.")
        if not self.is_read_only and (notice is not None or num_added):
            self._saved = (-1, -1)
            self._save_index()

    @contextmanager
    def _nobody_writes(self) -> Iterator[None]:
        if not self.is_read_only:
            with self._write_lock:
                yield
            return
        lock = WriterLock(self.path)
        try:
            yield
        finally:
            lock.release()

    def _save_index_if_far_behind(self) -> None:
        """At a tenth of its size, so that neither a stream nor many short videos rewrite the file all the time: what a
        stream of some days adds in hours takes a second or two to write, and less than that to read again."""
        with self._transaction() as catalogue:
            num_unsaved = catalogue.last_frame_id() - max(0, self._saved[0])
        if num_unsaved >= max(_UNSAVED_FRAMES, self._num_saved // 10):
            self._save_index()
            if not self._is_searched:
                self._index = None

    def _save_index(self) -> None:
        """Write the index file if it is behind. It can be rebuilt, so a full disk is only noticed."""
        try:
            with self._transaction() as catalogue:
                if self._index is None and self._is_at(self._saved, catalogue):
                    return
                index = self._followed(catalogue)
                present = (index.last_frame_id, index.num_removals)
                packed = index.packed() if present != self._saved else None
            if packed is not None:
                with translated(self.path):
                    packed.save(self.path / INDEX_NAME)
                self._saved, self._num_saved = present, packed.count
        except VidmemError as error:
            self.notices.append(f"The index was not saved and will be rebuilt. {error}")

    @staticmethod
    def _is_at(saved: tuple[int, int], catalogue: Catalogue) -> bool:
        return saved == (catalogue.last_frame_id(), catalogue.num_removals())

    def _write_files(
        self,
        written: Sequence[ClipFiles],
        clips: Sequence[NewClip],
        memory_state: Mapping[str, Tensor] | None,
        last_pts: float | None,
    ) -> None:
        for files, clip in zip(written, clips, strict=True):
            files.write(clip.frames, memory_state if files is written[-1] else None, last_pts)
            last_pts = clip.frames.pts_seconds[-1] if len(clip.frames) else last_pts
        force(written, self._syncs)

    def _check_blocks(self, clips: Sequence[NewClip], before: Position | None) -> None:
        """`before` is how far the log is committed; None in tokens mode."""
        for clip in clips:
            if before is None:
                if clip.blocks is not None:
                    raise ValueError(f"{self.path} was made in {self.identity.mode} mode and takes no blocks")
                continue
            num_frames, blocks = len(clip.frames), clip.blocks
            if blocks is None or len(blocks.block_ids) != num_frames or not blocks.follow(before):
                raise ValueError(f"{num_frames} frames behind {before} can't have the blocks of {blocks}")
            before = blocks.position

    def _check_shapes(self, span: Span, frames: FrameRows) -> None:
        made = self.identity
        if frames.embeddings.shape[1] != made.embedding_dim:
            raise ValueError(f"embeddings are {frames.embeddings.shape}, the store's are (F, {made.embedding_dim})")
        if tuple(frames.tokens.shape[1:]) != (made.tokens_per_frame, made.token_dim):
            wanted = f"(F, {made.tokens_per_frame}, {made.token_dim})"
            raise ValueError(f"tokens are {tuple(frames.tokens.shape)}, the store's are {wanted}")
        if len(frames) and frames.pts_seconds[-1] > span.end:
            raise ValueError(f"a frame at {frames.pts_seconds[-1]} s is beyond its clip's end, {span.end} s")


def _lock_or_create(folder: Path, identity: StoreIdentity, exists: bool) -> WriterLock:
    """Take the writer's lock; make the store first if there is none. A creation that fails leaves nothing."""
    is_new_folder = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(folder)
    if exists or (folder / MANIFEST_NAME).is_file():  # another process may just have made it
        return lock
    try:
        create_store(folder, identity)
    except BaseException:
        with suppress(OSError):
            discard_unfinished(folder)
            remove_file(folder / LOCK_NAME)
            if is_new_folder:
                folder.rmdir()
        lock.release()
        raise
    return lock


def _check_order(
    video_id: VideoId, is_finished: bool, until: float, last_pts: float | None, clips: Sequence[NewClip]
) -> None:
    """`until` is the end of the last committed clip."""
    if is_finished:
        raise ValueError(f"video {video_id} is finished and takes no more clips")
    for clip in clips:
        if clip.span.start < until:
            raise ValueError(f"a clip from {clip.span.start} s runs back behind {until} s")
        pts = clip.frames.pts_seconds
        if len(pts) and last_pts is not None and pts[0] <= last_pts:
            raise ValueError(f"a frame at {pts[0]} s does not come after {last_pts} s")
        until, last_pts = clip.span.end, float(pts[-1]) if len(pts) else last_pts


def _add_rows(catalogue: Catalogue, files: ClipFiles, span: Span, frames: FrameRows) -> list[int]:
    """Returns the frames' ids."""
    catalogue.add_clip(files.clip_id, files.video_id, span, files.segment)
    starts = frames.pts_seconds.tolist()
    frame_ids = [
        catalogue.add_frame(
            files.video_id,
            files.clip_id,
            row,
            Span(start, end),
            files.tokens_crc32[row],
            files.thumbnails[row],
            frames.embeddings[row].astype("<f4").tobytes(),
        )
        for row, (start, end) in enumerate(zip(starts, [*starts[1:], span.end], strict=False))
    ]
    if files.memory is not None:
        catalogue.set_memory(files.video_id, files.memory)
    return frame_ids


def _add_blocks(catalogue: Catalogue, clip_id: int, frame_ids: Sequence[int], blocks: ClipBlocks) -> None:
    catalogue.set_blocks(clip_id, blocks.position)
    for frame_id, block_id in zip(frame_ids, blocks.block_ids, strict=True):
        catalogue.set_block_of(frame_id, block_id)
    catalogue.add_landmarks(clip_id, blocks.landmarks)
