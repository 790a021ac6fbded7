"""Boxes of masks: x1, y1, x2, y2 of the outermost pixels, zeros for an empty mask."""

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
    """Boxes (M, 4) float64 of the decoder's logits (M, n, n), in pixels of the network's square.

    An edge lies where the logits cross zero between the outermost pixel and the one beyond, so boxes are finer than the
    decoder's grid, at a small part of what enlarging the masks costs (3 masks on one core, a square of 1024: 0.1
    against 30 ms). Of all masks together, the host gets which lines have a pixel, and then the outermost ones.
    """
    num = logits.shape[-1]
    # (axis, mask, place): whether a column, or a row, has a pixel. `amax` is much faster than `any` on a CPU.
    filled = (torch.stack([logits.amax(-2), logits.amax(-1)]) > 0).cpu().numpy()
    from_ends = np.stack([filled.argmax(-1), filled[..., ::-1].argmax(-1)], -1)
    outermost = np.stack([from_ends[..., 0], num - 1 - from_ends[..., 1]], -1)
    index = np.concatenate([outermost, outermost + (-1, 1)], -1).clip(0, num - 1)
    lines = _lines(logits, torch.from_numpy(index).to(logits.device)).cpu().numpy()
    inner, outer = lines[:, :, :2], lines[:, :, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        # In shares of a pixel's pitch; where a line is not filled it reaches nowhere.
        reach = np.where(inner > 0, inner / (inner - outer), -1.0).max(-1)
    edges = outermost + np.where(from_ends == 0, 0.5, reach) * (-1.0, 1.0)
    pixels = ((edges + 0.5) * (square / num) - 0.5).clip(0, square - 1) * filled.any(-1, keepdims=True)
    return pixels.transpose(1, 2, 0).reshape(-1, 4)


def _lines(logits: Tensor, index: Tensor) -> Tensor:
    """Columns and rows (2, M, L, n) of masks (M, n, n), by index (2, M, L)."""
    mask = torch.arange(len(logits), device=logits.device)[:, None]
    return torch.stack([logits.mT[mask, index[0]], logits[mask, index[1]]]).float()


def box_iou(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Overlap of boxes (..., 4) by their extremes as they are, in float64. Leading axes broadcast.

    0 where `other` is all zeros, the box of an empty mask, and where the union has no area.
    """
    box, other = np.asarray(box, np.float64), np.asarray(other, np.float64)
    shared = _area(np.maximum(box[..., :2], other[..., :2]), np.minimum(box[..., 2:], other[..., 2:]))
    union = _area(box[..., :2], box[..., 2:]) + _area(other[..., :2], other[..., 2:]) - shared
    counts = (union != 0) & other.any(-1)
    return np.where(counts, shared / np.where(counts, union, 1.0), 0.0)


def _area(corner: np.ndarray, opposite: np.ndarray) -> np.ndarray:
    """(...,) between corners (..., 2); 0 where they have changed places."""
    sides = np.maximum(opposite - corner, 0)
    return sides[..., 0] * sides[..., 1]
