"""What the trackers' fixtures have in common: candidate masks as boxes, and rows of what was read."""

from __future__ import annotations

import torch
from torch import Tensor

from vidmem.memory.tracking.selection import Reading

from .fixture import Fixture, padded


def logits_of_boxes(boxes: Tensor, side: int) -> Tensor:
    """Decoder logits (..., side, side): 8 inside the box (..., 4) of inclusive extremes, -8 outside; -1 is no box."""
    x1, y1, x2, y2 = boxes[..., None, None].unbind(-3)
    place = torch.arange(side)
    inside = (place >= x1) & (place <= x2) & (place[:, None] >= y1) & (place[:, None] <= y2)
    return torch.where(inside & (x1 >= 0), 8.0, -8.0)


def check_memories(fixture: Fixture, prefix: str, read: list[Reading], rows: str = "mem_tpos_row") -> None:
    """Frames read for each frame, in token order, and the rows of the temporal table."""
    name = f"{prefix}_mem_frames"
    fixture.same(name, padded([given.frames for given in read], fixture[name], -1))
    name = f"{prefix}_{rows}"
    fixture.same(name, padded([given.rows for given in read], fixture[name], -1))


def check_pointers(fixture: Fixture, prefix: str, read: list[Reading]) -> None:
    name = f"{prefix}_ptr_frames"
    fixture.same(name, padded([given.pointer_frames for given in read], fixture[name], -1))
    name = f"{prefix}_ptr_dist"
    fixture.same(name, padded([given.distances for given in read], fixture[name], -1))


NOTHING = Reading((), (), (), ())
"""Read for a prompted frame."""
ABSENT = -1024.0
"""What the masks of an absent object hold."""
