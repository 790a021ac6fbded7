"""HERMES as its loops go, step by step. Its compressor is in `vidmem.bench.naive.hermes`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def naive_all_pairs(frames: list[Tensor], sizes: list[float], num_kept: int, weighted: bool) -> list[Tensor]:
    """Merge any two, at one token position: what is left of frames (C,), with `sizes` changed to theirs."""
    kept = list(frames)
    while len(kept) > num_kept:
        pairs = [(first, second) for first in range(len(kept)) for second in range(first + 1, len(kept))]
        cosines = [float(functional.cosine_similarity(kept[first], kept[second], dim=0)) for first, second in pairs]
        first, second = pairs[cosines.index(max(cosines))]
        share = sizes[second] / (sizes[first] + sizes[second]) if weighted else 0.5
        kept[first] = (1 - share) * kept[first] + share * kept[second]
        sizes[first] += sizes[second]
        del kept[second], sizes[second]
    return kept


def naive_fold(frames: Tensor, stride: int) -> tuple[Tensor, list[int], Tensor]:
    """Semantics retriever on one video (T, D): means, where each of the other frames goes, the means spread back."""
    num_kept = len(frames) // stride
    kept_places = [(group + 1) * stride - 1 for group in range(num_kept)]
    destination, members = [], [[frames[place]] for place in kept_places]
    spread: list[Callable[[list[Tensor]], Tensor]] = []
    for place in range(num_kept * stride):
        if place in kept_places:
            chosen = kept_places.index(place)
        else:
            cosines = [
                float(frames[place] @ frames[kept] / (frames[place].norm() * frames[kept].norm()))
                for kept in kept_places
            ]
            chosen = cosines.index(max(cosines))
            destination.append(chosen)
            members[chosen].append(frames[place])
        spread.append(lambda means, chosen=chosen: means[chosen])
    means = [torch.stack(group).mean(0) for group in members]
    return torch.stack(means), destination, torch.stack([pick(means) for pick in spread])


def naive_attention(
    hidden: Tensor,
    bank: Tensor,
    projections: tuple[tuple[Tensor, Tensor], ...],
    num_heads: int,
    mask: Tensor,
) -> Tensor:
    """One Q-Former layer's attention (N, C) from hidden (N, C) to a bank (n, N, C) and itself, head by head."""
    (query_w, query_b), (key_w, key_b), (value_w, value_b) = projections
    seen = torch.cat([bank.flatten(0, 1), hidden])
    query, key, value = hidden @ query_w.T + query_b, seen @ key_w.T + key_b, seen @ value_w.T + value_b
    width = hidden.shape[1] // num_heads
    heads = []
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        logits = query[:, part] @ key[:, part].T / math.sqrt(width) + mask.repeat(len(bank) + 1)
        heads.append(logits.softmax(dim=1) @ value[:, part])
    return torch.cat(heads, dim=1)
