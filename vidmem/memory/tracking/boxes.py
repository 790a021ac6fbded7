"""Boxes of masks: x1, y1, x2, y2 with inclusive extremes, zeros for an empty mask."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def mask_boxes(masks: Tensor) -> np.ndarray:
    """Smallest boxes of masks (M, H, W) bool: (M, 4) int64.

    Only which rows and columns have a pixel goes to the host, in one copy.
    """
    width = masks.shape[-1]
    filled = torch.cat([masks.any(-2), masks.any(-1)], -1).cpu().numpy()
    boxes = np.zeros((len(filled), 4), np.int64)
    for box, line in zip(boxes, filled, strict=True):
        columns, rows = line[:width].nonzero()[0], line[width:].nonzero()[0]
        if len(columns):
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks of the decoder's logits (M, h, w) at another size: (M, H, W) bool."""
    return functional.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0] > 0


def candidate_boxes(logits: Tensor, square: int) -> np.ndarray:
    """Boxes (M, 4) of the decoder's logits (M, h, w), in the network's square of `square` pixels a side."""
    return mask_boxes(enlarged(logits, (square, square)))


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
