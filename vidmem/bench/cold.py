"""A cold disk, without the rights to drop all of the kernel's cache."""

from __future__ import annotations

import os
from pathlib import Path


def drop_pages(folder: Path) -> None:
    """Let the kernel forget what it holds of the files in a folder, as far as they are on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
