"""A folder of pictures as a video."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
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


class ImageFolderSource(CountedSource):
    """The pictures right inside a folder, in the natural order of their names, picture `i` at `i / fps`.

    A picture that can't be read is passed over and counted; the one before it stays on display for it. EXIF
    orientation is applied. Links that lead out of the folder are not followed.
    """

    def __init__(self, folder: Path, *, fps: float = 1.0) -> None:
        super().__init__()
        if not 0.0 < fps < 1e6:
            raise BadInput(f"{folder.name} can't be shown at {fps} pictures a second: give a number above 0.")
        self._folder = folder
        self._fps = fps
        self._paths = _pictures(folder)
        if not self._paths:
            raise BadInput(
                f"{folder.name} is a folder without pictures (JPEG, PNG, BMP, WebP, TIFF): give a video file, "
                "or a folder of pictures."
            )
        first = next((picture for path in self._paths if (picture := _read(path)) is not None), None)
        if first is None:
            raise CorruptMedia(f"{folder.name} holds no picture that can be read: copy the folder again.")
        self._size = first.shape[1], first.shape[0]

    @cached_property
    def info(self) -> SourceInfo:
        """Reads all pictures' bytes once, for the content id, the first time it is asked for."""
        return SourceInfo(
            uri=str(self._folder),
            name=self._folder.name,
            content_id=contents_id(self._paths),
            duration_seconds=len(self._paths) / self._fps,
            width=self._size[0],
            height=self._size[1],
            average_fps=self._fps,
            codec="pictures",
            container="folder",
            pts_offset_seconds=0.0,
            rotation=0,
            decoder="pillow",
        )

    def frames(self, *, fps: float | None, views: Sequence[View], start: float = 0.0) -> Iterator[Frame]:
        """See `Source.frames`: only the pictures on display at a tick are read, and one more for each damaged one."""
        check_request(self._folder.name, fps, views, start)
        return self._frames(Ticks(start, fps), ViewMaker(views))

    def _frames(self, ticks: Ticks, make_views: ViewMaker) -> Iterator[Frame]:
        self._tally = tally = Tally()
        shown = -1
        # A damaged picture hands its place to the nearest readable one before it that was not shown yet.
        damaged: set[int] = set()
        places = (Timed(i / self._fps, (i + 1) / self._fps, i) for i in range(len(self._paths)))
        for wanted in on_display(places, ticks):
            found = self._nearest_readable(wanted.item, shown, damaged)
            if found is None:
                continue
            shown, picture = found
            tally.num_decoded += 1
            tally.until_seconds = (shown + 1) / self._fps
            yield Frame(shown / self._fps, make_views.from_array(picture))
        tally.until_seconds = max(tally.until_seconds, self._end_of_readable(damaged))

    def _nearest_readable(self, index: int, shown: int, damaged: set[int]) -> tuple[int, np.ndarray] | None:
        for candidate in range(index, shown, -1):
            if candidate in damaged:
                continue
            picture = _read(self._paths[candidate])
            if picture is not None:
                return candidate, picture
            damaged.add(candidate)
            self._tally.num_skipped += 1
        return None

    def _end_of_readable(self, damaged: set[int]) -> float:
        last = len(self._paths) - 1
        while last in damaged:
            last -= 1
        return (last + 1) / self._fps

    def close(self) -> None:
        """Nothing stays open between pictures."""


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


def _read(path: Path) -> np.ndarray | None:
    """One upright picture, uint8 (H, W, 3), None if it is damaged or of absurd size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (*_UNREADABLE, Image.DecompressionBombWarning):
        return None
