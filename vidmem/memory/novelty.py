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


def most_novel(features: Tensor, num_kept: int) -> Tensor:
    """Which frames are left when the one most like any frame before it goes, again and again, until few enough are.

    As if the threshold of `novel_frames` were lowered until they are. The first frame stays. O(T^2 d) in one matrix
    product, and one transfer to the CPU.

    Args:
        features: (T, d), in time order.
        num_kept: at least 1; from T on all are left.

    Returns:
        Places, int64, ascending, on the device of `features`.
    """
    if num_kept < 1:
        raise ValueError(f"{num_kept=} must be at least 1")
    num_frames = len(features)
    stays = torch.ones(num_frames, dtype=torch.bool)
    if num_kept < num_frames:
        unit = _directions(features)
        is_later = torch.ones(num_frames, num_frames, dtype=torch.bool, device=features.device).triu()
        similarity = (unit @ unit.mT).masked_fill_(is_later, -torch.inf).cpu()
        highest, most_alike = similarity.max(dim=1)
        for _ in range(num_frames - num_kept):
            gone = int(highest.argmax())
            stays[gone], highest[gone] = False, -torch.inf
            similarity[:, gone] = -torch.inf
            # Only those that were most like it look for another.
            stale = ((most_alike == gone) & stays).nonzero().squeeze(1)
            highest[stale], most_alike[stale] = similarity[stale].max(dim=1)
    return stays.nonzero().squeeze(1).to(features.device)


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
