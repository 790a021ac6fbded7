"""How a live source is: numbers that one thread keeps and any thread reads."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

from vidmem.ingest.live.link import Phase

_RATE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """A moment of a live source. Counts are of the whole time since it was opened."""

    state: Phase = Phase.CONNECTING
    last_frame_age_seconds: float | None = None
    """Since the newest picture arrived, wanted or not; None before the first."""
    fps_in: float = 0.0
    """Pictures that arrived in a second, over the latest five at most."""
    pictures: int = 0
    """That arrived and were decoded, wanted or not."""
    frames: int = 0
    """That were wanted and handed over."""
    dropped: int = 0
    """Of these, those that the consumer was too slow for."""
    waiting: int = 0
    """Frames in the queue."""
    reconnects: int = 0
    """Connections after the first that gave a picture."""
    decode_errors: int = 0
    """Damaged packets and pictures, passed over."""
    late: int = 0
    """Pictures whose time was not after the newest one's, passed over."""
    outage_seconds: float | None = None
    """How long the stream has been away; None while it is there."""
    reason: str | None = None
    """Why it was lost the last time."""
    width: int = 0
    """Of the newest frame, in pixels as coded; it may change."""
    height: int = 0


class Meter:
    """Keeps the numbers. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._health = Health()
        self._latest: float | None = None
        self._lost_at: float | None = None
        self._first: float | None = None
        self._seen: deque[tuple[float, int]] = deque()

    def saw(self, now: float, pictures: int = 0, *, arrived: float, errors: int = 0, late: int = 0) -> None:
        """So many more pictures and mishaps, the newest picture at `arrived`."""
        with self._lock:
            health = self._health
            self._health = replace(
                health,
                pictures=health.pictures + pictures,
                decode_errors=health.decode_errors + errors,
                late=health.late + late,
            )
            if pictures:
                self._latest = arrived
                self._first = arrived if self._first is None else self._first
                self._seen.append((now, pictures))
                self._forget(now)

    def set(self, **changes: object) -> None:
        with self._lock:
            self._health = replace(self._health, **changes)  # type: ignore[arg-type]

    def lost(self, at: float | None) -> None:
        """Since when the stream is away; None: it is there."""
        with self._lock:
            self._lost_at = at

    def read(self, now: float) -> Health:
        with self._lock:
            self._forget(now)
            since = min(_RATE_SECONDS, max(1.0, now - (now if self._first is None else self._first)))
            return replace(
                self._health,
                last_frame_age_seconds=None if self._latest is None else max(0.0, now - self._latest),
                fps_in=sum(pictures for _, pictures in self._seen) / since,
                outage_seconds=None if self._lost_at is None else max(0.0, now - self._lost_at),
            )

    def _forget(self, now: float) -> None:
        while self._seen and self._seen[0][0] < now - _RATE_SECONDS:
            self._seen.popleft()
