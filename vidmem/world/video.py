"""The sample world as moving pictures: frames made one at a time for any length, and H.264 files with their truth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vidmem.errors import BadInput, NotFound, StorageFull
from vidmem.types import Span
from vidmem.world.render import Renderer
from vidmem.world.script import THINGS, Chapter, Script, ScriptConfig
from vidmem.world.truth import write_truth

Size = tuple[int, int]
"""Width and height in pixels."""
Progress = Callable[[float, float], None]
"""Called with the seconds of video that are done, and all of them."""

KEYFRAME_SECONDS = 5
"""A player that jumps to an evidence span decodes at most this much before it."""


def frames(
    script: Script, *, fps: float | Fraction = 30, size: Size = (640, 360), start: float = 0.0, end: float | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Show a script from `start` up to `end` (its own end if None) as `(pts_seconds, uint8 RGB (H, W, 3))`.

    A frame is drawn when it is asked for, and only if it differs from the one before; else the same array comes again.
    It is read-only for that reason. Nothing but that array and two backgrounds is held, so 24 hours take no more
    memory than 8 seconds.
    """
    renderer = Renderer(*size)
    rate, begin = frame_rate(fps), Fraction(start)
    shown: tuple[object, ...] | None = None
    image = np.empty(0, dtype=np.uint8)
    stop = script.duration if end is None else min(end, script.duration)
    index = 0
    while (seconds := float(begin + index / rate)) < stop:
        chapter = script.chapter_at(seconds)
        now = _appearance(chapter, seconds)
        if now != shown:
            shown, image = now, renderer.draw(chapter, seconds)
            image.setflags(write=False)
        yield seconds, image
        index += 1


def frame_rate(fps: float | Fraction) -> Fraction:
    """`fps` as the exact rate of a file: 29.97 and the like become a fraction of small numbers."""
    rate = Fraction(fps).limit_denominator(1001)
    if rate <= 0:
        raise BadInput(f"{fps} frames a second is no frame rate: give a number above 0")
    return rate


def _appearance(chapter: Chapter, seconds: float) -> tuple[object, ...]:
    """All that decides how a moment looks. Equal values mean equal frames."""
    things = tuple((stay, stay.centre(seconds)) for stay in chapter.visible(seconds))
    return chapter.index, chapter.is_night(seconds), things


def render_file(
    path: str | Path,
    *,
    seed: int,
    duration: float,
    size: Size = (640, 360),
    fps: float = 30,
    needle: str | None = None,
    num_questions: int = 16,
    boxes: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Make an H.264 MP4 of the world of `seed`, and `NAME.json` beside it with what is true about it.

    Both are replaced if they are there. The same arguments give the same bytes with the same FFmpeg and x264: one
    thread encodes, because x264 decides otherwise with more. `needle` is a thing that appears exactly once. `boxes`
    puts every object's box at each whole second into the truth (about 100 bytes a second).

    Returns the path of the truth.

    Raises:
        BadInput: an odd or empty size, a rate not above 0, a duration below 1 s, or a needle that the world lacks.
        NotFound: the folder of `path` is not there.
        StorageFull: the file could not be written.
    """
    path = Path(path)
    _check(path, duration, size, needle)
    script = Script(ScriptConfig(seed=seed, duration=duration, needle=needle))
    encode(path, frames(script, fps=fps, size=size), fps=fps, size=size, duration=duration, progress=progress)
    return write_truth(path, script, size=size, fps=frame_rate(fps), num_questions=num_questions, with_boxes=boxes)


def _check(path: Path, duration: float, size: Size, needle: str | None) -> None:
    if min(size) < 16 or size[0] % 2 or size[1] % 2:
        raise BadInput(f"a frame of {size[0]}x{size[1]} can't be H.264 4:2:0: give even numbers of 16 or more")
    if not duration >= 1.0:
        raise BadInput(f"a world of {duration} s has no room for a thing to come: give a duration of 1 second or more")
    if needle is not None and needle not in THINGS:
        raise BadInput(f"the sample world has no {needle!r}: it has {', '.join(THINGS)}")
    if path.suffix.lower() != ".mp4":
        raise BadInput(f"{path} has to end in .mp4, the one container that is written")
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent} is no folder: make it first, or give another path")


def encode(
    path: Path,
    pictures: Iterator[tuple[float, np.ndarray]],
    *,
    fps: float | Fraction,
    size: Size,
    duration: float,
    progress: Progress | None = None,
) -> None:
    """Write pictures, which come at `fps`, as a faststart MP4: H.264 high profile, 4:2:0, B-frames, closed GOPs.

    The file gets its name when it is whole: an interrupted run leaves what was there before.
    """
    part = path.with_name(f".{path.stem}.part.mp4")
    try:
        _encode(part, pictures, frame_rate(fps), size, Span(0.0, duration), progress)
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or error
        raise StorageFull(f"{path} could not be written ({reason}): free space or choose another folder") from error
    finally:
        part.unlink(missing_ok=True)


def _encode(
    part: Path,
    pictures: Iterator[tuple[float, np.ndarray]],
    rate: Fraction,
    size: Size,
    span: Span,
    progress: Progress | None,
) -> None:
    with av.open(str(part), "w", format="mp4", container_options={"movflags": "+faststart"}) as container:
        keyframes = max(1, round(KEYFRAME_SECONDS * rate))
        options = {"preset": "veryfast", "crf": "23", "threads": "1", "g": str(keyframes)}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = 1 / rate
        last: np.ndarray | None = None
        frame = av.VideoFrame(*size, "yuv420p")
        for index, (seconds, picture) in enumerate(pictures):
            if picture is not last:  # converting costs more than encoding a frame that equals the one before
                last = picture
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
            if progress is not None:
                progress(seconds, span.end)
        container.mux(stream.encode(None))
    if progress is not None:
        progress(span.end, span.end)
