"""What every source of frames offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from vidmem.errors import BadInput
from vidmem.types import Frame, VideoId, View

TimedPicture = tuple[float, np.ndarray]
"""Presentation time in seconds and one upright picture, uint8 (H, W, 3) RGB."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of an input before its frames are read."""

    uri: str
    """The resolved path, or a label for what has none."""
    name: str
    """Short name to show to people."""
    content_id: VideoId | None
    """16 hex digits of a hash over all bytes; None where there is nothing to hash."""
    duration_seconds: float | None
    """From the first frame to the end of the last, as the container claims it; a damaged file may hold less."""
    width: int
    """Of the upright picture, in pixels as coded."""
    height: int
    average_fps: float | None
    """Only to tell people: time is never computed from it."""
    codec: str
    container: str
    pts_offset_seconds: float
    """Container time of the frame that is at 0 here: a container's time is ours plus this."""
    rotation: int
    """Degrees counter-clockwise that the container asks for: 0, 90, 180 or 270. Already applied to the views."""
    decoder: str


@runtime_checkable
class Source(Protocol):
    """A video that can be read in one forward pass. Not for use from two threads at once."""

    @property
    def info(self) -> SourceInfo: ...

    @property
    def decoded_until(self) -> float:
        """End in seconds of what the latest pass could read, 0.0 before the first frame."""
        ...

    @property
    def num_decoded(self) -> int:
        """Pictures that the latest pass decoded, wanted or not."""
        ...

    @property
    def num_skipped(self) -> int:
        """Damaged packets and pictures that the latest pass passed over."""
        ...

    def frames(self, *, fps: float | None, views: Sequence[View], start: float = 0.0) -> Iterator[Frame]:
        """Sample by time, in time order.

        At each tick `start + k / fps` before the end, the frame on display is taken: the one with the largest
        pts at or before the tick, the first frame if there is none. No frame is taken twice. `fps=None` takes
        every frame that is on display at `start` or later. The result is that of a full sequential decode,
        picture for picture.

        Raises:
            BadInput: `fps`, `start` or a view makes no sense, or this source can be read only once.
            CorruptMedia: not one frame could be read.
            SourceLost: the input went away, or its decoder stopped answering.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(slots=True)
class Tally:
    """What one pass has done so far."""

    num_decoded: int = 0
    num_skipped: int = 0
    until_seconds: float = 0.0


class CountedSource(ABC):
    """What all sources share: the counts of the latest pass, which starts a `Tally` of its own, and `with`."""

    def __init__(self) -> None:
        self._tally = Tally()

    @property
    def decoded_until(self) -> float:
        return self._tally.until_seconds

    @property
    def num_decoded(self) -> int:
        return self._tally.num_decoded

    @property
    def num_skipped(self) -> int:
        return self._tally.num_skipped

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def check_request(name: str, fps: float | None, views: Sequence[View], start: float) -> None:
    """Refuse a sampling request that makes no sense, before anything is decoded. Raises BadInput."""
    if fps is not None and not 0.0 < fps < 1e6:
        raise BadInput(f"{name} can't be sampled at {fps} frames a second: give a number above 0.")
    if not 0.0 <= start < float("inf"):
        raise BadInput(f"{name} can't be read from {start} s: give a time of 0 or more.")
    if any(view.width < 1 or view.height < 1 for view in views):
        raise BadInput(f"{name} can't be shown at {views}: width and height start at 1 pixel.")
