"""Threads for what takes long: they step back for those that answer the page."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

_STEP = 10
"""Of niceness, which ends at 19."""


def workers(name: str, count: int = 1) -> ThreadPoolExecutor:
    """Threads that get what the others, and the browser on the same machine, leave of the cores, as do the threads and
    processes that they begin. Where a thread has no priority of its own, which is not on Linux, they are as others."""
    return ThreadPoolExecutor(max_workers=count, thread_name_prefix=f"vidmem-{name}", initializer=_step_back)


def _step_back() -> None:
    if sys.platform == "linux":
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, min(19, os.getpriority(os.PRIO_PROCESS, me) + _STEP))
