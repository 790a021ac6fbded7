"""Pictures that a program hands over one by one, each with its time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import cast

import numpy as np

from vidmem.errors import BadInput, CorruptMedia
from vidmem.ingest.picture import ViewMaker
from vidmem.ingest.sampling import Ticks, Timed, on_display
from vidmem.ingest.source import CountedSource, SourceInfo, Tally, TimedPicture, check_request
from vidmem.types import Frame, View

_NAME = "the iterable"


class IterableSource(CountedSource):
    """`(pts_seconds, uint8 (H, W, 3) RGB)` pairs with rising times; the first time becomes 0.

    A list can be read again and again, a generator once. Held: two pictures at a time.
    """

    def __init__(self, pictures: Iterable[TimedPicture]) -> None:
        super().__init__()
        iterator = iter(pictures)
        first = next(iterator, None)
        if first is None:
            raise CorruptMedia("The iterable gave no picture: it needs at least one (pts_seconds, array) pair.")
        self._pictures: Iterable[TimedPicture] | None = chain([first], iterator) if iterator is pictures else pictures
        self._is_one_way = iterator is pictures
        self._iterator = iterator
        pts, picture = _checked(first, None)
        self._origin = pts
        self._info = SourceInfo(
            uri="iterable",
            name=_NAME,
            content_id=None,
            duration_seconds=None,
            width=picture.shape[1],
            height=picture.shape[0],
            average_fps=None,
            codec="raw",
            container="iterable",
            pts_offset_seconds=pts,
            rotation=0,
            decoder="none",
        )

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self, *, fps: float | None, views: Sequence[View], start: float = 0.0) -> Iterator[Frame]:
        """See `Source.frames`. The last picture lasts as long as the one before it, 1 s if it is alone."""
        check_request(_NAME, fps, views, start)
        if self._pictures is None:
            raise BadInput("An iterator can be read only once: open it anew, or give a list.")
        pictures = self._pictures
        if self._is_one_way:
            self._pictures = None
        return self._frames(pictures, Ticks(start, fps), ViewMaker(views))

    def _frames(self, pictures: Iterable[TimedPicture], ticks: Ticks, make_views: ViewMaker) -> Iterator[Frame]:
        self._tally = Tally()
        for timed in on_display(self._timed(pictures), ticks):
            yield Frame(timed.pts_seconds, make_views.from_array(timed.item))

    def _timed(self, pictures: Iterable[TimedPicture]) -> Iterator[Timed[np.ndarray]]:
        previous: float | None = None
        lasts = 1.0
        for given in pictures:
            pts, picture = _checked(given, previous)
            lasts = lasts if previous is None else pts - previous
            previous = pts
            self._tally.num_decoded += 1
            self._tally.until_seconds = pts - self._origin + lasts
            # A copy: whoever gives pictures may draw the next one into the same array.
            yield Timed(pts - self._origin, self._tally.until_seconds, picture.copy())

    def close(self) -> None:
        close = getattr(self._iterator, "close", None)
        if self._is_one_way and close is not None:
            close()
        self._pictures = None


def _checked(given: object, previous: float | None) -> TimedPicture:
    """Refuse what is no timed picture. Raises BadInput."""
    try:
        given_pts, given_picture = cast(TimedPicture, given)
        pts, picture = float(given_pts), np.asarray(given_picture)
    except (TypeError, ValueError) as error:
        raise BadInput("The iterable must give pairs (pts_seconds, uint8 (H, W, 3) array).") from error
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise BadInput(
            f"The iterable gave an array of {picture.dtype} {picture.shape}: give uint8 (H, W, 3), RGB from 0 to 255."
        )
    if not math.isfinite(pts) or (previous is not None and pts <= previous):
        raise BadInput(f"The iterable gave the time {pts} after {previous}: times must rise, in seconds.")
    return pts, picture
