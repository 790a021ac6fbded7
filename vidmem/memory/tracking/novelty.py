"""Which masks show something that no other mask shows: found things against each other, and against what is followed.

Masks may be of any size, one for all of a call: the decoder's own is enough, and far cheaper than the frame's.
"""

from __future__ import annotations

import torch
from torch import Tensor


def distinct(masks: Tensor, scores: Tensor, *, max_iou: float = 0.7) -> Tensor:
    """Leave out what is found twice: of masks that overlap the better one stays.

    Args:
        masks: (N, h, w) bool.
        scores: (N,); larger is better, and of equals the first.
        max_iou: overlap up to which two masks are of two things. The default is that of SAM's own proposals.

    Returns:
        Indices (n,) int64 on the masks' device, the best first. Every other mask overlaps one of these by more.
    """
    order = scores.argsort(descending=True, stable=True)
    shared, area = _shared(masks, masks), _area(masks)
    iou = shared / (area[:, None] + area - shared).clamp(min=1)
    alike = (iou > max_iou)[order][:, order].cpu()
    kept = torch.zeros(len(order), dtype=torch.bool)
    for place in range(len(order)):
        kept[place] = not bool((alike[place] & kept).any())
    return order[kept.to(order.device)]


def unclaimed(
    masks: Tensor,
    scores: Tensor,
    known: Tensor,
    *,
    max_iou: float = 0.5,
    max_inside: float = 0.8,
    budget: int | None = None,
) -> Tensor:
    """Which of N found masks show nothing that is followed already. An empty mask shows nothing.

    Args:
        masks: (N, h, w) bool.
        scores: (N,); larger is better, and of equals the first.
        known: (K, h, w) bool, of followed objects that are visible.
        max_iou: a mask whose overlap with a known one is as large is that object. Two masks that share half of what
            they cover can't be of two things that cover each other's pixels.
        max_inside: a mask is a part of a known object if at least this share of it lies there. A thing in front of the
            object covers pixels that the object's own mask does not have, so little of it does.
        budget: indices at most; None for all.

    Returns:
        Indices (n,) int64 on the masks' device, the best first.
    """
    order = scores.argsort(descending=True, stable=True)
    area, shared = _area(masks)[:, None], _shared(masks, known)
    iou = shared / (area + _area(known) - shared).clamp(min=1)
    claimed = (iou >= max_iou) | (shared >= max_inside * area)
    new = ~claimed.any(dim=1) & (area[:, 0] > 0)
    return order[new[order]][:budget]


def _area(masks: Tensor) -> Tensor:
    return masks.flatten(1).sum(dim=1).float()


def _shared(masks: Tensor, others: Tensor) -> Tensor:
    """Pixels that masks (N, h, w) have in common with others (K, h, w): (N, K), exact up to 2**24 pixels."""
    return masks.flatten(1).float() @ others.flatten(1).float().T
