"""Groups of elements made one, whatever they were grouped by. Pure functions. (`merging` decides by similarity.)"""

from __future__ import annotations

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.kmeans import sum_by_label
from vidmem.memory.stores import fields_of


def average_groups(elements: Elements, label: Tensor) -> Elements:
    """Make one element of every group: the mean over all frames that its members stand for.

    Each token is averaged by its own weight, keys by the mean weight of their tokens. An average has the sum of its
    members' weights and usage, and the life of the oldest: a query's affinity was shared by the elements of its time,
    so no query gave them more together. Its span reaches from their first start to their last end.

    Args:
        elements: M of them. Not modified.
        label: (M,) int64, on any device: the group of each, from 0 on. No group may be empty.

    Returns:
        A copy, of as many elements as there are groups, in the order of the labels. Computed in float32 or wider; a
        group of one is that one, to the last digit.
    """
    label = label.cpu()
    sizes = label.bincount()
    first, is_merged = label.argsort(stable=True)[sizes.cumsum(0) - sizes], sizes > 1
    averaged = elements[first]
    if not bool(is_merged.any()):
        return averaged
    # What is alone is most, as a rule, and is only copied.
    of_merged = (is_merged.cumsum(0) - 1)[label]
    parts = is_merged[label]
    means = _means(elements[parts], of_merged[parts], int(is_merged.sum()))
    place = is_merged.nonzero().flatten()
    for rows, new_rows in zip(fields_of(averaged).values(), fields_of(means).values(), strict=True):
        rows[place.to(rows.device)] = new_rows
    return averaged


def _means(parts: Elements, label: Tensor, num_groups: int) -> Elements:
    index = label.to(parts.key.device)
    weight, frames = sum_by_label(parts.weight, index, num_groups), parts.weight.mean(1, keepdim=True)

    def mean(rows: Tensor, share: Tensor) -> Tensor:
        # Shares first: a sum of large numbers might be infinite where their mean is not. They are float32, and where
        # `rows` are shorter the product is as wide as they are.
        return sum_by_label((rows * share).flatten(1), index, num_groups).view(-1, *rows.shape[1:]).to(rows.dtype)

    return Elements(
        key=mean(parts.key, frames / sum_by_label(frames, index, num_groups)[index]),
        value=mean(parts.value, (parts.weight / weight[index]).unsqueeze(2)),
        span_seconds=union_of_groups(parts.span_seconds, label, num_groups),
        usage=sum_by_label(parts.usage.unsqueeze(1), index, num_groups).squeeze(1),
        life=parts.life.new_zeros(num_groups).scatter_reduce_(0, index, parts.life, "amax"),
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
