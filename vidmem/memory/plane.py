"""Vectors on a plane, so that people can look at what lies near what."""

from __future__ import annotations

import torch
from torch import Tensor

_NO_SPREAD = 1e-9
"""Relative to the vectors' length: below it, what is left is rounding."""


def on_plane(vectors: Tensor) -> Tensor:
    """Places of N vectors (N, C) on the plane in which they differ most: (N, 2) float64 on the CPU.

    Their principal components: distances on the plane are never longer than those between the vectors, in one unit for
    both axes, and the longer axis reaches to 1 or -1. The same vectors give the same places, whatever signs the
    decomposition came out with, in whatever order they come: the largest component of each axis is positive.
    """
    places = torch.zeros(len(vectors), 2, dtype=torch.float64)
    if len(vectors) < 2:
        return places
    rows = vectors.detach().to("cpu", torch.float64)
    centred = rows - rows.mean(dim=0)
    _, scale, axes = torch.linalg.svd(centred, full_matrices=False)
    largest = axes[:2].gather(1, axes[:2].abs().argmax(dim=1, keepdim=True))
    found = centred @ (axes[:2] * largest.sign()).T
    found[:, scale[:2] <= _NO_SPREAD * rows.norm()] = 0.0
    if (reach := found.abs().max()) > 0:
        places[:, : found.shape[1]] = found / reach
    return places
