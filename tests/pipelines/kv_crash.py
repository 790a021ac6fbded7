"""Processes that ingest in kv mode and are killed at a step of a commit. Forked from one server."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

STEPS = ("committed", "put", "flushed")


def context() -> multiprocessing.context.ForkServerContext:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["torch", "vidmem.pipelines", "vidmem.models.kv_language", "open_clip", "transformers"])
    return made


def ingest_and_die(path: str, preset: str, video: str, step: str) -> None:
    """Ingest, and be killed after the step of its first commit (SIGKILL: nothing is closed)."""
    import vidmem
    from vidmem.index import Store
    from vidmem.kv.tiers import Tiers

    owner, name = {
        "put": (Tiers, "put_all"),
        "flushed": (Tiers, "flush"),
        "committed": (Store, "append_clips"),
    }[step]
    setattr(owner, name, _dying_after(getattr(owner, name)))
    with vidmem.open(path, preset) as memory:
        memory.ingest(video, progress=False)
    os._exit(0)


def _dying_after(act: Callable) -> Callable:
    def wrapped(*args: Any, **kwargs: Any) -> None:
        act(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return wrapped
