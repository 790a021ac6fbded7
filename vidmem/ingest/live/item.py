"""What a live source gives: frames that know when they came, and gaps (`vidmem.types.Gap`) where none did."""

from __future__ import annotations

from dataclasses import dataclass

from vidmem.types import Frame, Gap

__all__ = ["Gap", "LiveFrame"]


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
    next_from: float | None = None
    """The next frame lies at or behind this place on the timeline; None if nothing is known of it."""
