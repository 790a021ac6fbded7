"""Processes that ingest in kv mode and are killed at a step of a commit. Forked from one server."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

STEPS = ("committed", "prefilled", "flushed")


def context() -> multiprocessing.context.ForkServerContext:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["torch", "vidmem.pipelines", "vidmem.models.kv_language", "open_clip", "transformers"])
    return made


def ingest_and_die(path: str, preset: str, video: str, step: str) -> None:
    """Ingest, and be killed after the step (SIGKILL: nothing is closed), in the second clip or the first commit."""
    import vidmem
    from vidmem.index import Store
    from vidmem.kv.tiers import Tiers

    owner, name, calls = {
        "prefilled": (Tiers, "put_all", 2),
        "flushed": (Tiers, "flush", 1),
        "committed": (Store, "append_clips", 1),
    }[step]
    setattr(owner, name, _dying_after(getattr(owner, name), calls))
    with vidmem.open(path, preset) as memory:
        memory.ingest(video, progress=False)
    os._exit(0)


def _dying_after(act: Callable, calls: int) -> Callable:
    left = calls

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        result = act(*args, **kwargs)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped
