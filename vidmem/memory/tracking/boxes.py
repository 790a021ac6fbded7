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
    decoder's grid at a small part of what enlarging the masks costs (3 masks on one core, a square of 1024: 0.3 against
    30 ms). All is done on the masks' device, for all masks at once, and copied to the host once.
    """
    num_masks, num = len(logits), logits.shape[-1]
    # (axis, mask, place): whether a column, or a row, has a pixel. `amax` is much faster than `any` on a CPU.
    filled = torch.stack([logits.amax(-2), logits.amax(-1)]) > 0
    from_ends = torch.stack([filled, filled.flip(-1)], -2).to(torch.uint8).argmax(-1)
    first, last = from_ends[..., 0], num - 1 - from_ends[..., 1]
    index = torch.stack([first, last, first - 1, last + 1], -1).clamp_(0, num - 1)
    lines = torch.stack(
        [
            logits.gather(-1, index[0, :, None].expand(num_masks, num, 4)),
            logits.gather(-2, index[1, :, :, None].expand(num_masks, 4, num)).mT,
        ]
    )
    inner, outer = lines[..., :2], lines[..., 2:]
    # In shares of a pixel's pitch; a line that is not filled reaches nowhere.
    reach = torch.where(inner > 0, inner / (inner - outer), -1.0).amax(-2)
    reach = torch.where(from_ends == 0, 0.5, reach).double()
    edges = torch.stack([first - reach[..., 0], last + reach[..., 1]], -1)
    pixels = ((edges + 0.5) * (square / num) - 0.5).clamp_(0, square - 1) * filled.any(-1, keepdim=True)
    return pixels.permute(1, 2, 0).flatten(1).cpu().numpy()


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
