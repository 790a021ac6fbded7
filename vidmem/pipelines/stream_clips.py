"""A stream cut into clips: pure decisions on times, over every gap, and on from where an earlier watch ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vidmem.ingest import Gap, LiveFrame
from vidmem.types import Clip, Frame, Span

UNWATCHED = "nobody watched"
"""The reason of the gap between two watches of one stream."""
UNWATCHED_SET_BACK = "nobody watched, and the clock was set back by the time that it went on"
"""The same, where the time of day says that no time has passed."""
TOO_SLOW = "frames were dropped, as this machine could not follow"
LONGEST_STRIDE = 8
_MISSING_STEPS = 10
"""So many steps without a frame are a gap: more than the longest stride, to which `Pace` goes, leaves out."""
_MISSING_SECONDS = 10.0
_EARLY_STEPS = 0.25
"""A frame that comes before its clip is over by so much of a step is the next one's: times jitter."""
_RESUMED_SECONDS = 0.001
"""Between two watches, if the clock on the wall was set back meanwhile: how long it was nobody knows."""

_HASTE_SECONDS = 1.0
"""Between two doublings: what piled up has to be worked off before it says anything new."""
_CALM_SECONDS = 10.0
"""Without a full queue, before the stride is halved."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was watched of a stream before: up to where on its timeline, and the time of day there."""

    until: float
    wall_until: float


@dataclass(frozen=True, slots=True, eq=False)
class StreamClip:
    """A clip of a stream on its way to the models."""

    clip: Clip
    wall_start: float
    """When its span begins, in seconds since 1970."""
    arrived: tuple[float, ...]
    """When each frame arrived, by `time.monotonic`."""
    gap: Gap | None
    """What was not seen right before it."""


class Cutter:
    """Cuts what a stream gives, in order, into clips whose spans follow each other but for gaps.

    A clip takes frames for `seconds`. Its span ends where the next one's first frame begins; or, where the stream says
    from when on that may come, there: nobody waits for it then. Before a gap it ends a step behind its last frame at
    the latest. Where many frames in a row are missing without a word, because they were dropped, that is a gap, too.
    """

    def __init__(self, *, seconds: float, fps: float | None, earlier: Earlier | None = None) -> None:
        """`fps`: frames a second that are asked for; None for all that come."""
        self._seconds, self._fps, self._earlier = seconds, fps, earlier
        self._step = 1.0 if fps is None else 1 / fps
        """Seconds that a frame stands for; where no rate is asked for, the latest distance of two."""
        self._shift = 0.0
        self._kept: list[LiveFrame] = []
        self._last: float | None = None
        """Where the newest frame lies; None before the first one, and behind a gap."""
        self._until = 0.0
        """Where the latest clip ended."""
        self._gap: Gap | None = None
        """Before what is kept, or before the next frame if nothing is."""

    def push(self, item: LiveFrame | Gap) -> StreamClip | None:
        """Take the next frame or gap; the clip that it ended, if it ended one."""
        if isinstance(item, Gap):
            return self._miss(self._shifted_gap(item))
        if self._earlier is not None:
            self._go_on(self._earlier, item)
        due = None if item.next_from is None else item.next_from + self._shift
        frame = replace(item, pts_seconds=item.pts_seconds + self._shift, next_from=due)
        ended = self._follow(frame, self._last) if self._last is not None else None
        self._kept.append(frame)
        self._last = frame.pts_seconds
        if ended is None and due is not None and due > frame.pts_seconds and self._is_next(due):
            return self._end(due)
        return ended

    def finish(self) -> StreamClip | None:
        """The clip that was begun, where the stream is over."""
        return self._end(self._kept[-1].pts_seconds + self._step) if self._kept else None

    def _follow(self, frame: LiveFrame, last: float) -> StreamClip | None:
        """End the clip that was begun if this frame is no more of it. `last`: where the frame before lies."""
        distance = frame.pts_seconds - last
        if distance > max(_MISSING_SECONDS, _MISSING_STEPS * self._step):
            wall = frame.wall_seconds
            return self._miss(Gap(last, frame.pts_seconds, wall - distance, wall, TOO_SLOW))
        if self._fps is None:
            self._step = min(1.0, distance)
        return self._end(frame.pts_seconds) if self._kept and self._is_next(frame.pts_seconds) else None

    def _is_next(self, seconds: float) -> bool:
        """Whether a frame there is no more of the clip that was begun."""
        return seconds >= self._kept[0].pts_seconds + self._seconds - _EARLY_STEPS * self._step

    def _go_on(self, earlier: Earlier, first: LiveFrame) -> None:
        """Lay the timeline behind what was watched before, as far as the clock on the wall says."""
        start = earlier.until + max(_RESUMED_SECONDS, first.wall_seconds - earlier.wall_until)
        self._shift = start - first.pts_seconds
        why = UNWATCHED if first.wall_seconds >= earlier.wall_until else UNWATCHED_SET_BACK
        self._gap = Gap(earlier.until, start, earlier.wall_until, first.wall_seconds, why)
        self._earlier = None

    def _shifted_gap(self, gap: Gap) -> Gap:
        return replace(gap, start=gap.start + self._shift, end=gap.end + self._shift)

    def _miss(self, gap: Gap) -> StreamClip | None:
        ended = None
        if self._kept:
            ended = self._end(max(gap.start, min(self._kept[-1].pts_seconds + self._step, gap.end)))
        begun = max(gap.start, self._until)
        gap = replace(gap, start=begun, end=max(begun, gap.end), wall_start=gap.wall_start + begun - gap.start)
        self._last = None
        self._gap = gap if self._gap is None else self._gap.until(gap)
        return ended

    def _end(self, until: float) -> StreamClip:
        frames, gap = self._kept, self._gap
        self._kept, self._gap, self._until = [], None, until
        clip = Clip(
            tuple(Frame(frame.pts_seconds, frame.views) for frame in frames), Span(frames[0].pts_seconds, until)
        )
        return StreamClip(clip, frames[0].wall_seconds, tuple(frame.arrived for frame in frames), gap)


@dataclass(frozen=True, slots=True)
class Pace:
    """Of how many frames that come one is kept, under the policy `adaptive-fps`: one of `stride`.

    The stride doubles while frames pile up, and halves again once they have not for a while.
    """

    stride: int = 1
    changed: float = float("-inf")
    """When it last changed; monotonic seconds, as `now`."""
    piled_up: float = float("-inf")
    """When too many frames last waited."""
    passed_over: int = 0
    """Frames since the last one that was kept."""

    def seen(self, *, waiting: int, room: int, now: float) -> Pace:
        """After the queue was found with so many frames waiting, of the `room` that it has."""
        if 2 * waiting >= room:
            can_double = self.stride < LONGEST_STRIDE and now - self.changed >= _HASTE_SECONDS
            slower = replace(self, stride=2 * self.stride, changed=now) if can_double else self
            return replace(slower, piled_up=now)
        if self.stride > 1 and now - max(self.changed, self.piled_up) >= _CALM_SECONDS:
            return replace(self, stride=self.stride // 2, changed=now)
        return self

    def taken(self) -> tuple[bool, Pace]:
        """Whether the next frame is kept, and the pace after it."""
        if self.passed_over + 1 < self.stride:
            return False, replace(self, passed_over=self.passed_over + 1)
        return True, replace(self, passed_over=0)
