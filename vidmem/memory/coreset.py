"""A few rows that stand for many: at random, spread out, or means of clusters. Pure functions.

Source: MC-ViT (Balažević et al., ICML 2024, arXiv 2402.05861), section 3.2, which consolidates a segment's
activations in these three ways. There is no official code; the rules for ties and empty clusters are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor


def random_subset(num_rows: int, num_kept: int, generator: torch.Generator | None = None) -> Tensor:
    """Places of `num_kept` of N rows, each set of them as likely: (min(num_kept, N),) int64 on the CPU, in no order.

    Args:
        generator: of the CPU, so that a seed chooses the same rows for every device.
    """
    return torch.randperm(num_rows, generator=generator)[:num_kept]


def farthest_points(rows: Tensor, num_kept: int, *, start_index: int = 0) -> Tensor:
    """Greedy coreset: from one row on, always the row that is farthest from all that were chosen before.

    Of equally far rows the first is taken; no row is taken twice, also where copies of it are left. Distances to the
    nearest chosen row are carried along, so that a step compares with one row: O(K N D).

    Args:
        rows: (..., N, D), compared by squared L2 distance in float32 or wider.
        num_kept: K; from N on all rows are chosen.
        start_index: the first choice, in [0, N).

    Returns:
        (..., min(K, N)) int64, in the order of choice.
    """
    num_rows = rows.shape[-2]
    if num_kept >= num_rows:
        return torch.arange(num_rows, device=rows.device).expand(*rows.shape[:-1])
    if num_kept < 0 or not 0 <= start_index < num_rows:
        raise ValueError(f"{num_kept=} must be at least 0 and {start_index=} in [0, {num_rows}), one of the rows")
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    chosen = torch.full((*rows.shape[:-2], num_kept), start_index, dtype=torch.int64, device=rows.device)
    distance = torch.full(rows.shape[:-1], torch.inf, dtype=wide.dtype, device=rows.device)
    for step in range(1, num_kept):
        newest = chosen[..., step - 1 : step]
        # Differences, not an expansion of the square: copies of a chosen row must be at exactly 0.
        to_newest = (wide - wide.take_along_dim(newest.unsqueeze(-1), dim=-2)).square_().sum(-1)
        distance = torch.minimum(distance, to_newest).scatter_(-1, newest, -torch.inf)
        chosen[..., step] = distance.argmax(-1)
    return chosen
