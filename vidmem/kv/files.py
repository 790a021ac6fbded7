"""Reading and writing block files at a place, and what the operating system's refusals mean to a user."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vidmem import disk

Bytes = bytes | bytearray | memoryview
"""Contiguous bytes, of tensors too: `tensor.numpy().data`."""

_GONE = {errno.ENOENT, errno.EIO}
"""What is not there, and what the disk itself can't read any more: both are damage, told block by block."""


def write_at(descriptor: int, parts: Sequence[Bytes], offset: int) -> None:
    """Write all parts behind each other, in as few calls as the system takes."""
    views = [memoryview(part) for part in parts if len(part)]
    while views:
        written = os.pwritev(descriptor, views, offset)
        offset += written
        views = _left(views, written)


def read_at(path: Path, parts: Sequence[Bytes], offset: int) -> int:
    """Fill the parts with a file's bytes from `offset` on, with one call where the system lets us.

    Returns how many bytes there were: fewer than asked where the file ends, is gone or can't be read. Raises OSError
    where it is there and we are kept from it.
    """
    views = [memoryview(part) for part in parts if len(part)]
    start = offset
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    try:
        # The kernel would read on behind what is asked for, up to some megabytes: blocks that nobody wants.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        while views and (num_read := os.preadv(descriptor, views, offset)):
            offset += num_read
            views = _left(views, num_read)
    except OSError as error:
        if error.errno not in _GONE:
            raise
    finally:
        os.close(descriptor)
    return offset - start


def size_of(path: Path) -> int:
    """Bytes of a file, 0 if it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Raise a full or forbidden disk as what it means to a user."""
    try:
        yield
    except OSError as error:
        refusal = disk.meaning(error, folder)
        if refusal is None:
            raise
        raise refusal from error


def _left(views: list[memoryview], num_done: int) -> list[memoryview]:
    """What remains of the views once their first `num_done` bytes are done."""
    for index, view in enumerate(views):
        if num_done < view.nbytes:
            return [view[num_done:], *views[index + 1 :]]
        num_done -= view.nbytes
    return []
