"""Clustering rows around centroids: Lloyd's k-means, weighted, in batches. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

Refill = Callable[[int, int], Tensor]
"""`refill(num_rows, num_drawn)`: places (num_drawn,), int64, of rows that take over centroids without members."""


class Draws(Protocol):
    """Random choices of rows by their places, so that those of a reference can be replayed."""

    def distinct(self, num_rows: int, num_drawn: int) -> Tensor:
        """Different places in [0, num_rows), at most that many: (num_drawn,) int64."""

    def any(self, num_rows: int, num_drawn: int) -> Tensor:
        """Places in [0, num_rows), each on its own: (num_drawn,) int64."""


@dataclass(frozen=True, slots=True, eq=False)
class SeededDraws:
    """Uniform choices of a generator on the CPU, the same on every device."""

    generator: torch.Generator

    def distinct(self, num_rows: int, num_drawn: int) -> Tensor:
        return torch.randperm(num_rows, generator=self.generator)[:num_drawn]

    def any(self, num_rows: int, num_drawn: int) -> Tensor:
        return torch.randint(num_rows, (num_drawn,), generator=self.generator)


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """T rows around K centroids, with any leading batch axes."""

    centroids: Tensor
    """(..., K, C), in the dtype of the rows."""
    label: Tensor
    """(..., T) int64: the centroid that each row was nearest to in the last round. Without convergence the centroids
    are one update ahead of it."""
    weight: Tensor
    """(..., K), float32 or float64: summed weight of each centroid's rows in the last round; 0 without members."""
    num_rounds: Tensor
    """(...) int64: rounds until nothing moved, the one that found that out included."""


def kmeans(
    x: Tensor,
    centroids: Tensor,
    *,
    weight: Tensor | None = None,
    rounds: int = 10,
    tolerance: float = 0.0,
    refill: Refill | None = None,
) -> Clusters:
    """Move centroids to the mean of the rows nearest to them (L2, the first of equals), again and again.

    A batch item whose centroids move by less than `tolerance` in sum, or not at all, is done and keeps the centroids
    from before that round. Computed in float32, or in float64 for such rows: O(T K C) a round as one matrix product,
    in O(T K) room.

    Args:
        x: (..., T, C). Not modified.
        centroids: (..., K, C): where to begin. Not modified.
        weight: (..., T), at least 0: how much each row counts. None: all count 1.
        rounds: at most this many.
        tolerance: see above; 0: only centroids that stand still are done.
        refill: called in rounds in which a centroid has no member of any weight, once for all of them in the order of
            batch items and centroids; gives the rows (of their batch item) that they move to. None: they stay.

    Raises:
        ValueError: there is no round, no row or no centroid.

    Source: Lloyd, "Least squares quantization in PCM", 1982. Weights, refills and the rule for stopping are those of
        Flash-VStream's code (arXiv 2406.08085).
    """
    batch, num_rows, num_clusters = x.shape[:-2], x.shape[-2], centroids.shape[-2]
    if min(rounds, num_rows, num_clusters) < 1:
        raise ValueError(f"k-means needs a round, a row and a centroid, got {rounds=}, {num_rows=}, {num_clusters=}")
    rows = _accurate(x).reshape(-1, *x.shape[-2:])  # (B, T, C)
    at = centroids.to(rows.dtype).expand(*batch, -1, -1).reshape(len(rows), num_clusters, -1)
    counts = torch.ones(rows.shape[:2], dtype=rows.dtype, device=rows.device)
    weighted = rows
    if weight is not None:
        counts = weight.to(rows).expand(*batch, -1).reshape(counts.shape)
        weighted = rows * counts[..., None]
    origin = rows[:, :1]
    from_origin = rows - origin
    moving = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    num_rounds = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for _ in range(rounds):
        num_rounds += moving
        label = _nearest(from_origin, at - origin)
        total = sum_by_label(counts[..., None], label, num_clusters)  # (B, K, 1)
        mean = torch.where(total > 0, sum_by_label(weighted, label, num_clusters) / total, at)
        if refill is not None:
            _refill(mean, rows, (total[..., 0] <= 0) & moving[:, None], refill)
        shift = (mean - at).norm(dim=-1).sum(-1)
        moving = moving & (shift != 0) & (shift >= tolerance)
        at = torch.where(moving[:, None, None], mean, at)
        if not moving.any():
            break
    return Clusters(
        at.to(x.dtype).reshape(*batch, num_clusters, -1),
        label.reshape(*batch, -1),
        total.reshape(*batch, num_clusters),
        num_rounds.reshape(batch),
    )


