"""World video with its frame number burnt in, and the way back from pixels to the number."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vidmem.types import View
from vidmem.world.script import Script, ScriptConfig
from vidmem.world.video import frames

FPS = 10
SIZE = (320, 180)
VIEW = View(*SIZE)
_BITS = 16
_BLOCK = SIZE[0] // _BITS


def counted_video(
    path: Path,
    *,
    seconds: int,
    seed: int = 3,
    fps: int = FPS,
    size: tuple[int, int] = SIZE,
    key_every: int | None = None,
    b_frames: int = 0,
) -> Path:
    """H.264, by default without B-frames, as cameras send it; the container goes by the name's ending.

    The picture is drawn in `SIZE` and enlarged to `size`. `key_every` is in frames; None: every second.
    """
    script = Script(ScriptConfig(seed=seed, duration=float(seconds)))
    with av.open(str(path), "w") as container:
        key = str(fps if key_every is None else key_every)
        options = {"preset": "veryfast", "threads": "1", "crf": "20", "g": key, "bf": str(b_frames)}
        if not b_frames:
            options["tune"] = "zerolatency"
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number, (_, picture) in enumerate(frames(script, fps=fps, size=SIZE)):
            frame = av.VideoFrame.from_ndarray(_burnt(picture, number), format="rgb24")
            frame = frame.reformat(*size, format="yuv420p", threads=1)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _burnt(picture: np.ndarray, number: int) -> np.ndarray:
    """Two rows of blocks: the number's bits, the highest first, white for 1; and below them their opposites."""
    picture = picture.copy()
    for bit in range(_BITS):
        is_white = number >> (_BITS - 1 - bit) & 1
        columns = slice(bit * _BLOCK, (bit + 1) * _BLOCK)
        picture[:_BLOCK, columns] = 255 * is_white
        picture[_BLOCK : 2 * _BLOCK, columns] = 255 * (1 - is_white)
    return picture


def number_of(picture: np.ndarray) -> int:
    """The frame number in a view of `SIZE`. Fails on a picture that does not say it plainly."""
    blocks = picture[: 2 * _BLOCK].reshape(2, _BLOCK, _BITS, _BLOCK, 3)[:, 4:-4, :, 4:-4].mean(axis=(1, 3, 4))
    bits = blocks > 127
    assert (np.abs(blocks - 127.5) > 60).all() and (bits[0] != bits[1]).all(), f"no number can be read: {blocks}"
    return int("".join("1" if bit else "0" for bit in bits[0]), 2)
