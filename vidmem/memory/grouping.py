"""Groups of elements made one, whatever they were grouped by. Pure functions. (`merging` decides by similarity.)"""

from __future__ import annotations

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.kmeans import sum_by_label


def average_groups(elements: Elements, label: Tensor, num_groups: int) -> Elements:
    """Make one element of every group: the mean over all frames that its members stand for.

    Args:
        elements: M of them. Not modified.
        label: (M,) int64 in [0, num_groups), on the device of the keys: the group of each. No group may be empty.

    Returns:
        `num_groups` elements in the order of the labels, with the sum of their members' weights, the mean of their
        usage and life, and a span from the first start to the last end. Computed in float32 or wider; a group of one
        is that one, to the last digit.
    """
    weight = sum_by_label(elements.weight, label, num_groups)
    token_share = elements.weight / weight[label].clamp(min=1e-30)
    frames = elements.weight.mean(1, keepdim=True)
    share = frames / sum_by_label(frames, label, num_groups)[label].clamp(min=1e-30)

    def mean(rows: Tensor, share: Tensor) -> Tensor:
        # Where `rows` are shorter than the shares, which are float32, the product is as wide as the shares.
        return sum_by_label((rows * share).flatten(1), label, num_groups).view(-1, *rows.shape[1:]).to(rows.dtype)

    counters = mean(torch.stack([elements.usage, elements.life], dim=1), share)
    return Elements(
        key=mean(elements.key, share),
        value=mean(elements.value, token_share[..., None]),
        span_seconds=union_of_groups(elements.span_seconds, label.cpu(), num_groups),
        usage=counters[:, 0],
        life=counters[:, 1],
        weight=weight,
    )


def union_of_groups(span_seconds: Tensor, label: Tensor, num_groups: int) -> Tensor:
    """Span from the first start to the last end of every group (M,) of spans (M, 2): (num_groups, 2), on the CPU."""
    starts = torch.empty(num_groups, dtype=span_seconds.dtype).scatter_reduce_(
        0, label, span_seconds[:, 0], "amin", include_self=False
    )
    ends = torch.empty(num_groups, dtype=span_seconds.dtype).scatter_reduce_(
        0, label, span_seconds[:, 1], "amax", include_self=False
    )
    return torch.stack([starts, ends], dim=1)


def longest_runs(span_seconds: Tensor, label: Tensor, num_groups: int) -> Tensor:
    """Span of the longest run of neighbours in every group, the first of equals: (num_groups, 2).

    A group whose members lie apart would claim, with a union, what lies between them.

    Args:
        span_seconds: (M, 2) in time order, M >= 1.
        label: (M,) int64 on the CPU. No group may be empty.
    """
    is_new = torch.ones(len(label), dtype=torch.bool)
    is_new[1:] = label[1:] != label[:-1]
    run = is_new.cumsum(0) - 1
    num_runs = int(run[-1]) + 1
    seconds = sum_by_label((span_seconds[:, 1:] - span_seconds[:, :1]), run, num_runs)[:, 0]
    longest_first = seconds.argsort(descending=True, stable=True)
    by_group = longest_first[label[is_new][longest_first].argsort(stable=True)]
    grouped = label[is_new][by_group]
    first_of_group = torch.searchsorted(grouped, torch.arange(num_groups))
    return union_of_groups(span_seconds, run, num_runs)[by_group[first_of_group]]
