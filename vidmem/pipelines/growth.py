"""How large the three stores of a video were, all along it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from vidmem.index import StoredVideo
from vidmem.memory import Elements, Memory
from vidmem.pipelines.remembering import Memories
from vidmem.types import VideoId

MAX_SIZES = 240
"""Moments before the newest that are told of one video, at most: a screen shows no more."""


@dataclass(frozen=True, slots=True)
class Size:
    """What the stores held at one moment of a video, in elements."""

    seconds: float
    """The end of the newest frame."""
    frames: int
    """Frames that had come by then."""
    sensory: int
    working: int
    long_term: int


@dataclass(slots=True, eq=False)
class _Replayed:
    """How far a video was written to a memory of its own."""

    memory: Memory
    sizes: list[Size] = field(default_factory=list)
    step: int = 1
    """Frames between two sizes."""
    frames: int = 0

    def write(self, frames: Elements) -> None:
        """Write frames, and note the sizes on the way. Of too many sizes every other one goes."""
        at = 0
        while at < len(frames):
            until = min(len(frames), at + self.step - self.frames % self.step)
            self.memory.write(frames[at:until])
            self.frames += until - at
            if self.frames % self.step == 0:
                self.sizes.append(self.now())
            if len(self.sizes) > MAX_SIZES:
                self.sizes, self.step = self.sizes[1::2], self.step * 2
            at = until

    def now(self) -> Size:
        """The sizes after the newest frame. There must be one."""
        state = self.memory.state()
        seconds = float(self.memory.working.elements.span_seconds[-1, 1])
        held = state.sensory.num_elements, state.working.num_elements, state.long_term.num_elements
        return Size(seconds, self.frames, *held)


class Growth:
    """Tells how the stores of one video grew, by writing its committed frames to a second memory.

    That gives what the first one was, as the same frames give the same memory. Nothing of it is stored. Of the video
    that was asked about last, the memory is kept, so that later calls only add what was committed since.
    """

    def __init__(self, memories: Memories) -> None:
        self._memories = memories
        self._known: tuple[tuple[VideoId, str], _Replayed] | None = None

    def of(self, video: StoredVideo, *, at_most: int = sys.maxsize) -> list[Size]:
        """The sizes along a video, in the order of time: after every n-th frame, and after the newest.

        Args:
            at_most: frames to look at in this call. The sizes go as far as calls have come, so that a long video can be
                told bit by bit.
        """
        known = self._known[1] if self._known is not None and self._known[0] == video.key else None
        if known is None or known.frames > video.num_frames:
            known = _Replayed(self._memories.new())
        self._known = video.key, known
        for frames in self._memories.frames_of(video, after=known.frames, at_most=at_most):
            known.write(frames)
        newest = [known.now()] if known.frames % known.step else []
        return [*known.sizes, *newest]
