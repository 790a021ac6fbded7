"""DAM4SAM's rules frame by frame over everything there was: the oracle of `Dam4Sam` and `CodedDam4Sam`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def largest_part(mask: np.ndarray) -> np.ndarray:
    """Largest set of pixels that touch, corners included, found by walking; of equals the one met first."""
    left = {(int(y), int(x)) for y, x in zip(*mask.nonzero(), strict=True)}
    parts: list[set[tuple[int, int]]] = []
    for start in sorted(left):
        if start not in left:
            continue
        part, edge = {start}, [start]
        left.discard(start)
        while edge:
            y, x = edge.pop()
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if near in left:
                    left.discard(near)
                    part.add(near)
                    edge.append(near)
        parts.append(part)
    out = np.zeros_like(mask)
    for y, x in max(parts, key=len, default=set()):
        out[y, x] = True
    return out


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = mask.nonzero()
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


def pixel_overlap(box: tuple[int, ...], other: tuple[int, ...], *, coded: bool) -> float:
    """Overlap of boxes by counting pixels; as coded they lack their last row and column."""
    last = 0 if coded else 1
    size = max(*box, *other) + 2
    rasters = []
    for x1, y1, x2, y2 in (box, other):
        raster = np.zeros((size, size), bool)
        raster[y1 : y2 + last, x1 : x2 + last] = True
        rasters.append(raster)
    wide, high = (max(box[i + 2], other[i + 2]) - min(box[i], other[i]) for i in (0, 1))
    if coded and (wide <= 1 or high <= 1):
        return 1.0
    union = (rasters[0] | rasters[1]).sum()
    return float((rasters[0] & rasters[1]).sum() / union) if union else 0.0


@dataclass
class NaiveDam4Sam:
    """One object, prompted on frame 0 and tracked on every frame from then on."""

    coded: bool
    num_memories: int = 7
    num_pointers: int = 16
    max_anchors: int = 4
    step: int = 5
    conditioning: set[int] = field(default_factory=lambda: {0})
    others: set[int] = field(default_factory=set)
    shows: dict[int, bool] = field(default_factory=lambda: {0: True})
    sizes: list[int] = field(default_factory=list)
    last_added: int = -1

    def anchors(self, frame: int) -> list[int]:
        before = [index for index in self.conditioning if index < frame - 1]
        order = [max(before)] if before else []
        order += [0] if 0 not in order else []
        rest = sorted(self.conditioning - set(order) - {frame - 1}, key=lambda index: frame - index)
        return [*order, *rest][: self.max_anchors]

    def read(self, frame: int) -> tuple[list[int], list[int]]:
        """Memories and pointers."""
        anchors = self.anchors(frame)
        recent: list[int] = []
        place = frame - 1
        held = self.conditioning | self.others
        if not (place in held and self.shows[place] and place not in anchors):
            while place > 0 and not (place in self.others and self.shows[place]):
                place -= 1
        while place > 0 and len(recent) < self.num_memories - len(anchors):
            if not recent or (place in self.others and self.shows[place] and place not in anchors):
                recent.insert(0, place)
            place = (place - 1) // self.step * self.step
        pointed = [
            frame - d
            for d in range(1, self.num_pointers)
            if frame - d in held and self.shows[frame - d] and frame - d not in anchors
        ]
        return [*anchors, *recent], [*anchors, *pointed]

    def choose(self, frame: int, ious: tuple[float, ...], masks: np.ndarray, *, shows: bool) -> tuple[int, bool]:
        """The chosen candidate, and whether the frame becomes an anchor. `shows`: the chosen mask on the small grid."""
        chosen = ious.index(max(ious))
        num_pixels = int(masks[chosen].sum())
        self.sizes.append(num_pixels)
        self.shows[frame] = shows
        if self._resolves(frame, ious[chosen], masks, chosen, num_pixels):
            self.conditioning.add(frame)
            self.last_added = frame
            return chosen, True
        self.others.add(frame)
        return chosen, False

    def _resolves(self, frame: int, iou: float, masks: np.ndarray, chosen: int, num_pixels: int) -> bool:
        if num_pixels < 1 or len(self.sizes) <= 1:
            return False
        ratio = num_pixels / np.median([size for size in self.sizes[-300:] if size >= 1][-10:])
        spaced = self.last_added == -1 or frame - self.last_added > 5
        if not (np.float32(iou) > np.float32(0.8) and 0.8 <= ratio <= 1.2 and spaced):
            return False
        overlaps = []
        for index, mask in enumerate(masks):
            beside = mask & ~masks[chosen]
            if index != chosen and beside.any():
                both = masks[chosen] | largest_part(beside)
                overlaps.append(pixel_overlap(box_of(masks[chosen]), box_of(both), coded=self.coded))
        return bool(overlaps) and min(overlaps) <= 0.7
