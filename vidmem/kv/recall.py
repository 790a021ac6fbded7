"""Which blocks a question needs. Pure functions: scores, rankings, and a choice within a budget.

A *ranking* is block ids, best first; it may leave out what is far down. Internal retrieval ranks by the model's own
queries and keys, external retrieval brings a ranking of its own (embeddings in an index), hybrid retrieval fuses both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.errors import BadInput


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a question may bring back, and how it is spread."""

    num_tokens: int
    """Tokens of all blocks that are brought back."""
    num_neighbours: int = 0
    """Blocks on either side that come along with a chosen one, so that it is seen with what led to it."""
    max_event_share: float = 1.0
    """Part of the tokens that one event may take as long as another event has something to offer."""

    def __post_init__(self) -> None:
        if self.num_tokens < 0 or self.num_neighbours < 0 or not 0 < self.max_event_share <= 1:
            raise ValueError(f"a budget needs counts >= 0 and a share in (0, 1], got {self}")


def representative(keys: Tensor) -> Tensor:
    """Mean key before RoPE, per layer and KV head: (layers, KV heads, T, D) -> (layers, KV heads, D) float32.

    Source: ReKV (ICLR 2025), write rule 6 of spec/rekv.md, without repeating KV heads for their query heads.
    """
    return keys.mean(dim=-2, dtype=torch.float32)


def block_scores(representatives: Tensor, query: Tensor) -> Tensor:
    """How much one layer's question asks for each block: (N,) float32, larger is more.

    The dot product of the mean query with the mean key, summed over heads, not normalised. A KV head serves a group of
    query heads, whose mean queries can be added up first: the same sum with fewer products.

    Args:
        representatives: (N, KV heads, D) of one layer.
        query: (H, T, D) of the question's tokens, before RoPE.

    Source: ReKV, retrieval rules 2 and 3 of spec/rekv.md. Its paper says cosine, its code takes the dot product.
    """
    mean = query.mean(dim=1, dtype=torch.float32)
    folded = mean.unflatten(0, (representatives.shape[1], -1)).sum(dim=1)
    return representatives.flatten(1).float() @ folded.flatten()


def ranking(scores: Tensor, limit: int | None = None) -> list[int]:
    """Ids of the `limit` highest scores (N,), best first; equal scores in the order of time, on every device."""
    limit = len(scores) if limit is None else min(limit, len(scores))
    if limit == 0:
        return []
    # All that equal the last one are sorted too, as topk takes any of those.
    lowest = scores.topk(limit).values[-1]
    candidates = (scores >= lowest).nonzero().squeeze(1)
    order = scores[candidates].argsort(descending=True, stable=True)[:limit]
    return [int(index) for index in candidates[order].tolist()]


def fuse(rankings: Iterable[Sequence[int]], *, smoothing: float = 60.0) -> list[int]:
    """One ranking out of several, by the sum of `1 / (smoothing + rank)`; what a ranking leaves out it adds nothing to.

    Ranks and not scores are added: dot products of keys and cosines of embeddings have no common scale.

    Source: reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009), smoothing 60 as there.
    """
    total: defaultdict[int, float] = defaultdict(float)
    for order in rankings:
        for rank, block_id in enumerate(order, start=1):
            total[block_id] += 1.0 / (smoothing + rank)
    return sorted(total, key=lambda block_id: (-total[block_id], block_id))


def top_groups(scores: Tensor, top_k: int, group_size: int = 1) -> list[int]:
    """The `top_k` best blocks in temporal order, taken in groups of consecutive ones: ReKV's own choice.

    Groups are ranked by their mean score. When the last group is short and chosen, fewer than `top_k` come back.

    Raises:
        ValueError: `top_k` is no multiple of `group_size`.

    Source: ReKV, retrieval rule 4 of spec/rekv.md.
    """
    if top_k < 1 or group_size < 1 or top_k % group_size:
        raise ValueError(f"{top_k=} must be a positive multiple of {group_size=}")
    if len(scores) <= top_k:
        return list(range(len(scores)))
    means = torch.stack([group.mean() for group in scores.split(group_size)])
    groups = sorted(ranking(means, top_k // group_size))
    chosen = [group * group_size + offset for group in groups for offset in range(group_size)]
    return [block_id for block_id in chosen if block_id < len(scores)]


def choose(
    order: Sequence[int], block_tokens: Sequence[int], budget: Budget, *, events: Sequence[int] | None = None
) -> list[int]:
    """Ids of the blocks to bring back, in temporal order, within the budget.

    The ranking is walked from its best; each block brings its neighbours, nearest first, and what does not fit is
    passed over for what does. On this walk an event gets no more than its share; a second one spends what is left on
    whatever is best. Neighbours of neighbouring choices are taken once, so that runs of blocks come together.

    Args:
        order: block ids, best first.
        block_tokens: tokens of all N blocks.
        events: a label for each of the N blocks, the same for blocks of one event (a scene); None is one event each.

    Raises:
        BadInput: the budget is too small for any block of the ranking.
    """
    walk = _Walk(block_tokens, budget.num_tokens, events or range(len(block_tokens)))
    for share in (int(budget.max_event_share * budget.num_tokens), budget.num_tokens):
        for block_id in order:
            if walk.take(block_id, share):
                for distance in range(1, budget.num_neighbours + 1):
                    walk.take(block_id - distance, share)
                    walk.take(block_id + distance, share)
    if order and not walk.chosen:
        smallest = min(block_tokens[block_id] for block_id in order)
        raise BadInput(
            f"a budget of {budget.num_tokens} tokens is too small for one block of {smallest}: give at least that many."
        )
    return sorted(walk.chosen)


class _Walk:
    """Blocks taken so far, and what is left of the budget."""

    def __init__(self, block_tokens: Sequence[int], num_tokens: int, events: Sequence[int]) -> None:
        self._block_tokens, self._events, self._left = block_tokens, events, num_tokens
        self._taken_by_event: defaultdict[int, int] = defaultdict(int)
        self.chosen: set[int] = set()

    def take(self, block_id: int, share: int) -> bool:
        """Take a block if there is such a one, it was not taken, and it and its event's `share` of tokens fit."""
        if not 0 <= block_id < len(self._block_tokens) or block_id in self.chosen:
            return False
        size, event = self._block_tokens[block_id], self._events[block_id]
        if size > self._left or self._taken_by_event[event] + size > share:
            return False
        self._left -= size
        self._taken_by_event[event] += size
        self.chosen.add(block_id)
        return True
