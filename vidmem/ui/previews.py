"""What the player shows of the open video: its file, or where a browser can't play that a small copy of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from vidmem.errors import VidmemError
from vidmem.index import StoredVideo
from vidmem.ingest.preview import make_preview, make_slideshow, plays_in_browsers
from vidmem.types import format_time
from vidmem.ui.jobs import Job, Tell
from vidmem.ui.player import not_playing, playing
from vidmem.ui.session import Opened, Session

_NOTHING = "No video is open. Pick one in the Library."
_SLIDES = 20_000


class Previews:
    """Copies are made once each, beside everything else, and go with the app. For any thread."""

    def __init__(self, session: Session) -> None:
        self._session, self._lock = session, Lock()
        self._plays: dict[tuple[str, int], bool] = {}
        self._jobs: dict[Path, Job[None]] = {}
        self._shown: dict[str, Path] = {}
        """The newest copy of each video that is whole, by `Opened.key`."""
        self._num_shown: dict[str, int] = {}
        """How much there was of a stream when its newest copy was begun, in frames, by `Opened.key`."""

    def of(self, opened: Opened | None) -> dict[str, Any]:
        """What the player shows now. Called again and again while something is under way."""
        if opened is None:
            return not_playing(_NOTHING)
        path = Path(opened.source)
        try:
            if path.exists() and self._session.may_play(opened):
                return self._file(opened, path)
        except VidmemError as error:
            return not_playing(str(error))
        video = self._session.video(opened)
        if video is None:
            job = self._session.job_of(opened)
            return not_playing(job.message if job is not None else f"{path.name} is not here any more.")
        # Of a stream that goes on another one is made whenever twice as much of it is there, and by `renew`.
        with self._lock:
            if video.num_frames >= 2 * self._num_shown.get(opened.key, 0):
                self._num_shown[opened.key] = video.num_frames
            named = f"{video.key}{self._num_shown[opened.key]}"
        return self._copy(opened, named, lambda target, _: self._slides(opened, video, target))

    def renew(self, opened: Opened | None) -> None:
        """Have `of` make another copy of a stream that went on since the last one, unless one is being made."""
        if opened is None:
            return
        jobs = self._session.jobs.states(store=opened.store)
        if any(job.kind == "preview" and job.subject == opened.source and not job.is_over for job in jobs):
            return
        with self._lock:
            self._num_shown.pop(opened.key, None)

    def _file(self, opened: Opened, path: Path) -> dict[str, Any]:
        changed = path.stat().st_mtime_ns
        with self._lock:
            if (opened.source, changed) not in self._plays:
                self._plays[opened.source, changed] = plays_in_browsers(path)
            plays = self._plays[opened.source, changed]
        if plays:
            return playing(self._session.url(path), opened.key)
        return self._copy(opened, f"{path}{changed}", lambda target, tell: _preview(path, target, tell))

    def _copy(self, opened: Opened, named: str, make: Callable[[Path, Tell], None]) -> dict[str, Any]:
        """The copy of this name, which is begun if nobody did; until it is whole, the one before."""
        target = self._session.folder("previews") / f"{hashlib.sha256(named.encode()).hexdigest()[:20]}.mp4"
        with self._lock:
            if target.exists():
                self._shown[opened.key] = target
            elif target not in self._jobs:
                self._jobs[target] = self._session.help(
                    "preview", opened.store, opened.source, lambda tell: make(target, tell)
                )
            if opened.key in self._shown:
                return playing(self._session.url(self._shown[opened.key]), opened.key)
            return not_playing(self._jobs[target].state().message)

    def _slides(self, opened: Opened, video: StoredVideo, target: Path) -> None:
        """A stream, or a file that is gone, is shown by the pictures that its store has of it."""
        with self._session.store(opened.store).look() as memory:
            pictures = [(one.seconds, one.path) for one in memory.pictures(video.video_id, _SLIDES)]
        make_slideshow(pictures, target)


def _preview(path: Path, target: Path, tell: Tell) -> None:
    def show(done: float, duration: float | None) -> None:
        of = f" of {format_time(duration)}" if duration else ""
        tell(
            f"Making {path.name} playable in a browser: {format_time(done)}{of}", done / duration if duration else None
        )

    make_preview(path, target, progress=show)
