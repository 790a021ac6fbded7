"""Loops of Flash-VStream beside those of its memory, which are in `vidmem.bench.naive.flash_vstream`."""

from __future__ import annotations

import torch
from torch import Tensor


def naive_keep(
    frames: Tensor, num_kept: int, *, all_pairs: bool, drop_later: list[bool] | None
) -> tuple[list[Tensor], list[list[int]]]:
    """Keep K of (T, P, D) frame by frame, comparing all that are there anew: frames, and what they were made of."""
    kept = [frame.double() for frame in frames[:num_kept]]
    members = [[number] for number in range(len(kept))]
    for step, number in enumerate(range(num_kept, len(frames))):
        kept.append(frames[number].double())
        members.append([number])
        best, pair = -2.0, (0, 1)
        for left in range(len(kept)):
            for right in range(left + 1, len(kept) if all_pairs else min(left + 2, len(kept))):
                a, b = kept[left].flatten(), kept[right].flatten()
                cosine = float(a @ b) / max(float(a.norm() * b.norm()), 1e-16)
                if cosine > best + 1e-12:  # equal ones differ by rounding
                    best, pair = cosine, (left, right)
        left, right = pair
        gone = right if drop_later is not None and drop_later[step] else left
        if drop_later is None:
            kept[right] = (kept[left] + kept[right]) / 2
            members[right] = members[left] + members[right]
        del kept[gone], members[gone]
    return kept, members


def naive_attend(memory: Tensor, new: Tensor, ratio: float, query: Tensor, key: Tensor) -> Tensor:
    """Memory (n, D) reads new tokens (m, D), through projections (H, D + 1) that have their bias last."""
    rows = []
    for token in memory:
        asked = query[:, :-1] @ token + query[:, -1]
        scores = torch.stack([asked @ (key[:, :-1] @ other + key[:, -1]) for other in new]) / len(query) ** 0.5
        share = scores.exp() / scores.exp().sum() * ratio
        rows.append(token * (1 - share.sum()) + sum(part * other for part, other in zip(share, new, strict=True)))
    return torch.stack(rows)


def naive_merges(x: Tensor, num_clusters: int, weight: Tensor) -> list[list[int]]:
    """Merge the two clusters of rows (T, C) whose squared error grows least, comparing all anew: their members."""
    clusters = [([number], float(weight[number]), row) for number, row in enumerate(x)]
    while len(clusters) > num_clusters:
        best, pair = float("inf"), (0, 1)
        for left, (_, weight_left, mean_left) in enumerate(clusters):
            for right, (_, weight_right, mean_right) in enumerate(clusters[left + 1 :], left + 1):
                share = weight_left * weight_right / max(weight_left + weight_right, 1e-300)
                cost = share * float((mean_left - mean_right).square().sum())
                if cost < best:
                    best, pair = cost, (left, right)
        (members, weight_left, mean_left), (others, weight_right, mean_right) = (clusters[at] for at in pair)
        total = weight_left + weight_right
        mean = (weight_left * mean_left + weight_right * mean_right) / total if total else mean_left
        clusters[pair[0]] = (members + others, total, mean)
        del clusters[pair[1]]
    return [sorted(members) for members, _, _ in clusters]
