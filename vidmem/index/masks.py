"""Masks as run lengths: of background and object in turn, background first, down one column after the other.

These are the counts of COCO's uncompressed run-length encoding. They are written one after the other in 7 bits a byte,
lowest first, the eighth bit set if more of the number follows (LEB128): a mask of a compact object takes about two
bytes for each column that it covers.
"""

from __future__ import annotations

import numpy as np

_BYTES_A_RUN = 5
"""Enough for runs below 2**35 pixels."""


def encode_mask(mask: np.ndarray) -> bytes:
    """Pack a mask (H, W), true or not 0 where the object is. Raises ValueError if it has other axes."""
    if np.ndim(mask) != 2:
        raise ValueError(f"a mask is (H, W), got {np.shape(mask)}")
    column_by_column = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(column_by_column, prepend=False))
    return _packed(np.diff(changes, prepend=0, append=column_by_column.size))


def decode_mask(data: bytes, mask_size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool again. Raises ValueError if the bytes are no mask of that height and width."""
    runs = run_lengths(data)
    height, width = mask_size
    if runs.sum() != height * width:
        raise ValueError(f"a mask of {runs.sum()} pixels is not {height} x {width}")
    is_object = np.arange(len(runs)) % 2 == 1
    return np.repeat(is_object, runs).reshape((height, width), order="F")


def run_lengths(data: bytes) -> np.ndarray:
    """The counts (R,) int64: background first, which is 0 long if the object covers the first pixel.

    Raises ValueError if the bytes are cut or are no counts.
    """
    octets = np.frombuffer(data, dtype=np.uint8)
    is_last = octets < 0x80
    if not len(octets) or not is_last[-1]:
        raise ValueError("a mask is cut")
    starts = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    place = np.arange(len(octets)) - np.repeat(starts, np.diff(starts, append=len(octets)))
    if place.max() >= _BYTES_A_RUN:
        raise ValueError("a mask has a run that is longer than any picture")
    return np.add.reduceat((octets & 0x7F).astype(np.int64) << (7 * place), starts)


def _packed(runs: np.ndarray) -> bytes:
    shifted = runs[:, None] >> (7 * np.arange(_BYTES_A_RUN + 1))  # (R, 6)
    follows = shifted[:, 1:] > 0  # whether more of the number comes behind each byte
    octets = (shifted[:, :-1] & 0x7F) | (follows << 7)
    is_needed = np.concatenate([np.ones((len(runs), 1), dtype=bool), follows[:, :-1]], axis=1)
    return octets[is_needed].astype(np.uint8).tobytes()
