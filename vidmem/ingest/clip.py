"""Frames gathered into clips, and decoding that runs ahead of its consumer by a bounded distance."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from vidmem.types import Clip, Frame, Span

T = TypeVar("T")
_GRID = 8
"""The near-duplicate gate compares pictures cell by cell on a grid of this many cells a side."""


def clips(
    frames: Iterable[Frame],
    *,
    seconds: float = 8.0,
    end: float | Callable[[], float] | None = None,
    max_similarity: float | None = None,
) -> Iterator[Clip]:
    """Cut frames, which come in time order, into clips whose spans follow each other without a gap.

    A clip takes frames for `seconds` from its first one; its span ends where the next clip's first frame begins.

    Args:
        end: the video's end, where the last clip's span ends; a function is called once the frames are used up.
            None: the last frame is taken to last as long as the one before it (1 s if it is alone).
        max_similarity: drop a frame that is more alike than this, in [0, 1], to the latest kept frame of its
            clip (see `similarity`); that one stays on display for it. The first frame of a clip always stays.
    """
    if not seconds > 0.0:
        raise ValueError(f"a clip of {seconds} s holds nothing: give more than 0")
    kept: list[Frame] = []
    latest = previous = None
    for frame in frames:
        if kept and frame.pts_seconds >= kept[0].pts_seconds + seconds:
            yield Clip(tuple(kept), Span(kept[0].pts_seconds, frame.pts_seconds))
            kept = []
        previous, latest = latest, frame.pts_seconds
        if not kept or max_similarity is None or similarity(kept[-1], frame) <= max_similarity:
            kept.append(frame)
    if kept and latest is not None:
        lasts = latest - previous if previous is not None else min(1.0, seconds)
        stated = end() if callable(end) else end
        yield Clip(tuple(kept), Span(kept[0].pts_seconds, latest + lasts if stated is None else max(latest, stated)))


def similarity(a: Frame, b: Frame) -> float:
    """How alike two frames are, from 0.0 to 1.0 (equal), by their smallest view.

    One minus the largest mean difference over the cells of an 8 x 8 grid, so that a small thing that comes or goes
    counts in full and is not diluted by a background that stays.
    """
    index = min(range(len(a.views)), key=lambda i: a.views[i].size)
    first, second = a.views[index], b.views[index]
    if first.shape != second.shape:
        return 0.0
    difference = np.abs(first.astype(np.int16) - second.astype(np.int16)).mean(axis=2)
    rows = np.linspace(0, difference.shape[0], min(_GRID, difference.shape[0]) + 1).astype(int)
    columns = np.linspace(0, difference.shape[1], min(_GRID, difference.shape[1]) + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(difference, rows[:-1], axis=0), columns[:-1], axis=1)
    areas = np.outer(np.diff(rows), np.diff(columns))
    return float(1.0 - (sums / areas).max() / 255.0)


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetch(iterator: Iterable[T], *, depth: int) -> Iterator[T]:
    """Run an iterator in a thread of its own, at most `depth` finished items (and one in work) ahead.

    The thread starts with the first item asked for. Its exceptions are raised here, after the items before them.
    Closing, or dropping, what this returns stops the thread, closes the iterator there and joins.
    """
    if depth < 1:
        raise ValueError(f"a queue of {depth} items passes nothing on: give 1 or more")
    return _prefetch(iterator, depth)


def _prefetch(iterator: Iterable[T], depth: int) -> Iterator[T]:
    items: queue.Queue[T | _Failed | None] = queue.Queue(maxsize=depth)
    stopped = threading.Event()
    thread = threading.Thread(target=_fill, args=(iterator, items, stopped), name="vidmem-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = items.get()
            if item is None:
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stopped.set()
        while thread.is_alive():
            # Whoever waits for a place in the queue gets one, sees the stop and ends.
            try:
                items.get_nowait()
            except queue.Empty:
                thread.join(timeout=0.05)
        thread.join()


def _fill(iterator: Iterable[T], items: queue.Queue[T | _Failed | None], stopped: threading.Event) -> None:
    last: _Failed | None = None
    try:
        try:
            for item in iterator:
                if stopped.is_set():
                    break
                items.put(item)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
    except BaseException as error:
        last = _Failed(error)  # handed to the consumer, which raises it
    if not stopped.is_set():
        items.put(last)
