"""Flash-VStream: clusters of all that was seen, coarse, and whole frames of the heaviest clusters.

Source: Flash-VStream (Zhang et al., arXiv 2406.08085) and its second version (arXiv 2506.23825), whose memory this is.
The reference's own forms, where the policy differs from them, are the functions of `flash_memory_reference` and, for
the first version, `flash_vstream_reference`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.grouping import average_groups
from vidmem.memory.kmeans import kmeans, merge_rows, nearest, sum_by_label
from vidmem.memory.policies.baselines import fresh
from vidmem.memory.policies.policy import Change, FramePolicy, Level
from vidmem.memory.resolution import resample, resampled

_SLACK = 8
"""A level that would not hold all is brought down by an eighth, so that it is not made anew with every stretch."""
_SAME_TIME = 1e-6
"""Seconds that spans may lie apart and still be one stretch: their sums are rounded."""


@dataclass(frozen=True, slots=True)
class FlashVStream(FramePolicy):
    """Cluster all that was seen, at low resolution; keep whole frames of the heaviest clusters beside.

    Where we differ from the code: clusters begin with the cheapest merges and not with frames drawn by lot, of which
    what is rare soon draws a blank; they keep times of the video, where the code counts places in its list; a cluster's
    whole frame is looked for among those kept so far and the new ones, where the code keeps every frame there was.
    """

    name: ClassVar[str] = "flash-vstream"
    source: ClassVar[str] = "Flash-VStream (Zhang et al., 2025), arXiv 2406.08085 and 2506.23825"
    pool: int = 2
    """How many times coarser the clusters' grid of tokens is, on each side."""
    detail_share: float = 1 / 3
    """Share of the room that whole frames have (two thirds in the reference)."""
    max_clusters: int = 1024
    """There are no more clusters, however much room: whole frames get what is left."""
    rounds: int = 2
    """Most rounds of k-means after merging."""

    def __post_init__(self) -> None:
        FramePolicy.__post_init__(self)
        if self.pool < 1 or self.max_clusters < 1 or self.rounds < 1:
            raise ValueError(
                f"pool={self.pool}, max_clusters={self.max_clusters} and rounds={self.rounds} must be at least 1"
            )
        if not 0 <= self.detail_share < 1:
            raise ValueError(f"detail_share={self.detail_share} must be in [0, 1): clusters need some of the room")

    def levels(self, num_tokens: int, max_elements: int) -> tuple[Level, ...]:
        coarse = coarse_tokens(num_tokens, self.pool)
        num_whole = int(self.detail_share * max_elements)
        num_clusters = min((max_elements - num_whole) * num_tokens // coarse, self.max_clusters)
        return Level(coarse, num_clusters), Level(num_tokens, max_elements - -(-num_clusters * coarse // num_tokens))

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (clusters, whole), (coarse, fine) = held, levels
        gained = fresh(resampled(leaving, coarse.num_tokens))
        change = Change(gained)
        if is_over := len(clusters) + len(gained) > coarse.max_elements:
            merged = merge(Elements.cat([clusters, gained]), room(coarse), rounds=self.rounds)
            change = Change(merged, torch.arange(0))
        if len(whole) + len(leaving) <= fine.max_elements:
            return change, Change(fresh(leaving))
        listed = merged if is_over else Elements.cat([clusters, gained])
        candidates = torch.cat([resample(whole.value, coarse.num_tokens), gained.value])
        chosen = nearest_to_heaviest(candidates, listed, room(fine))
        told = leaving[chosen[chosen >= len(whole)] - len(whole)]
        return change, Change(fresh(told), chosen[chosen < len(whole)])


def coarse_tokens(num_tokens: int, pool: int) -> int:
    """Tokens of a frame whose grid (a line, if they are no square) is `pool` times coarser on each side, at least 1."""
    side = math.isqrt(num_tokens)
    return max(1, (side // pool) ** 2 if side * side == num_tokens else num_tokens // pool**2)


def room(level: Level) -> int:
    """What a level that is too small is brought down to."""
    return level.max_elements - level.max_elements // _SLACK


def merge(elements: Elements, num_clusters: int, *, rounds: int) -> Elements:
    """Merge N elements into at most `num_clusters` < N, in time order, by weighted k-means of their values.

    What the clusters are, `clustered` says.
    """
    weight = elements.weight[:, 0]
    rows = elements.value.float().flatten(1)
    label = merge_rows(rows, num_clusters, weight=weight)
    begin = _means(rows, label, weight, num_clusters)
    return clustered(elements, kmeans(rows, begin, weight=weight, rounds=rounds).label)


def clustered(elements: Elements, label: Tensor) -> Elements:
    """Make one element of all N that have the same label (N,), for each label that there is, in time order.

    A cluster is the average of its members (`average_groups`), but that its time is what they cover if that is one
    stretch, else the span of the heaviest (the latest of equals): never time that it does not show.
    """
    weight = elements.weight[:, 0]
    label = label.unique(return_inverse=True)[1]
    num_clusters = int(label.max()) + 1
    spans = cluster_spans(elements.span_seconds, label.cpu(), weight.cpu(), num_clusters)
    order = spans[:, 0].argsort(stable=True)
    label = order.argsort().to(label.device)[label]
    return replace(average_groups(elements, label), span_seconds=spans[order])


def cluster_spans(span_seconds: Tensor, label: Tensor, weight: Tensor, num_clusters: int) -> Tensor:
    """Time of each cluster, (num_clusters, 2): see `clustered`. All on the CPU; every cluster has a member."""
    starts, ends = span_seconds.unbind(1)
    begin = starts.new_empty(num_clusters).scatter_reduce(0, label, starts, "amin", include_self=False)
    end = ends.new_empty(num_clusters).scatter_reduce(0, label, ends, "amax", include_self=False)
    is_one = _sums(ends - starts, label, num_clusters) > end - begin - _SAME_TIME
    by_weight = weight.argsort(stable=True)
    by_label = by_weight[label[by_weight].argsort(stable=True)]
    heaviest = by_label[label.bincount().cumsum(0) - 1]
    return torch.where(is_one[:, None], torch.stack([begin, end], dim=1), span_seconds[heaviest])


def nearest_to_heaviest(candidates: Tensor, clusters: Elements, num_kept: int) -> Tensor:
    """Which whole frames stay: the nearest to each of the heaviest clusters, the newest of equals first.

    Args:
        candidates: (N, P, D) frames in time order, N > num_kept, at the resolution of the clusters.
        num_kept: so many places come back. A frame that is nearest to several clusters counts once; where all clusters
            are served the newest frames fill up.

    Returns:
        Ascending places, int64, on the CPU.
    """
    newest_first = clusters.weight[:, 0].flip(0).argsort(descending=True, stable=True)
    rows = clusters.value.flip(0)[newest_first].flatten(1)
    served = nearest(rows, candidates.flatten(1)).tolist()
    places = dict.fromkeys([*served, *range(len(candidates) - 1, -1, -1)])
    return torch.tensor(list(places)[:num_kept], dtype=torch.int64).sort().values


def _means(rows: Tensor, label: Tensor, weight: Tensor, num_clusters: int) -> Tensor:
    """Weighted mean of each cluster's rows (N, F)."""
    share = weight / _sums(weight, label, num_clusters)[label]
    return sum_by_label(rows * share[:, None], label, num_clusters)


def _sums(numbers: Tensor, label: Tensor, num_clusters: int) -> Tensor:
    """Of each cluster's numbers (N,)."""
    return sum_by_label(numbers[:, None], label, num_clusters)[:, 0]
