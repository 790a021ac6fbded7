"""Boxes of masks: x1, y1, x2, y2 of the outermost pixels, zeros for an empty mask."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vidmem.memory.tracking.kalman import Box


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


def candidate_boxes(logits: Tensor, square: int) -> list[Box]:
    """Boxes of the decoder's logits (M, n, n), in pixels of the network's square, as floats.

    An edge lies where the logits cross zero between the outermost pixel and the one beyond, so boxes are finer than the
    decoder's grid, at a small part of what enlarging the masks costs (3 masks on one core, a square of 1024: 0.2
    against 30 ms). The logits of all masks are copied to the host together.
    """
    grid = logits.float().cpu().numpy()
    num_masks, num = len(grid), grid.shape[-1]
    # Columns of all masks, then rows of all masks: which of them have a pixel.
    filled = np.concatenate([grid.max(1), grid.max(2)]) > 0
    first, from_end = filled.argmax(1), filled[:, ::-1].argmax(1)
    last = num - 1 - from_end
    index = np.stack([first, last, first - 1, last + 1], 1).clip(0, num - 1)
    mask = np.arange(num_masks)[:, None]
    lines = np.concatenate([grid.transpose(0, 2, 1)[mask, index[:num_masks]], grid[mask, index[num_masks:]]])
    inner, outer = lines[:, :2], lines[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        # In shares of a pixel's pitch; where a line is not filled it reaches nowhere.
        reach = np.where(inner > 0, inner / (inner - outer), -1.0).max(2)
    reach[first == 0, 0] = reach[from_end == 0, 1] = 0.5
    ends = np.stack([first, last], 1) + reach * (-1.0, 1.0)
    pixels = (((ends + 0.5) * (square / num) - 0.5).clip(0, square - 1) * filled.any(1, keepdims=True)).tolist()
    return [(x1, y1, x2, y2) for (x1, x2), (y1, y2) in zip(pixels[:num_masks], pixels[num_masks:], strict=True)]


def box_iou(box: Box, other: Box) -> float:
    """Overlap of boxes of floats by their extremes as they are.

    0 where `other` is all zeros, the box of an empty mask, and where the union has no area.
    """
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0 or not any(other):
        return 0.0
    shared = width * height
    return shared / ((box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)
