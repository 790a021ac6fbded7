"""Flash-VStream's loops, transcribed: the oracle of the fast forms, and what they are timed against.

Everything is compared anew in every step, by explicit differences, one cluster at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def naive_kmeans(
    x: Tensor,
    centroids: Tensor,
    weight: Tensor,
    *,
    rounds: int = 10,
    tolerance: float = 1e-4,
    draw: Callable[[], int] | None = None,
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Rows (T, C) around (K, C): centroids, labels, weights and rounds. `draw` gives a row for an empty cluster."""
    num_rounds = 0
    while num_rounds < rounds:
        num_rounds += 1
        distance = (x[:, None] - centroids[None]).square().sum(2).sqrt()
        label = distance.argmin(1)
        means, totals = [], []
        for cluster in range(len(centroids)):
            members = label == cluster
            total = weight[members].sum()
            totals.append(total)
            if total > 0:
                means.append((weight[members, None] * x[members]).sum(0) / total)
            else:
                means.append(x[draw()] if draw else centroids[cluster])
        mean = torch.stack(means)
        shift = (centroids - mean).norm(dim=1).sum()
        if shift < tolerance or shift == 0:
            break
        centroids = mean
    return centroids, label, torch.stack(totals), num_rounds
