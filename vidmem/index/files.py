"""Files that survive a crash, and what the operating system's and SQLite's refusals mean to a user."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

from vidmem import disk
from vidmem.disk import sync
from vidmem.errors import BadInput, StoreCorrupt, StoreLocked, VidmemError

NEW = ".new"
"""What follows the name of a file while its next content is written."""

_NUM_SYNCS = 8
_NO_PATH = {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
_SQLITE_NO_SPACE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_SQLITE_NOT_ALLOWED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_SQLITE_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


def write_file(path: Path, *data: bytes | memoryview) -> int:
    """Write a file. It is safe from a crash once it, whose open descriptor is returned, and its folder were synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        for part in data:
            view = memoryview(part)
            while view:
                view = view[os.write(descriptor, view) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class Syncs:
    """Threads that force files to the disk several at a time: the file system then joins their waits.

    A clip's ten files took 16 ms one by one and 5 ms so (ext4, 2 cores). Threads made anew for each clip took 3 ms of
    CPU where these take 1.2, most of it the file system's own.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_NUM_SYNCS - 1, "vidmem-sync")

    def sync(self, descriptors: Sequence[int]) -> None:
        """Return once the content of open files, and the names in open folders, are on the disk. Raises OSError."""
        parts = [descriptors[first::_NUM_SYNCS] for first in range(min(_NUM_SYNCS, len(descriptors)))]
        others = [self._threads.submit(_sync_each, part) for part in parts[1:]]
        try:
            _sync_each(parts[0] if parts else ())
        finally:
            wait(others)  # whoever opened the files may close them now
        for other in others:
            other.result()

    def close(self) -> None:
        self._threads.shutdown()


def _sync_each(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.fsync(descriptor)


def replace_file(path: Path, *data: bytes | memoryview) -> None:
    """Put `data` in the place of the file in one step: after a crash there is the old file or the new, whole."""
    beside = path.with_name(path.name + NEW)
    try:
        descriptor = write_file(beside, *data)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(beside, path)
        sync(path.parent)
    except BaseException:
        remove_file(beside)
        raise


def remove_file(path: Path) -> None:
    """Remove a file if it can be; what stays is a leftover, which the next opening removes."""
    with suppress(OSError):
        os.unlink(path)


@contextmanager
def translated(store: Path) -> Iterator[None]:
    """Raise the errors of disk and database as what they mean to the user of `store`."""
    try:
        yield
    except OSError as error:
        refusal = disk.meaning(error, store)
        if refusal is not None:
            raise refusal from error
        if error.errno in _NO_PATH:
            raise BadInput(f"{store} can't be a folder ({error.strerror}): name another path.") from error
        raise
    except sqlite3.Error as error:
        meaning = _meaning(error, store)
        if meaning is None:
            raise
        raise meaning from error


def _meaning(error: sqlite3.Error, store: Path) -> VidmemError | None:
    code = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    if primary in _SQLITE_CORRUPT or code in _SQLITE_UNREADABLE or str(error).startswith("no such"):
        return StoreCorrupt(
            f"The catalogue of {store} is damaged ({error}): put back a copy of the store, or ingest the videos anew."
        )
    if primary in _SQLITE_NO_SPACE:
        return disk.no_space(store)
    if primary in _SQLITE_NOT_ALLOWED:
        return disk.not_allowed(store)
    if primary == sqlite3.SQLITE_BUSY:
        return StoreLocked(f"{store} is held by another program: try again when it has finished.")
    return None
