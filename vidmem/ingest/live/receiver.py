"""Keeps a stream alive: one thread that has a process connect, again and again, and passes on what comes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vidmem.ingest.live.address import Address
from vidmem.ingest.live.handover import Handover
from vidmem.ingest.live.health import Meter
from vidmem.ingest.live.item import Gap, LiveFrame
from vidmem.ingest.live.link import Link, Patience, Phase
from vidmem.ingest.live.loss import Loss, error_for
from vidmem.ingest.live.timeline import Timeline
from vidmem.ingest.source import SourceInfo
from vidmem.ingest.worker import Worker, WorkerEnded
from vidmem.types import View

_MODULE = "vidmem.ingest.live.worker"
_SLACK_SECONDS = 1.0
"""The process waits as long as is allowed; only if it does not say in time what came of it, it is killed."""
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is taken of a stream."""

    fps: float | None
    views: tuple[View, ...]


class Receiver:
    """Reads one stream until it is stopped, or is a recording that ends. `run` belongs to a thread of its own."""

    def __init__(
        self,
        address: Address,
        wanted: Wanted,
        *,
        transport: str,
        follows_redirects: bool,
        patience: Patience,
        handover: Handover,
        meter: Meter,
        opened: Callable[[SourceInfo], None],
    ) -> None:
        self._address, self._wanted, self._transport = address, wanted, transport
        self._follows_redirects = follows_redirects
        self._handover, self._meter, self._opened = handover, meter, opened
        self._link = Link.begun(time.monotonic(), patience)
        self._timeline = Timeline()
        self._counts = {"pictures": 0, "errors": 0, "late": 0}
        self._due: float | None = None
        self._outage: Gap | None = None
        """The present outage, as far as it is known: its end is its beginning."""
        self._cameras: tuple[str, ...] = ()
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End `run` soon, whatever it waits for. For any thread."""
        with self._lock:
            self._stopped.set()
            if self._worker is not None:
                self._worker.stop()

    def run(self) -> None:
        """Raises what stands against a first picture; after that, no loss is an error."""
        try:
            while not self._stopped.is_set():
                why = self._connection()
                if why is None or self._stopped.is_set():
                    return
                if self._link.epoch == 0:
                    raise error_for(why, self._address, self._cameras)
                self._lose(why)
                self._stopped.wait(max(0.0, self._link.deadline - time.monotonic()))
                self._step(self._link.retried(time.monotonic()))
        finally:
            self._step(self._link.ended(time.monotonic()))
            self._end_worker()

    def _connection(self) -> Loss | None:
        """One connection from beginning to end; why it was lost, or None if it was a recording and is over."""
        self._counts = dict.fromkeys(self._counts, 0)
        try:
            worker = self._ready_worker()
            worker.send(self._request())
            while True:
                message = worker.receive(self._link.deadline + _SLACK_SECONDS - time.monotonic())
                if message is None:
                    self._end_worker()
                    return self._link.silence
                header, views = message
                if header["kind"] == "ended":
                    return None
                if header["kind"] == "lost":
                    self._cameras = tuple(header["cameras"])
                    return Loss(header["why"])
                self._take(header, views)
        except WorkerEnded:
            self._end_worker()
            return Loss.CRASHED

    def _ready_worker(self) -> Worker:
        with self._lock:
            if self._stopped.is_set():
                raise WorkerEnded
            worker = self._worker
            if worker is not None:
                return worker
            worker = self._worker = Worker(_MODULE)
        # How long Python takes to start says nothing of the stream.
        if worker.receive(_START_SECONDS) is None:
            raise WorkerEnded
        self._step(self._link.retried(time.monotonic()))
        return worker

    def _end_worker(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()

    def _request(self) -> dict[str, Any]:
        return {
            "target": {
                "kind": self._address.kind,
                "url": self._address.url,
                "transport": self._transport,
                "follows_redirects": self._follows_redirects,
                "connect_seconds": self._link.patience.connect_seconds,
                "stall_seconds": self._link.patience.stall_seconds,
            },
            "timeline": asdict(self._timeline),
            "due": self._due,
            "fps": self._wanted.fps,
            "views": [(view.width, view.height, view.keep_aspect) for view in self._wanted.views],
        }

    def _take(self, header: dict[str, Any], views: Sequence[np.ndarray]) -> None:
        now = time.monotonic()
        self._timeline = Timeline(**header["timeline"])
        self._count(now, header["counts"])
        if header["kind"] == "opened":
            self._begin(now, header["facts"])
            return
        self._step(self._link.heard(now))
        if header["kind"] == "frame":
            self._due = header["due"]
            wall, arrived = self._wall(now), self._timeline.latest_arrival
            place = self._timeline.latest
            self._handover.put(LiveFrame(place, tuple(views), wall, arrived, self._link.epoch, self._due))
            self._meter.set(width=header["width"], height=header["height"])
            # While the queue was full, nothing could be heard.
            self._step(self._link.heard(time.monotonic()))

    def _begin(self, now: float, facts: dict[str, Any]) -> None:
        """A connection's first picture came."""
        self._step(self._link.shown(now))
        if self._outage is None:
            self._opened(_info(self._address, facts))
        else:
            self._handover.put(replace(self._outage, end=self._timeline.latest, wall_end=self._wall(now)))
            self._outage = None

    def _lose(self, why: Loss) -> None:
        now = time.monotonic()
        if self._link.phase is Phase.LIVE:
            at, wall = self._timeline.latest, self._wall(now)
            self._outage = Gap(at, at, wall, wall, str(why))
        self._step(self._link.lost(now, why, luck=random.random()))

    def _step(self, link: Link) -> None:
        self._link = link
        self._meter.set(state=link.phase, reconnects=max(0, link.epoch - 1), reason=link.why and str(link.why))
        self._meter.lost(link.lost_since)

    def _count(self, now: float, counts: dict[str, int]) -> None:
        more = {name: counts[name] - self._counts[name] for name in counts}
        self._counts = counts
        arrived = self._timeline.latest_arrival
        self._meter.saw(now, more["pictures"], arrived=arrived, errors=more["errors"], late=more["late"])

    def _wall(self, now: float) -> float:
        """When the newest picture was taken, by the wall clock as it goes now."""
        return time.time() - (now - self._timeline.captured)


def _info(address: Address, facts: dict[str, Any]) -> SourceInfo:
    return SourceInfo(
        uri=address.shown,
        name=address.name,
        content_id=None,
        duration_seconds=None,
        pts_offset_seconds=0.0,
        decoder="pyav",
        **facts,
    )
