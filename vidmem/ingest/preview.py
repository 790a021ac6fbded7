"""Small H.264 videos for browsers, on the timeline of the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from vidmem.errors import CorruptMedia, StorageFull
from vidmem.ingest.file import FileSource
from vidmem.ingest.images import read_picture
from vidmem.ingest.opening import open_source
from vidmem.ingest.probe import check_path
from vidmem.types import View

_MAX_SHIFT_SECONDS = 0.1
"""By so much the times that a browser shows may be off those of the index."""
_TIME_BASE = Fraction(1, 1000)
_VIEW = View(width=640, height=360, keep_aspect=True)
_FPS = 12.0
_GROUP = 24
"""Frames from one key frame to the next: a seek decodes so many at most."""


def plays_in_browsers(path: Path) -> bool:
    """Whether any browser of today plays a file, with the times that the index has of it.

    Those are MP4 with H.264 (8 bits, 4:2:0), VP9 or AV1, and WebM. Chromium says no to HEVC, MPEG-TS and AVI, others
    to Matroska. Raises as `open_source`.
    """
    checked = check_path(str(path))
    if checked.is_dir():
        return False
    with closing(FileSource(checked)) as source, av.open(str(checked)) as container:
        facts = source.facts
        start = (container.start_time or 0) / av.time_base
        is_mp4 = "mp4" in facts.container and facts.codec in ("h264", "vp9", "av1")
        is_webm = checked.suffix.lower() == ".webm" and facts.codec in ("vp8", "vp9", "av1")
        is_plain = facts.codec != "h264" or container.streams.video[0].codec_context.pix_fmt in ("yuv420p", "yuvj420p")
        shift = abs(float(facts.origin * facts.time_base) - start)
        return (is_mp4 or is_webm) and is_plain and shift < _MAX_SHIFT_SECONDS


def make_preview(path: Path, target: Path, *, progress: Callable[[float, float | None], object]) -> None:
    """Write a video as H.264 of at most 640 x 360 that any browser plays, with the times of the index.

    Its time 0 is the first picture's, as everywhere in vidmem, and each picture keeps its own. `target` appears when it
    is whole.

    Args:
        path: a video file, or a folder of pictures.
        progress: called with the seconds written and the seconds there are; what it raises ends this.

    Raises:
        NotFound, BadInput: see `open_source`.
        CorruptMedia: no picture can be read.
        StorageFull: `target` can't be written.
    """
    with open_source(path) as source:
        duration = source.info.duration_seconds
        pictures = ((frame.pts_seconds, frame.views[0]) for frame in source.frames(fps=_FPS, views=(_VIEW,)))
        _write(target, pictures, progress=lambda done: progress(done, duration))


def make_slideshow(pictures: Sequence[tuple[float, str]], target: Path) -> None:
    """Write pictures, each with the seconds from which it is shown, as a video like that of `make_preview`.

    One that can't be read, or is gone, is passed over.

    Raises as `make_preview`.
    """
    read = ((seconds, read_picture(Path(path))) for seconds, path in pictures)
    shown = ((seconds, picture) for seconds, picture in read if picture is not None)
    if (first := next(shown, None)) is None:
        raise CorruptMedia("No picture that the store kept can be read: is its folder whole?")
    _write(target, chain([first], shown), progress=lambda _: None)


def _write(target: Path, pictures: Iterator[tuple[float, np.ndarray]], *, progress: Callable[[float], object]) -> None:
    part = target.with_name(target.name + ".part")
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = None
            for seconds, picture in pictures:
                height, width = (side // 2 * 2 for side in picture.shape[:2])
                if stream is None:
                    stream = container.add_stream(
                        "libx264", rate=round(_FPS), options={"preset": "veryfast", "crf": "27"}
                    )
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                    stream.codec_context.time_base, stream.codec_context.gop_size = _TIME_BASE, _GROUP
                    stream.codec_context.max_b_frames = 0
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[: stream.height, : stream.width]))
                frame.pts, frame.time_base = round(seconds / _TIME_BASE), _TIME_BASE
                container.mux(stream.encode(frame))
                progress(seconds)
            if stream is None:
                raise CorruptMedia(f"{target.stem} gave no picture to show: check that it plays elsewhere.")
            container.mux(stream.encode())
        part.replace(target)
    except OSError as error:
        raise StorageFull(f"The preview {target.name} can't be written: {error}. Make room on the disk.") from error
    finally:
        with suppress(OSError):
            part.unlink()
