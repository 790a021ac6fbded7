"""One writer a store: an operating system's lock on the file `lock`, which ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from vidmem.errors import StoreLocked

LOCK_NAME = "lock"


class WriterLock:
    """The right to write to a store, held from building until `release`. The file holds the writer's process id.

    The file stays when the lock goes: who removes a lock file can remove it from under the next holder.

    Raises:
        StoreLocked: another opening, here or in another process, holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # flock and not lockf: a second opening in this same process must be refused, too.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise StoreLocked(
                f"{folder} is being written by process {holder}: wait for it or stop it, or open the store read-only."
            ) from error
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
