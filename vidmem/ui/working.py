"""Threads for what takes long: they step back for those that answer the page."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

_STEP = 10
"""Of niceness, which ends at 19."""


def workers(name: str, count: int = 1) -> ThreadPoolExecutor:
    """Threads that get what the others, and the browser on the same machine, leave of the cores, as do the threads and
    processes that they begin. Elsewhere than on Linux a thread has no priority of its own: they are as others."""
    return ThreadPoolExecutor(max_workers=count, thread_name_prefix=f"vidmem-{name}", initializer=_step_back)


def _step_back() -> None:
    if sys.platform != "linux":
        return
    me = threading.get_native_id()
    with suppress(OSError):  # a sandbox may forbid it
        os.setpriority(os.PRIO_PROCESS, me, min(19, os.getpriority(os.PRIO_PROCESS, me) + _STEP))
