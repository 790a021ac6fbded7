"""What a live source gives: frames that know when they came, and gaps where none did."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vidmem.types import Frame


@dataclass(frozen=True, slots=True, eq=False)
class LiveFrame(Frame):
    """A frame of a stream. `pts_seconds` lies on one timeline over all connections: it always rises, starts at 0 with
    the first picture, and leaves out the length of an outage.

    The size of a view with `keep_aspect` follows the stream's, which may change.
    """

    wall_seconds: float
    """When the picture was taken, as near as its arrival tells: seconds since 1970, by this machine's clock."""
    arrived: float
    """When it arrived, by `time.monotonic`."""
    epoch: int
    """Number of the connection it came by, from 1."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch `[start, end)` of the timeline of which nothing was seen, from the last picture before an outage to the
    first one after it."""

    start: float
    end: float
    wall_start: float
    """The same, in seconds since 1970 by this machine's clock."""
    wall_end: float
    reason: str
    """Why the stream was lost, to follow a colon."""

    def until(self, later: Gap) -> Gap:
        """This gap and a later one as one, with what lies between."""
        return replace(self, end=later.end, wall_end=later.wall_end)
