"""Pieces of a track as bytes: times and scores exact, boxes in 16 bits a side.

20 bytes a sample, as steps from sample to sample, byte by byte of all samples together, so that what hardly changes is
alike and deflates. The checksum that zlib's format ends with tells a damaged piece.
"""

from __future__ import annotations

import zlib

import numpy as np

from vidmem.index.objects import Track

_STEPS = 65534
"""Sides of boxes are rounded to that part of the frame: by no more than 1/131068, a pixel in frames of 65,534."""
_HIDDEN = 65535
_BYTES_A_SAMPLE = 20


def pack_track(track: Track) -> bytes:
    # Steps between the bits of float64, not between their values: what is added up again is what it was. Of times that
    # rise evenly these steps are nearly all the same, too.
    times = np.diff((track.seconds + 0.0).view(np.int64), prepend=0)  # -0.0 would be far from 0.0
    sides = np.where(np.isnan(track.boxes), _HIDDEN, np.rint(track.boxes * np.float64(_STEPS)))
    steps = np.diff(sides.astype("<u2"), axis=0, prepend=np.zeros((1, 4), dtype="<u2"))
    parts = [times.astype("<i8"), *steps.T, track.scores.astype("<f4")]
    return zlib.compress(b"".join(_by_byte(part) for part in parts))


def unpack_track(data: bytes) -> Track:
    """The piece again, its boxes rounded. Raises ValueError if the bytes are damaged."""
    try:
        body = zlib.decompress(data)
    except zlib.error as error:
        raise ValueError(f"a piece of a track is damaged ({error})") from error
    num_samples, rest = divmod(len(body), _BYTES_A_SAMPLE)
    if rest:
        raise ValueError("a piece of a track is cut")
    octets = np.frombuffer(body, dtype=np.uint8).reshape(_BYTES_A_SAMPLE, num_samples)
    seconds = np.cumsum(_values(octets[:8], "<i8"), dtype=np.int64).view(np.float64)
    sides = [np.cumsum(_values(octets[row : row + 2], "<u2"), dtype=np.uint16) for row in range(8, 16, 2)]
    boxes = np.stack(sides, axis=1).astype(np.float64)
    boxes[boxes == _HIDDEN] = np.nan
    return Track(seconds, boxes / _STEPS, _values(octets[16:], "<f4"))


def joined(pieces: list[Track]) -> Track:
    """One track of pieces that follow each other."""
    pieces = pieces or [Track.empty()]
    return Track(
        np.concatenate([piece.seconds for piece in pieces]),
        np.concatenate([piece.boxes for piece in pieces]),
        np.concatenate([piece.scores for piece in pieces]),
    )


def _by_byte(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.itemsize).T.tobytes()


def _values(octets: np.ndarray, dtype: str) -> np.ndarray:
    """Values (N,) of their bytes (B, N)."""
    return np.ascontiguousarray(octets.T).view(dtype).reshape(-1)
