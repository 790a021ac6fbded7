"""How clips leave a store whose stream goes on: rows first, files after, a few clips at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from vidmem.index.alert_writing import AlertWriter
from vidmem.index.blocks import blocks_folder
from vidmem.index.catalogue import Catalogue
from vidmem.index.expired_rows import Expired, ExpiredRows, HeldClip
from vidmem.index.files import remove_file, translated
from vidmem.index.folder import inside
from vidmem.index.stream_rows import StreamRows
from vidmem.kv.records import Beginning, segment_name
from vidmem.kv.recovery import first_block_of
from vidmem.types import Retention, Span, VideoId

_PAGES_AT_ONCE = 256
"""Of the catalogue, given back to the disk with one step: 4 MiB."""
_PAGES_LEFT_FREE = 64
"""New rows take them: a stream that loses as much as it gains gives nothing back and grows by nothing."""


class ExpiringStore(AlertWriter):
    """The part of a `Store` from which clips leave. What it raises and leaves is what `Store` says of every method."""

    def expire(self, video_id: VideoId, clip_ids: Sequence[int], until: float) -> None:
        """Let clips of a stream go for good: rows, vectors, landmarks, tokens, thumbnails, looks at objects.

        One transaction, then files; so a few dozen at a time, and other writes wait no longer than for those. Blocks of
        keys and values go by whole segments, once `until` has passed all that is in them; clips that stay behind are
        made again from their tokens. What is left of removed files by a crash goes with the next opening.

        Args:
            clip_ids: those that leave; all others that begin before `until` stay behind.
            until: every clip that begins before this was looked at, in seconds of the stream. Never goes back.

        Raises:
            NotFound: there is no such video.
            ValueError: it is no stream, a clip is not one of its, begins at `until` or later, or is its newest;
                or `until` goes back.
        """
        with self._write_lock:
            self._check_writable()
            with self._transaction() as catalogue:
                self._check_known(catalogue, video_id)
                _check_leaving(catalogue, video_id, clip_ids, until)
                rows = ExpiredRows.of(catalogue)
                before = rows.find(video_id) if rows is not None else Expired()
                if until < before.until:
                    raise ValueError(f"until {until} s lies before {before.until} s, up to where clips were looked at")
                begin = self._beginning(catalogue, video_id, until, before.begin)
            with self._transaction(write=True) as catalogue:
                rows = ExpiredRows.made(catalogue)
                names, num_frames = rows.remove_clips(video_id, clip_ids, until)
                num_clips = before.num_clips + len(clip_ids)
                rows.put(video_id, Expired(until, num_clips, before.num_frames + num_frames, begin))
            self._remove_expired(video_id, names, before.begin, begin)

    def forget_said(self, days: float | None, at_most: int) -> None:
        """Let answered questions, and what standing ones were told, go for good: what is older than so many days, None
        for no matter how old, and all but the newest `at_most` of each."""
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                ExpiredRows(catalogue).forget_said(days, at_most)

    def give_back(self) -> bool:
        """Give a part of the catalogue's free pages back to the disk, if they are many; whether more are left."""
        with self._write_lock, self._lock, translated(self.path):
            self._check_writable()
            assert self._catalogue is not None, f"{self.path} is closed"
            num_free = self._catalogue.num_free_pages()
            if num_free > _PAGES_LEFT_FREE:
                self._catalogue.give_back(_PAGES_AT_ONCE)
            return num_free > _PAGES_LEFT_FREE + _PAGES_AT_ONCE

    def shrink(self) -> None:
        """Give all free pages, and the journal's room, back to the disk."""
        with self._write_lock, self._lock, translated(self.path):
            self._check_writable()
            assert self._catalogue is not None, f"{self.path} is closed"
            self._catalogue.shrink()

    def set_retention(self, retention: Retention) -> None:
        """Note how long clips are kept: `retention` tells it to whoever asks."""
        with self._write_lock:
            self._check_writable()
            if retention != self.retention():
                with self._transaction(write=True) as catalogue:
                    ExpiredRows.made(catalogue).set_retention(retention)

    def free_bytes(self) -> int:
        """Of the catalogue, what `give_back` will give back."""
        with self._transaction() as catalogue:
            return max(0, catalogue.num_free_pages() - _PAGES_LEFT_FREE) * catalogue.page_bytes()

    # -- reading --

    def retention(self) -> Retention:
        """What was last said of how long clips are kept."""
        with self._transaction() as catalogue:
            rows = ExpiredRows.of(catalogue)
            return rows.retention() if rows is not None else Retention()

    def stream_ids(self) -> list[VideoId]:
        """Of the videos that are streams, in the order they came."""
        with self._transaction() as catalogue:
            streams = StreamRows.of(catalogue)
            return streams.ids() if streams is not None else []

    def held_clips(self, video_id: VideoId, start: float, end: float, limit: int) -> list[HeldClip]:
        """The first clips of a video that begin in `[start, end)`."""
        with self._transaction() as catalogue:
            return ExpiredRows(catalogue).clips(video_id, start, end, limit, has_kv=self._has_kv)

    def files_bytes(self, video_id: VideoId, start: float, end: float) -> tuple[int, float]:
        """Bytes of the files of the clips that begin in `[start, end)`, without KV blocks, and the seconds that they
        cover."""
        with self._transaction() as catalogue:
            return ExpiredRows(catalogue).files_bytes(video_id, start, end)

    def num_frames_from(self, video_id: VideoId, start: float) -> int:
        """How many frames of a video lie at or after a time."""
        with self._transaction() as catalogue:
            return ExpiredRows(catalogue).num_frames_from(video_id, start)

    def num_clips_between(self, video_id: VideoId, start: float, end: float) -> int:
        """How many clips of a video begin at or after `start` and end by `end`."""
        with self._transaction() as catalogue:
            return ExpiredRows(catalogue).num_clips_between(video_id, start, end)

    def start_of_newest(self, video_id: VideoId, num_clips: int) -> float:
        """When the first of a video's newest clips begins; infinite if it has none."""
        with self._transaction() as catalogue:
            return ExpiredRows(catalogue).start_of_newest(video_id, num_clips)

    def shown_spans(self, video_id: VideoId, start: float, end: float, *, but: str) -> list[Span]:
        """What meets `[start, end)` of stretches that logged answers cite, and key moments of objects.

        `but`: why a stretch is cited that does not count.
        """
        with self._transaction() as catalogue:
            return ExpiredRows(catalogue).shown_spans(video_id, start, end, but=but)

    def segment_bytes(self, video_id: VideoId) -> dict[int, int]:
        """Bytes of each segment of a video's log of KV blocks, by its number."""
        sizes: dict[int, int] = {}
        with suppress(FileNotFoundError):
            for path in blocks_folder(self.path, video_id).iterdir():
                sizes[int(path.stem)] = path.stat().st_size
        return sizes

    # -- within --

    def _beginning(self, catalogue: Catalogue, video_id: VideoId, until: float, before: Beginning) -> Beginning:
        """Where a log begins once all clips that begin before `until` were looked at."""
        if not self._has_kv:
            return before
        segment = ExpiredRows(catalogue).last_segment_before(video_id, until)
        if segment is None or segment <= before.segment:
            return before
        block = first_block_of(blocks_folder(self.path, video_id), segment)
        return before if block is None else Beginning(segment, block)

    def _remove_expired(self, video_id: VideoId, names: Sequence[str], before: Beginning, begin: Beginning) -> None:
        for name in names:
            remove_file(inside(self.path, name))
        folder = blocks_folder(self.path, video_id)
        for segment in range(before.segment, begin.segment):
            remove_file(folder / segment_name(segment))


def _check_leaving(catalogue: Catalogue, video_id: str, clip_ids: Sequence[int], until: float) -> None:
    streams = StreamRows.of(catalogue)
    if streams is None or video_id not in streams.ids():
        raise ValueError(f"video {video_id} is no stream, and its clips stay")
    rows = ExpiredRows(catalogue)
    starts = rows.starts_of(video_id, clip_ids)
    if len(starts) != len(set(clip_ids)):
        raise ValueError(f"some of the clips {clip_ids} are not of video {video_id}")
    if rows.end_of_last_before(video_id, until) > until:
        raise ValueError(f"{until} s lies within a clip of video {video_id}, not between two")
    newest = rows.start_of_newest(video_id, 1)
    if any(start >= until or start >= newest for start in starts):
        raise ValueError(f"clips {clip_ids} of video {video_id} begin at {until} s or later, or one is its newest")
