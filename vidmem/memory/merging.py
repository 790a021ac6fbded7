"""Merging neighbours in time: which to average, and the averages. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidmem.memory.scenes import neighbour_cosines

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class MergePlan:
    """How T frames become R: decided in Python numbers, to be applied to any tensor of T rows."""

    groups: tuple[tuple[int, int], ...]
    """R half-open ranges of frame indexes that cover 0..T in order."""
    shares: Floats
    """(R, T) of each frame in the average of its group: powers of 1/2 that sum to 1, 0 in all other groups."""
    positions: tuple[int, ...]
    """Where each merge took place, in the list as it was at that step."""
    similarities: tuple[tuple[float, ...], ...]
    """Similarities of neighbours before each merge."""

    def average(self, frames: Tensor) -> Tensor:
        """Weighted mean of every group: (T, ...) to (R, ...), computed in float32 or wider, in the dtype of `frames`.

        One product of matrices, which suits the few groups that a stretch becomes.
        """
        wide = frames.double() if frames.dtype == torch.float64 else frames.float()
        means = torch.from_numpy(self.shares).to(wide.device, wide.dtype) @ wide.flatten(1)
        return means.view(-1, *frames.shape[1:]).to(frames.dtype)

    def total(self, weight: Tensor) -> Tensor:
        """Sum of every group: (T, P) to (R, P), floating point."""
        return torch.from_numpy(self.shares > 0).to(weight.device, weight.dtype) @ weight

    def union(self, span_seconds: Tensor) -> Tensor:
        """Span from the first start to the last end of every group: (T, 2) to (R, 2)."""
        starts, ends = span_seconds.T.tolist()
        spans = [(starts[start], max(ends[start:end])) for start, end in self.groups]
        return torch.tensor(spans, dtype=span_seconds.dtype)


def plan_merges(features: Tensor, num_kept: int, *, normalise: bool = False) -> MergePlan:
    """Average the most similar neighbours again and again until `num_kept` frames are left.

    Similarity is the dot product of two neighbours' features. With a frame's mean token as its feature this is
    the mean over all pairs of tokens, MovieChat's measure. The first of equal maxima is merged. An average counts as
    one frame in the next merge, however many it stands for.

    Only the two similarities beside a merge change, so this takes O(T F) beside choosing the maximum, where the
    plain version (the oracle in the tests) takes O(T^2 P^2 D). One transfer to the CPU; float64, so that equal
    frames tie exactly and the first wins on every device. In numpy, whose small steps cost less than half of torch's.

    Args:
        features: (T, F), one row a frame.
        num_kept: at least 1; from T on nothing is merged.
        normalise: compare directions only (cosine). Averages are made of the features as given.

    Source: MovieChat (Song et al., CVPR 2024), section 3.3.
    """
    if num_kept < 1:
        raise ValueError(f"{num_kept=} must be at least 1")
    rows = features.to("cpu", torch.float64).numpy()
    means = list(rows)
    groups = [(index, index + 1) for index in range(len(means))]
    weights = [1.0] * len(means)
    positions: list[int] = []
    trace: list[tuple[float, ...]] = []
    similarities = _similarities(rows[:-1], rows[1:], normalise).tolist()
    while len(means) > num_kept:
        trace.append(tuple(similarities))
        at = similarities.index(max(similarities))
        positions.append(at)
        means[at : at + 2] = [(means[at] + means[at + 1]) / 2]
        start, end = groups[at][0], groups[at + 1][1]
        groups[at : at + 2] = [(start, end)]
        weights[start:end] = [weight / 2 for weight in weights[start:end]]
        del similarities[at]
        for left in (at - 1, at):
            if 0 <= left < len(similarities):
                similarities[left] = float(_similarities(means[left], means[left + 1], normalise))
    shares = np.zeros((len(groups), len(rows)))
    for row, (start, end) in enumerate(groups):
        shares[row, start:end] = weights[start:end]
    return MergePlan(tuple(groups), shares, tuple(positions), tuple(trace))


def _similarities(left: Floats, right: Floats, normalise: bool) -> Floats:
    """Dot products or cosines of vectors (..., F): (...)."""
    # A product and a sum, not `dot`: BLAS may add in another order for another memory alignment, and break ties.
    products = np.add.reduce(left * right, axis=-1)
    if normalise:
        squares = np.add.reduce(left * left, axis=-1) * np.add.reduce(right * right, axis=-1)
        products = products / np.maximum(np.sqrt(squares), 1e-12)
    return products


def group_alike(features: Tensor, weight: Tensor, num_kept: int, *, apart: Tensor) -> Tensor:
    """Put the most similar neighbours together again and again, until `num_kept` groups are left or no pair may be.

    Similarity is the cosine of the groups' weighted means; the first of equals is taken. Two similarities are new with
    each step.

    Args:
        features: (N, F).
        weight: (N,), above 0.
        apart: (N - 1,) bool: neighbours that stay in groups of their own, and so do their groups.

    Returns:
        (N,) int64 on the CPU: the group of each, 0 for the first and one more with each group.
    """
    sums = features.to("cpu", torch.float64) * weight.to("cpu", torch.float64).unsqueeze(1)
    rows = list(sums.numpy())
    cosines = neighbour_cosines(sums).masked_fill(apart.cpu(), -torch.inf)
    similarities = [_rounded(cosine) for cosine in cosines.tolist()]
    sizes = [1] * len(rows)
    while len(rows) > num_kept and similarities and (most := max(similarities)) > -torch.inf:
        at = similarities.index(most)
        rows[at : at + 2] = [rows[at] + rows[at + 1]]
        sizes[at : at + 2] = [sizes[at] + sizes[at + 1]]
        del similarities[at]
        for left in (at - 1, at):
            if 0 <= left < len(similarities) and similarities[left] > -torch.inf:
                similarities[left] = _rounded(float(_similarities(rows[left], rows[left + 1], normalise=True)))
    return torch.arange(len(rows)).repeat_interleave(torch.tensor(sizes, dtype=torch.int64))


def _rounded(cosine: float) -> float:
    # Copies of one frame must tie whatever their numbers, and however they were added up.
    return round(cosine, 12)
