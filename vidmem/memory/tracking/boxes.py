"""Boxes of masks: x1, y1, x2, y2 with inclusive extremes, zeros for an empty mask."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def mask_boxes(mask: Tensor) -> Tensor:
    """Smallest boxes of masks (..., H, W) bool: (..., 4) int64 on the same device, without waiting for it."""
    (x1, x2), (y1, y2) = _ends(mask.any(-2)), _ends(mask.any(-1))
    return torch.stack([x1, y1, x2, y2], -1) * mask.flatten(-2).any(-1, keepdim=True)


def _ends(line: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true place of (..., L) bool."""
    as_number = line.int()
    return as_number.argmax(-1), line.shape[-1] - 1 - as_number.flip(-1).argmax(-1)


def present_masks(logits: Tensor, object_logits: Tensor, size: tuple[int, int], *, threshold: float) -> Tensor:
    """Masks of the decoder's logits (..., K, h, w) at another size, empty where the object is absent.

    Args:
        object_logits: (...,) the object is there if it is above the threshold.
        size: (H, W).

    Returns:
        (..., K, H, W) bool.
    """
    flat = logits.reshape(-1, *logits.shape[-3:]).float()
    enlarged = functional.interpolate(flat, size, mode="bilinear", align_corners=False)
    present = (object_logits > threshold)[..., None, None, None]
    return (enlarged.view(*logits.shape[:-2], *size) > 0) & present


def box_iou(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Overlap of boxes (..., 4) by their extremes as they are, in float64. Leading axes broadcast.

    0 where `other` is all zeros, the box of an empty mask, and where the union has no area.
    """
    box, other = np.asarray(box, np.float64), np.asarray(other, np.float64)
    sides = np.minimum(box[..., 2:], other[..., 2:]) - np.maximum(box[..., :2], other[..., :2])
    shared = np.maximum(sides, 0).prod(-1)
    union = (box[..., 2:] - box[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1) - shared
    counts = (union != 0) & other.any(-1)
    return np.where(counts, shared / np.where(counts, union, 1.0), 0.0)
