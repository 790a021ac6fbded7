"""Pictures in files as a video: those of a folder, or any others with their times."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vidmem.errors import BadInput, CorruptMedia
from vidmem.ingest.content import contents_id
from vidmem.ingest.picture import ViewMaker
from vidmem.ingest.sampling import Ticks, Timed, on_display
from vidmem.ingest.source import CountedSource, SourceInfo, Tally, check_request
from vidmem.types import Frame, View

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
_UNREADABLE = (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError)


class PictureFilesSource(CountedSource):
    """Pictures in files, each with its time.

    A picture that can't be read, or is gone, is passed over and counted; the one before it stays on display for it.
    EXIF orientation is applied.
    """

    def __init__(self, info: SourceInfo, pictures: Sequence[Timed[Path]]) -> None:
        """
        Args:
            info: what is to be told of them.
            pictures: in the order of their times, which rise.
        """
        super().__init__()
        self._info, self._files = info, pictures

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self, *, fps: float | None, views: Sequence[View], start: float = 0.0) -> Iterator[Frame]:
        """See `Source.frames`: only the pictures on display at a tick are read, and one more for each damaged one."""
        check_request(self._info.name, fps, views, start)
        return self._frames(Ticks(start, fps), ViewMaker(views))

    def _frames(self, ticks: Ticks, make_views: ViewMaker) -> Iterator[Frame]:
        self._tally = tally = Tally()
        shown = -1
        # A damaged picture hands its place to the nearest readable one before it that was not shown yet.
        damaged: set[int] = set()
        places = (Timed(one.pts_seconds, one.end_seconds, place) for place, one in enumerate(self._files))
        for wanted in on_display(places, ticks):
            found = self._nearest_readable(wanted.item, shown, damaged)
            if found is None:
                continue
            shown, picture = found
            tally.num_decoded += 1
            tally.until_seconds = self._files[shown].end_seconds
            yield Frame(self._files[shown].pts_seconds, make_views.from_array(picture))
        tally.until_seconds = max(tally.until_seconds, self._end_of_readable(damaged))

    def _nearest_readable(self, index: int, shown: int, damaged: set[int]) -> tuple[int, np.ndarray] | None:
        for candidate in range(index, shown, -1):
            if candidate in damaged:
                continue
            picture = read_picture(self._files[candidate].item)
            if picture is not None:
                return candidate, picture
            damaged.add(candidate)
            self._tally.num_skipped += 1
        return None

    def _end_of_readable(self, damaged: set[int]) -> float:
        readable = (place for place in reversed(range(len(self._files))) if place not in damaged)
        return next((self._files[place].end_seconds for place in readable), 0.0)

    def close(self) -> None:
        """Nothing stays open between pictures."""


class ImageFolderSource(PictureFilesSource):
    """The pictures right inside a folder, in the natural order of their names, picture `i` at `i / fps`.

    Links that lead out of the folder are not followed.
    """

    def __init__(self, folder: Path, *, fps: float = 1.0) -> None:
        if not 0.0 < fps < 1e6:
            raise BadInput(f"{folder.name} can't be shown at {fps} pictures a second: give a number above 0.")
        paths = _pictures(folder)
        if not paths:
            raise BadInput(
                f"{folder.name} is a folder without pictures (JPEG, PNG, BMP, WebP, TIFF): give a video file, "
                "or a folder of pictures."
            )
        first = next((picture for path in paths if (picture := read_picture(path)) is not None), None)
        if first is None:
            raise CorruptMedia(f"{folder.name} holds no picture that can be read: copy the folder again.")
        info = SourceInfo(
            uri=str(folder),
            name=folder.name,
            content_id=None,
            duration_seconds=len(paths) / fps,
            width=first.shape[1],
            height=first.shape[0],
            average_fps=fps,
            codec="pictures",
            container="folder",
            pts_offset_seconds=0.0,
            rotation=0,
            decoder="pillow",
        )
        super().__init__(info, [Timed(i / fps, (i + 1) / fps, path) for i, path in enumerate(paths)])

    @cached_property
    def info(self) -> SourceInfo:
        """Reads all pictures' bytes once, for the content id, the first time it is asked for."""
        return replace(self._info, content_id=contents_id([one.item for one in self._files]))


def _pictures(folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except PermissionError as error:
        raise BadInput(f"{folder.name} can't be read: you lack the permission; try chmod +rx.") from error
    pictures = [p for p in entries if p.suffix.lower() in _SUFFIXES and p.is_file() and _stays_inside(p, folder)]
    return sorted(pictures, key=lambda picture: (_natural(picture.name), picture.name))


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _stays_inside(path: Path, folder: Path) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(folder)


def read_picture(path: Path) -> np.ndarray | None:
    """One upright picture, uint8 (H, W, 3), None if it is damaged or of absurd size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (*_UNREADABLE, Image.DecompressionBombWarning):
        return None
