"""What the player shows of the open video: its file, or where a browser can't play that a small copy of it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
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
_NOT_YET = "Nothing of it is in memory yet."
_SLIDES = 20_000


class Previews:
    """Copies are made once each, beside everything else, and go with the app at the latest. For any thread."""

    def __init__(self, session: Session) -> None:
        self._session, self._lock = session, Lock()
        self._plays: dict[tuple[str, int], bool] = {}
        self._jobs: dict[Path, Job[None]] = {}
        """What makes each copy, or made it."""
        self._copies: defaultdict[str, list[Path]] = defaultdict(list)
        """Those of each video, oldest first, whole or not, by `Opened.key`."""
        self._num_copied: dict[str, int] = {}
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
        if not video.num_frames:
            return not_playing(_NOT_YET)
        named = f"{video.key}{self._num_to_copy(opened, video)}"
        return self._copy(opened, named, lambda target, _: self._slides(opened, video, target))

    def renew(self, opened: Opened | None) -> None:
        """Have `of` make another copy of a stream that went on since the last one, or whose last one failed.

        Where one is being made, nothing changes: who wants more than it will have asks again when it is shown.
        """
        if opened is None:
            return
        with self._lock:
            copies = self._copies[opened.key]
            if not all(self._jobs[path].state().is_over for path in copies):
                return
            self._num_copied.pop(opened.key, None)
            self._drop(opened.key, [path for path in copies if not path.exists()])

    def _num_to_copy(self, opened: Opened, video: StoredVideo) -> int:
        """How many frames of a stream the copy has that `of` shows, or makes.

        That is another one whenever twice as much of it is there, a tenth more if the last one failed, and by `renew`.
        """
        with self._lock:
            copied, copies = self._num_copied.get(opened.key, 0), self._copies[opened.key]
            has_failed = bool(copies) and self._jobs[copies[-1]].state().phase == "failed"
            if video.num_frames >= (1.1 * copied if has_failed else 2 * copied):
                self._num_copied[opened.key] = video.num_frames
            return self._num_copied[opened.key]

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
        """The copy of this name, which is begun if nobody did; until it is whole, the newest that is."""
        name = hashlib.sha256(f"{opened.key}\n{named}".encode()).hexdigest()[:20]
        target = self._session.folder("previews") / f"{name}.mp4"
        with self._lock:
            if target not in self._jobs:
                self._jobs[target] = self._session.help(
                    "preview", opened.store, opened.source, lambda tell: make(target, tell)
                )
            copies = self._copies[opened.key]
            if target not in copies:
                copies.append(target)
            whole = [path for path in copies if path.exists()]
            # A browser fetches pieces of the copy before the newest until its page looks again, seconds later.
            needed = {*whole[-2:], target}
            self._drop(opened.key, [path for path in copies if path not in needed and self._jobs[path].state().is_over])
            if whole:
                return playing(self._session.url(whole[-1]), opened.key)
            return not_playing(self._jobs[target].state().message)

    def _drop(self, key: str, dropped: Sequence[Path]) -> None:
        """Forget copies that nobody needs, or that failed, and remove their files."""
        for path in dropped:
            path.unlink(missing_ok=True)
            state = self._jobs.pop(path).state()
            if state.phase == "failed":
                self._session.jobs.dismiss(state.job_id)
        self._copies[key] = [path for path in self._copies[key] if path not in dropped]

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
