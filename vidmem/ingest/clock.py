"""The presentation clock of a full sequential decode: one strictly rising pts a picture."""

from __future__ import annotations

import av

_CONTAINERS_WITH_JUMPS = ("mpegts", "mpeg")


def frame_pts(frame: av.VideoFrame) -> int | None:
    """When a picture is shown, in its stream's time base; AVI without presentation times has decoding times."""
    return frame.pts if frame.pts is not None else frame.dts


class Clock:
    """Gives each picture its time. Joined MPEG streams whose clock jumps back are laid end to end.

    A jump forward is kept: it may be a true gap. A picture that comes too late to be shown has no time.
    """

    def __init__(self, *, origin: int, fallback_ticks: int, container: str, jump_ticks: int) -> None:
        self._until = origin
        self._latest: int | None = None
        self._shift = 0
        self._fallback_ticks = fallback_ticks
        self._jump_ticks = jump_ticks if container in _CONTAINERS_WITH_JUMPS else None

    def stamp(self, frame: av.VideoFrame) -> tuple[int, int] | None:
        """Start and end of a picture in pts, or None if it is behind the times."""
        pts = frame_pts(frame)
        pts = self._until if pts is None else pts + self._shift
        if self._latest is not None and pts <= self._latest:
            if self._jump_ticks is None or self._latest - pts < self._jump_ticks:
                return None
            self._shift += self._until - pts
            pts = self._until
        self._latest = pts
        self._until = pts + duration_ticks(frame, self._fallback_ticks)
        return pts, self._until


def duration_ticks(frame: av.VideoFrame, fallback_ticks: int) -> int:
    """How long a picture says that it lasts, in its stream's time base."""
    return frame.duration if frame.duration and frame.duration > 0 else fallback_ticks
