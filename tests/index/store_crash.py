"""Processes that write to a store and die on the way. Forked from one server that has torch loaded already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import store_world as world

from vidmem.index import Store, StoreIdentity

HERE = str(Path(__file__).parent)
_SOURCES = (str(Path(sys.modules[Store.__module__].__file__ or "").parent), "contextlib.py")


def context() -> multiprocessing.context.ForkServerContext:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["torch", "safetensors.torch", "faiss", "numpy"])
    return made


def at_line(number: int, act: Callable[[], None]) -> Callable:
    """A trace function that acts at the n-th line executed in the store's own code."""
    left = number

    def trace(frame, event, argument):  # type: ignore[no-untyped-def]
        nonlocal left
        if not frame.f_code.co_filename.startswith(_SOURCES[0]) and not frame.f_code.co_filename.endswith(_SOURCES[1]):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                act()
        return trace

    return trace


def count_lines(act: Callable[[], None]) -> int:
    """How many lines of the store's own code `act` runs through."""
    count = 0

    def trace(frame, event, argument):  # type: ignore[no-untyped-def]
        nonlocal count
        if not frame.f_code.co_filename.startswith(_SOURCES[0]) and not frame.f_code.co_filename.endswith(_SOURCES[1]):
            return None
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(None)
    return count


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def append_and_die(path: str, video_id: str, clips: range, line: int) -> None:
    """Append clips to a store, together; be killed before the n-th line of it runs."""
    store = Store.open(path, world.IDENTITY)
    sys.settrace(at_line(line, die))
    world.append_together(store, video_id, clips)
    sys.settrace(None)
    os._exit(0)


def remove_and_die(path: str, video_id: str, line: int) -> None:
    store = Store.open(path, world.IDENTITY)
    sys.settrace(at_line(line, die))
    store.remove_video(world.VideoId(video_id))
    sys.settrace(None)
    os._exit(0)


def act_and_die(path: str, act: Callable[[Store], None], line: int, identity: StoreIdentity = world.IDENTITY) -> None:
    store = Store.open(path, identity)
    sys.settrace(at_line(line, die))
    act(store)
    sys.settrace(None)
    os._exit(0)


def create_and_die(path: str, line: int) -> None:
    sys.settrace(at_line(line, die))
    Store.open(path, world.IDENTITY)
    sys.settrace(None)
    os._exit(0)


def append_for_ever(path: str, video_id: str, acknowledged) -> None:  # type: ignore[no-untyped-def]
    """Append clips and count in shared memory those that were said to be durable, until killed."""
    store = Store.open(path, world.IDENTITY)
    store.begin_video(world.video())
    for clip in range(store.video(world.VideoId(video_id)).num_clips, 1_000_000):
        world.append(store, video_id, clip)
        acknowledged.value = clip + 1
