"""The one door through which inputs become sources."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

import numpy as np

from vidmem.errors import BadInput
from vidmem.ingest.decord import DecordSource
from vidmem.ingest.file import FileSource
from vidmem.ingest.images import ImageFolderSource
from vidmem.ingest.iterable import IterableSource
from vidmem.ingest.probe import check_path
from vidmem.ingest.source import Source, TimedPicture

DecoderName = Literal["auto", "pyav", "decord"]


def open_source(
    input: str | os.PathLike[str] | Iterable[TimedPicture],
    *,
    decoder: DecoderName = "auto",
    images_fps: float = 1.0,
    threads: int | None = None,
) -> Source:
    """Open a video file, a folder of pictures, or an iterable of `(pts_seconds, uint8 (H, W, 3) picture)`.

    Args:
        input: a local path; URLs are not read.
        decoder: `auto` takes what measured best among what is exact (docs/decisions/0001-decoding.md).
        images_fps: pictures of a folder per second, in the natural order of their names.
        threads: decoder threads for a file, None for what measured best.

    Raises:
        NotFound: no such path.
        BadInput: anything that is no video, with the more exact `NoVideoStream`, `UnsupportedCodec` and
            `CorruptMedia(decoded_until=0.0)` where they fit.
    """
    if decoder not in ("auto", "pyav", "decord"):
        raise BadInput(f"No decoder is called {decoder!r}: take auto, pyav or decord.")
    if isinstance(input, (str, os.PathLike)):
        return _open_path(os.fspath(input), decoder, images_fps, threads)
    if isinstance(input, (bytes, np.ndarray)) or not isinstance(input, Iterable):
        raise BadInput(
            f"A {type(input).__name__} is no video: give a path or an iterable of (pts_seconds, uint8 (H, W, 3) array)."
        )
    return IterableSource(input)


def _open_path(path: str, decoder: DecoderName, images_fps: float, threads: int | None) -> Source:
    resolved = check_path(path)
    if resolved.is_dir():
        return ImageFolderSource(resolved, fps=images_fps)
    if decoder == "decord":
        return DecordSource(resolved)
    return FileSource(resolved, threads=threads)
