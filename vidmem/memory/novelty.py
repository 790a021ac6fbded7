"""Novelty: frames that are unlike all that is kept. Pure functions.

Source: HippoMM (Lin et al., arXiv 2504.10739), key frames of an event. Its quirks are in `policies.hippomm_reference`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 256
"""Frames that are decided on together."""


def novel_frames(features: Tensor, *, threshold: float, known: Tensor | None = None) -> Tensor:
    """Which frames to keep so that each has a cosine below `threshold` with every frame kept before it.

    Greedy in the order given: the first frame is kept if nothing is known. Vectors of zeros are like each other and
    unlike all else. O(T K d) for K kept of T, a matrix product a block and one transfer to the CPU, where the reference
    makes all T x T similarities.

    Args:
        features: (T, d).
        threshold: cosine from which a frame is nothing new.
        known: (M, d) what is kept already. Not part of the result.

    Returns:
        Places, int64, ascending, on the device of `features`.
    """
    kept = _directions(features[:0] if known is None else known)
    places: list[Tensor] = []
    for start in range(0, len(features), BLOCK):
        block = _directions(features[start : start + BLOCK])
        is_old = (block @ kept.mT >= threshold).any(dim=1)
        novel = _first_of_alike(block @ block.mT >= threshold, is_old)
        kept = torch.cat([kept, block[novel]])
        places.append(novel + start)
    return torch.cat(places) if places else torch.empty(0, dtype=torch.int64, device=features.device)


def _directions(features: Tensor) -> Tensor:
    """Unit vectors (n, d + 1): the last number is 1 where a vector is all zeros and has no direction."""
    precision = torch.float64 if features.dtype == torch.float64 else torch.float32
    features = features.to(precision)
    is_zero = (features == 0).all(dim=1, keepdim=True)
    return torch.cat([functional.normalize(features, dim=1), is_zero.to(precision)], dim=1)


def _first_of_alike(is_alike: Tensor, is_old: Tensor) -> Tensor:
    """Places of n rows that are not old nor alike (n, n) to an earlier row that is taken."""
    alike, is_closed = is_alike.cpu(), is_old.cpu().clone()
    novel: list[int] = []
    while not bool(is_closed.all()):
        place = int(is_closed.int().argmin())
        novel.append(place)
        is_closed |= alike[place]
        is_closed[place] = True
    return torch.tensor(novel, dtype=torch.int64, device=is_old.device)