def merge_rows(x: Tensor, num_clusters: int, *, weight: Tensor | None = None) -> Tensor:
    """Merge the two clusters whose merging raises the weighted squared error least, again and again: labels (T,).

    Begins with each row as a cluster. The same error as that which `kmeans` lowers from a given start, so a start for
    it that needs no random choice, and in which what is unlike everything keeps a cluster of its own. O(T^2 C) as one
    matrix product, O(T^2) room on the CPU, O(T) for most merges.

    Args:
        x: (T, C). Not modified.
        num_clusters: at least 1; from T on nothing is merged.
        weight: (T,), at least 0: how much each row counts. None: all count 1.

    Returns:
        (T,) int64 on the device of `x`: the cluster of each row, numbered by their first rows.

    Source: Ward, "Hierarchical grouping to optimize an objective function", 1963; Lance and Williams, 1967.
    """
    if num_clusters < 1:
        raise ValueError(f"{num_clusters=} must be at least 1")
    num_rows = len(x)
    counts = torch.ones(num_rows, dtype=torch.float64) if weight is None else weight.to("cpu", torch.float64, copy=True)
    first = torch.arange(num_rows)
    if num_rows > num_clusters:
        cost = _squared_distance(_accurate(x)).to("cpu", torch.float64)
        cost *= counts[:, None] * counts / (counts[:, None] + counts).clamp(min=torch.finfo(torch.float64).tiny)
        cost.fill_diagonal_(torch.inf)
        lowest, partner = cost.min(1)
        for _ in range(num_rows - num_clusters):
            kept = int(lowest.argmin())  # the first of equals, and so before its partner
            gone = int(partner[kept])
            _merge_costs(cost, counts, kept, gone)
            first[first == gone] = kept
            lowest[gone] = torch.inf
            stale = ((partner == kept) | (partner == gone)) & (lowest < torch.inf)
            stale[kept] = True
            lowest[stale], partner[stale] = cost[stale].min(1)
    return first.unique(return_inverse=True)[1].to(x.device)


def _merge_costs(cost: Tensor, counts: Tensor, kept: int, gone: int) -> None:
    """Make `kept` the union of two clusters, and `gone` no cluster, in costs (T, T) and weights (T,)."""
    both = counts[kept] + counts[gone]
    merged = (counts[kept] + counts) * cost[kept] + (counts[gone] + counts) * cost[gone] - counts * cost[kept, gone]
    merged /= (both + counts).clamp(min=torch.finfo(torch.float64).tiny)
    # What is no cluster any more, or is this one, stays so; without weight 0 times infinity came out.
    merged = torch.where(cost[kept] < torch.inf, merged, torch.inf)
    cost[kept] = cost[:, kept] = merged
    cost[gone] = cost[:, gone] = torch.inf
    counts[kept] = both


def _squared_distance(x: Tensor) -> Tensor:
    """Of all pairs of rows: (T, C) to (T, T)."""
    from_first = x - x[:1]
    square = from_first.square().sum(1)
    return (square[:, None] + square - 2 * from_first @ from_first.mT).clamp(min=0)


def nearest(x: Tensor, candidates: Tensor) -> Tensor:
    """For each row (..., N, C) the candidate (..., M, C), M >= 1, least far by L2, the first of equals: (..., N)."""
    candidates = _accurate(candidates)
    origin = candidates[..., :1, :]
    return _nearest(x.to(candidates.dtype) - origin, candidates - origin)


def sum_by_label(values: Tensor, label: Tensor, num_labels: int) -> Tensor:
    """Sum the values (..., T, C) of each label (..., T): (..., num_labels, C), 0 where a label has none."""
    if values.is_cuda:
        # index_add adds in no fixed order on CUDA, and the same frames shall give the same memory.
        return functional.one_hot(label, num_labels).to(values.dtype).mT @ values
    batch, (num_rows, width) = values.shape[:-2], values.shape[-2:]
    num_items = batch.numel()
    first = torch.arange(num_items, device=label.device)[:, None] * num_labels
    place = label.reshape(num_items, num_rows) + first
    sums = values.new_zeros(num_items * num_labels, width)
    sums.index_add_(0, place.flatten(), values.reshape(num_items * num_rows, width))
    return sums.view(*batch, num_labels, width)


def _nearest(x: Tensor, candidates: Tensor) -> Tensor:
    """`nearest` by expansion of the square, for which the origin should be near the rows: far ones lose digits.

    Rows less one of them keep whole numbers whole, so that ties among such are exact.
    """
    return (candidates.square().sum(-1)[..., None, :] - 2 * x @ candidates.mT).argmin(-1)


def _refill(mean: Tensor, rows: Tensor, without: Tensor, refill: Refill) -> None:
    """Put drawn rows (B, T, C) in place of those of the means (B, K, C) where `without` (B, K) says so."""
    item, cluster = without.nonzero(as_tuple=True)
    if len(item):
        mean[item, cluster] = rows[item, refill(rows.shape[1], len(item)).to(item.device)]


def _accurate(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
