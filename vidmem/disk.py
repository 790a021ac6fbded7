"""What reaches the disk for good, and what the operating system's refusals mean to a user."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from vidmem.errors import StorageFull

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def sync(path: Path) -> None:
    """Force a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def meaning(error: OSError, folder: Path) -> StorageFull | None:
    """A full or forbidden disk as what it means to the user of a folder; None for any other error."""
    if error.errno in _NO_SPACE:
        return no_space(folder)
    if error.errno in _NOT_ALLOWED:
        return not_allowed(folder)
    return None


def no_space(folder: Path) -> StorageFull:
    return StorageFull(f"No space is left for {folder}: free some and go on. Every clip committed until now is kept.")


def not_allowed(folder: Path) -> StorageFull:
    unreadable = _unreadable(folder)
    if unreadable is not None:
        return StorageFull(f"{unreadable} can't be read: allow reading it.")
    return StorageFull(f"{folder} can't be written: allow writing to it, or open it read-only.")


def _unreadable(folder: Path) -> Path | None:
    """The folder, or the first file in it, that this user may not read; None if all may be read."""
    if not os.path.isdir(folder):
        return None
    if not os.access(folder, os.R_OK | os.X_OK):
        return folder
    return next((path for path in sorted(folder.iterdir()) if not os.access(path, os.R_OK)), None)
