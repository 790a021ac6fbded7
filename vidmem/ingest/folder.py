"""The videos of a folder."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from vidmem.errors import BadInput, NotFound

_ALSO = frozenset((".ts", ".mts", ".m2ts", ".mkv", ".mxf", ".ogv", ".h264", ".hevc", ".ivf", ".wtv", ".flv"))
"""Endings of videos that systems' lists of types lack, or take for something else."""


def videos_in(folder: Path) -> list[Path]:
    """The files in a folder, and in those within it, whose names say that they are videos; in the order of their paths.

    Links to folders are not followed.

    Raises:
        NotFound: there is no such folder.
        BadInput: it holds no video, or may not be read.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder: check the spelling.")
    try:
        found = sorted(path for path in folder.rglob("*") if _is_named_video(path) and path.is_file())
    except PermissionError as error:
        raise BadInput(f"{folder} can't be read: you lack the permission for it.") from error
    if not found:
        raise BadInput(f"{folder} holds no file that is called like a video, such as .mp4 or .mkv.")
    return found


def _is_named_video(path: Path) -> bool:
    if any(part.startswith(".") or part.endswith(".vidmem") for part in path.parts[-3:]):
        return False
    kind, _ = mimetypes.guess_type(path.name)
    return path.suffix.lower() in _ALSO or (kind or "").startswith("video/")
