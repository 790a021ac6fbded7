"""Connected parts of a mask."""

from __future__ import annotations

import numpy as np


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest part of (H, W) bool whose pixels touch, corners included: (H, W) bool. Of equals the topmost.

    Works on runs of pixels in a row, of which a mask has far fewer than pixels.
    """
    row, start, stop = _runs(mask)
    if len(row) == 0:
        return np.zeros_like(mask)
    part = _joined(len(row), *_touching(row, start, stop, mask.shape[1] + 1))
    size = np.bincount(part, weights=stop - start)
    kept = (part == size.argmax()).nonzero()[0]
    # Ends of runs cancel their starts in a running sum; a row has one more place than pixels.
    edges = np.zeros((mask.shape[0], mask.shape[1] + 1), np.int8)
    edges[row[kept], start[kept]] = 1
    edges[row[kept], stop[kept]] = -1
    return edges.cumsum(1, dtype=np.int8)[:, :-1].astype(bool)


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, first column and last column + 1 of each run of pixels, in reading order."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = (edges == 1).nonzero()
    return row, start, (edges == -1).nonzero()[1]


def _touching(row: np.ndarray, start: np.ndarray, stop: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs, the one a row below the other, that share a column or meet at a corner."""
    below = (row + 1) * width
    first = np.searchsorted(row * width + stop, below + start)
    last = np.searchsorted(row * width + start, below + stop, side="right")
    num = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(row)), num)
    place = np.arange(len(upper)) - np.repeat(num.cumsum() - num, num)
    return upper, first[upper] + place


def _joined(num: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Name each of `num` runs by the first run that pairs connect it with."""
    name = np.arange(num)
    while True:
        lower = np.minimum(name[one], name[other])
        hooked = name.copy()
        np.minimum.at(hooked, name[one], lower)
        np.minimum.at(hooked, name[other], lower)
        while not np.array_equal(hooked, hooked[hooked]):
            hooked = hooked[hooked]
        hooked = hooked[name]
        if np.array_equal(hooked, name):
            return name
        name = hooked
