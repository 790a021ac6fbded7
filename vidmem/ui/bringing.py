"""How videos come into a store from the page: by upload, by path, from the web; and how they leave it."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vidmem.errors import StorageFull
from vidmem.ingest import open_source
from vidmem.ingest.fetching import fetch
from vidmem.pipelines import VideoMemory
from vidmem.types import VideoId, format_bytes
from vidmem.ui.jobs import Job, Tell
from vidmem.ui.session import Session
from vidmem.ui.stores import OpenStore

MEDIA = "media"
"""Folder within a store for the files that came to it through the page, so that they can be played again."""


def add_text(session: Session, store: OpenStore, text: str) -> str:
    """Watch what somebody typed: a path within the roots, or a web address; a folder of pictures counts as a video.

    Returns the video's source. Raises BadInput for a path outside of the roots, and as `open_source` for what is no
    video. What is wrong with a web address is told by the job.
    """
    if "://" in text:
        return _add_url(session, store, text.strip())
    path = session.limits.path(text)
    _check(path)
    session.ingest(store, path)
    return str(path)


def add_upload(session: Session, store: OpenStore, uploaded: Path) -> str:
    """Take an uploaded file into the store, and watch it; its source from then on.

    Raises as `open_source` for what is no video, which is removed.
    """
    _check_brought(uploaded)
    kept = _place(store, uploaded.name)
    session.ingest(store, kept, bring=lambda: _keep(uploaded, kept))
    return str(kept)


def remove(session: Session, store: OpenStore, video_id: VideoId) -> Job[None]:
    """Take a video out of its store, and its file if it came through the page."""

    def work(memory: VideoMemory, tell: Tell) -> None:
        gone = memory.remove(video_id)
        if Path(gone.source).is_relative_to(store.path / MEDIA):
            _remove(Path(gone.source))

    return store.submit("remove", video_id, work)


def _add_url(session: Session, store: OpenStore, url: str) -> str:
    limits = session.limits
    kept = _place(store, unquote(urlsplit(url).path.rpartition("/")[2]))

    def work(tell: Tell) -> None:
        def show(done: int, size: int | None) -> None:
            of = f" of {format_bytes(size)}" if size else ""
            tell(f"Fetched {format_bytes(done)}{of}", done / size if size else None)

        tell(f"Asking {urlsplit(url).hostname}")
        file = fetch(
            url,
            session.folder("uploads"),
            max_bytes=limits.max_bytes,
            allow_private=limits.allow_private,
            progress=show,
        )
        _check_brought(file)
        session.ingest(store, kept, bring=lambda: _keep(file, kept))

    session.help("fetch", store.key, str(kept), work)
    return str(kept)


def _check_brought(file: Path) -> None:
    """Raises as `open_source` for what is no video, which is removed."""
    try:
        _check(file)
    except BaseException:
        _remove(file)
        raise


def _check(path: Path) -> None:
    with open_source(path):
        pass


def _place(store: OpenStore, name: str) -> Path:
    """Where a file of this name will lie in a store: apart from all others of this name."""
    return store.path / MEDIA / secrets.token_hex(6) / (Path(name).name or "video")


def _keep(file: Path, kept: Path) -> None:
    try:
        kept.parent.mkdir(parents=True)
        shutil.move(file, kept)
    except OSError as error:
        raise StorageFull(
            f"{kept.name} can't be kept in the store ({error.strerror}): make room on the disk"
        ) from error


def _remove(file: Path) -> None:
    """With its folder, which holds nothing else."""
    with suppress(OSError):
        file.unlink()
        file.parent.rmdir()
