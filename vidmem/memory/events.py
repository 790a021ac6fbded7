"""Events in a row of frames: where one begins, and which frames stand for it. Pure functions.

Source: EM-LLM (Fountas et al., ICLR 2025, arXiv 2407.09450): boundaries where what comes is surprising, moved to where
a graph of similarities falls apart best. A frame's surprise is its distance from the one before: a vision encoder
gives no likelihoods.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def surprise(key: Tensor) -> Tensor:
    """How little each frame (N, C) is like the one before: (N,) float32, 1 - cosine; 0 for the first."""
    unit = functional.normalize(key.float(), dim=1)
    return torch.cat([unit.new_zeros(min(1, len(unit))), 1 - (unit[1:] * unit[:-1]).sum(1)])


def boundaries(surprises: Tensor, *, gamma: float = 1.0) -> list[int]:
    """Places, ascending, at which an event begins, other than the first: surprise above mean + gamma * deviation.

    Args:
        surprises: (N,); the first one is not looked at. With fewer than three frames there is no boundary.
    """
    told = surprises[1:]
    if len(told) < 2:
        return []
    threshold = told.mean() + gamma * told.std(correction=0)
    return [int(place) + 1 for place in (told > threshold).nonzero().squeeze(1)]


def refined(begins: list[int], key: Tensor) -> list[int]:
    """Each boundary moved to where modularity is largest, between its neighbours as they were; ties go to the first.

    The graph has the positive cosines of frames (N, C) as weights of its edges, none from a frame to itself.
    """
    if not begins:
        return []
    unit = functional.normalize(key.double(), dim=1)
    weights = (unit @ unit.T).clamp(min=0).fill_diagonal_(0)
    ends = [0, *begins, len(key)]
    moved = [
        first + 1 + int(modularity(weights[first:last, first:last]).argmax())
        for first, last in zip(ends, ends[2:], strict=False)
    ]
    return sorted(set(moved))


def modularity(weights: Tensor) -> Tensor:
    """Newman's modularity of cutting a graph (N, N) before each place from 1 on: (N - 1,); 0 where there is no edge."""
    total = weights.sum()
    if not total > 0:
        return weights.new_zeros(len(weights) - 1)
    inside = weights.cumsum(0).cumsum(1).diagonal()[:-1]  # among the frames before the cut
    degree = weights.sum(1).cumsum(0)[:-1]
    beyond = total - 2 * degree + inside
    return (inside + beyond) / total - (degree / total).square() - ((total - degree) / total).square()


def representatives(key: Tensor, num_kept: int) -> Tensor:
    """Places, ascending, of the frames of one event that stand for it: its first, then those most like all the others.

    Args:
        key: (N, C), N >= 1.
        num_kept: at least 1; from N on all stay.
    """
    if num_kept >= len(key):
        return torch.arange(len(key))
    unit = functional.normalize(key.float(), dim=1)
    central = 1 + (unit[1:] @ unit.sum(0)).argsort(descending=True, stable=True)
    return torch.cat([central.new_zeros(1), central[: num_kept - 1]]).sort().values.cpu()


def without_repetition(key: Tensor, num_kept: int) -> Tensor:
    """Places, ascending, that are left of frames (N, C) when the later of the two most alike neighbours goes, again and
    again, until `num_kept` are left. Of equals the earliest goes."""
    unit = functional.normalize(key.to("cpu", torch.float64), dim=1)
    alike = [-2.0, *(unit[1:] * unit[:-1]).sum(1).tolist()]  # the first has nothing before it that it could repeat
    places = list(range(len(unit)))
    while len(places) > max(num_kept, 0):
        at = max(range(len(places)), key=alike.__getitem__)
        del places[at], alike[at]
        if at < len(places):
            alike[at] = float((unit[places[at]] * unit[places[at - 1]]).sum()) if at else -2.0
    return torch.tensor(places, dtype=torch.int64)
