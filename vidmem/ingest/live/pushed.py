"""Pictures that a caller hands over as they come: a browser's camera, or whatever else has no address."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vidmem.errors import BadInput
from vidmem.ingest.live.address import Address
from vidmem.ingest.live.handover import Handover
from vidmem.ingest.live.health import Meter
from vidmem.ingest.live.item import Gap, LiveFrame
from vidmem.ingest.live.link import Link, Patience
from vidmem.ingest.live.loss import Loss
from vidmem.ingest.live.receiver import Wanted
from vidmem.ingest.live.timeline import Timeline, next_due
from vidmem.ingest.picture import ViewMaker
from vidmem.ingest.source import SourceInfo

_LOOK_SECONDS = 0.25
"""Between two looks at whether pictures still come."""


class Pushed:
    """Takes pictures until it is stopped. They have no times but those at which they come.

    Where none comes for longer than `patience.stall_seconds`, the stream counts as lost, and the next picture ends a
    gap. `run` belongs to a thread of its own, `push` is for any.
    """

    def __init__(
        self,
        address: Address,
        wanted: Wanted,
        *,
        first: np.ndarray,
        patience: Patience,
        handover: Handover,
        meter: Meter,
        opened: Callable[[SourceInfo], None],
    ) -> None:
        """`first` is the first picture, as of `push`. Raises BadInput as `push`."""
        self._address, self._wanted = address, wanted
        self._first = _checked(first, address)
        self._handover, self._meter, self._opened = handover, meter, opened
        self._views = ViewMaker(wanted.views)
        self._link = Link.begun(time.monotonic(), patience)
        self._timeline = Timeline()
        self._due: float | None = None
        self._outage: Gap | None = None
        """The present outage, as far as it is known: its end is its beginning."""
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End `run` soon. For any thread."""
        self._stopped.set()

    def push(self, picture: np.ndarray) -> None:
        """Take the next picture, uint8 RGB (H, W, 3), whose size may change. It is taken to be of this moment.

        Raises:
            BadInput: it is no such picture, or the stream was stopped.
        """
        picture = _checked(picture, self._address)
        if self._stopped.is_set():
            raise BadInput(f"{self._address.name} was stopped: begin anew to have pictures watched.")
        with self._lock:
            self._take(picture, time.monotonic())

    def run(self) -> None:
        """Begin with the first picture, then look now and then whether there are more."""
        height, width = self._first.shape[:2]
        self._opened(_info(self._address, width, height))
        with self._lock:
            self._take(self._first, time.monotonic())
        while not self._stopped.wait(_LOOK_SECONDS):
            with self._lock:
                if time.monotonic() > self._link.deadline:
                    self._lose()
        with self._lock:
            self._step(self._link.ended(time.monotonic()))

    def _take(self, picture: np.ndarray, now: float) -> None:
        if self._timeline.begun_at is None:
            self._step(self._link.shown(now))
        placed = self._timeline.placed(None, now)
        assert placed is not None, "what has no time of its own is never late"
        self._timeline = placed
        self._step(self._link.heard(now))
        self._meter.saw(now, 1, arrived=now)
        self._meter.set(width=picture.shape[1], height=picture.shape[0])
        if self._outage is not None:
            self._handover.put(replace(self._outage, end=placed.latest, wall_end=time.time()))
            self._outage = None
        if self._due is None or placed.latest >= self._due:
            if self._wanted.fps is not None:
                self._due = next_due(self._due, placed.latest, self._wanted.fps)
            views = self._views.from_array(picture)
            self._handover.put(LiveFrame(placed.latest, views, time.time(), now, self._link.epoch, self._due))

    def _lose(self) -> None:
        at, wall = self._timeline.latest, time.time() - (time.monotonic() - self._timeline.latest_arrival)
        self._outage = Gap(at, at, wall, wall, str(Loss.FROZEN))
        self._timeline = self._timeline.reconnected()
        waiting = self._link.lost(time.monotonic(), Loss.FROZEN, luck=0.0)
        self._step(replace(waiting, deadline=float("inf")))  # there is nothing to be tried again

    def _step(self, link: Link) -> None:
        self._link = link
        self._meter.set(state=link.phase, reconnects=max(0, link.epoch - 1), reason=link.why and str(link.why))
        self._meter.lost(link.lost_since)


def pushed_address(name: str) -> Address:
    """What names a stream of pictures that are handed over, in a store too. Raises BadInput if the name is empty."""
    name = " ".join(name.split())
    if not name:
        raise BadInput("the stream needs a name: it is found again by it.")
    return Address("pushed", name, f"pushed:{name}", name)


def _checked(picture: np.ndarray, address: Address) -> np.ndarray:
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise BadInput(
            f"{address.name} was given an array of {picture.dtype} {picture.shape}: give uint8 (H, W, 3), RGB from 0 to"
            " 255."
        )
    return picture


def _info(address: Address, width: int, height: int) -> SourceInfo:
    return SourceInfo(
        uri=address.shown,
        name=address.name,
        content_id=None,
        duration_seconds=None,
        width=width,
        height=height,
        average_fps=None,
        codec="raw",
        container="pushed",
        pts_offset_seconds=0.0,
        rotation=0,
        decoder="none",
    )
