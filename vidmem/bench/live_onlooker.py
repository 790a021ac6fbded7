"""Looks into a store while another thread or process writes to it, and reads the numbers burnt into its frames."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from vidmem.index import Store
from vidmem.pipelines.timeline import Timelines
from vidmem.world.counted import number_of

LOOK_SECONDS = 0.02
"""Between two looks: so much later than it was committed a frame may be found."""
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Found:
    """A frame of counted video in memory."""

    pts_seconds: float
    number: int
    """The one that is burnt in."""
    at: float
    """When it was first found, in monotonic seconds."""


class Onlooker:
    """Finds the frames of a store's only video as they are committed; a context manager.

    It is a reader like any other, with a thread of its own. The store must be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frames: list[tuple[float, str, float]] = []
        self.num_clips = 0
        """That were found."""
        self._is_over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="onlooker", daemon=True)

    def found(self) -> list[Found]:
        """What was found so far, in the order of time. Raises AssertionError where a frame's number can't be read."""
        return [Found(pts, number_of(_picture(thumbnail)), at) for pts, thumbnail, at in list(self._frames)]

    def __len__(self) -> int:
        """Frames that were found."""
        return len(self._frames)

    def rate(self, begin: float, end: float) -> float:
        """Frames a second that were found between two moments, in monotonic seconds."""
        return sum(begin <= at < end for _, _, at in list(self._frames)) / max(end - begin, 1e-9)

    def wait(self, count: int) -> None:
        """Wait until so many frames were found. Raises RuntimeError if that takes minutes."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(self) < count:
            if self._failure is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{len(self)} frames of {count} are in memory") from self._failure
            time.sleep(LOOK_SECONDS)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look once more, and end. Raises what went wrong."""
        self._is_over.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _run(self) -> None:
        try:
            with Store.open(self._path, Store.peek(self._path).identity, create=False, read_only=True) as store:
                timelines = Timelines(store)
                while not self._is_over.wait(LOOK_SECONDS):
                    self._look(store, timelines)
                self._look(store, timelines)
        except BaseException as error:
            self._failure = error  # raised by whoever leaves

    def _look(self, store: Store, timelines: Timelines) -> None:
        for video in store.videos():
            if video.num_frames == len(self._frames):
                continue
            line, now = timelines.of(video), time.monotonic()
            for place in range(len(self._frames), len(line)):
                thumbnail = line.thumbnails[place]
                assert thumbnail is not None, "a stream's frames have thumbnails"
                self._frames.append((float(line.pts_seconds[place]), thumbnail, now))
            self.num_clips = video.num_clips


def _picture(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
