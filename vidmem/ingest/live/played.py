"""A video file played as if it were a camera: at its own pace, or faster, once or round and round."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vidmem.ingest.file import FileSource
from vidmem.ingest.live.handover import Handover
from vidmem.ingest.live.health import Meter
from vidmem.ingest.live.item import LiveFrame
from vidmem.ingest.live.link import Phase
from vidmem.ingest.live.receiver import Wanted
from vidmem.ingest.source import SourceInfo
from vidmem.types import Frame


class Player:
    """Plays a file until it is stopped, or the file ends. `run` belongs to a thread of its own.

    Its wall clock begins when it starts and runs as fast as the file is played, so that at any speed a frame's wall
    time is as far from the first one's as its stream time. Frames that a blocked consumer held up follow without pause.
    """

    def __init__(
        self,
        path: Path,
        wanted: Wanted,
        *,
        speed: float,
        loop: bool,
        handover: Handover,
        meter: Meter,
        opened: Callable[[SourceInfo], None],
    ) -> None:
        self._path, self._wanted, self._speed, self._loop = path, wanted, speed, loop
        self._handover, self._meter, self._opened = handover, meter, opened
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End `run` soon. For any thread."""
        self._stopped.set()

    def run(self) -> None:
        """Raises what `open_source` raises for a file that can't be read."""
        with FileSource(self._path) as source:
            self._opened(source.info)
            self._meter.set(state=Phase.LIVE, width=source.info.width, height=source.info.height)
            started, wall = time.monotonic(), time.time()
            for frame in self._frames(source):
                if self._stopped.wait(max(0.0, started + frame.pts_seconds / self._speed - time.monotonic())):
                    break
                now = time.monotonic()
                self._meter.saw(now, 1, arrived=now)
                self._handover.put(LiveFrame(frame.pts_seconds, frame.views, wall + frame.pts_seconds, now, 1))
        self._meter.set(state=Phase.ENDED)

    def _frames(self, source: FileSource) -> Iterator[Frame]:
        begun = 0.0
        while True:
            for frame in source.frames(fps=self._wanted.fps, views=self._wanted.views):
                yield Frame(begun + frame.pts_seconds, frame.views)
            if not self._loop or self._stopped.is_set():
                return
            begun += source.decoded_until
