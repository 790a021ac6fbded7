"""DAM4SAM as its code has it, where `dam4sam` does otherwise. The parity numbers are compared with this."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vidmem.memory.tracking.boxes import box_iou, enlarged
from vidmem.memory.tracking.dam4sam import Dam4Sam, Judgement
from vidmem.memory.tracking.kalman import Box
from vidmem.memory.tracking.selection import Candidates


@dataclass(frozen=True, slots=True)
class CodedDam4Sam(Dam4Sam):
    """Areas and alternatives at the video's own size; a box lacks its last row and column of pixels.

    What is visible is still told on the decoder's grid.
    """

    def masks(self, offered: Candidates) -> torch.Tensor:
        return enlarged(offered.masks, offered.frame_size)

    def is_visible(self, offered: Candidates, chosen: int, judged: Judgement) -> bool:
        return bool((offered.masks[chosen] > 0).any())

    def overlap(self, box: Box, other: Box) -> float:
        return raster_overlap(box, other)


def raster_overlap(box: Box, other: Box) -> float:
    """Overlap of pixels in [x1, x2) and [y1, y2); 1 where both together are at most one pixel wide or high."""
    wide, high = (max(box[end + 2], other[end + 2]) - min(box[end], other[end]) for end in (0, 1))
    return 1.0 if wide <= 1 or high <= 1 else box_iou(box, other)
