"""SAMURAI as its code has it, where `samurai` does otherwise. The parity numbers are compared with this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from vidmem.memory.tracking import kalman
from vidmem.memory.tracking.boxes import enlarged, mask_boxes
from vidmem.memory.tracking.kalman import Box, Motion
from vidmem.memory.tracking.samurai import Samurai, SamuraiState, Weighed
from vidmem.memory.tracking.selection import Candidates, Choice


@dataclass(frozen=True, slots=True)
class CodedSamurai(Samurai):
    """One filter that takes in whatever is chosen, an empty mask's box of zeros too, from the first tracked frame on.

    The first tracked frame is read on the next and never again: the scan of earlier frames ends one too early. A
    predicted IoU that equals its threshold fails until motion counts, and passes from then on.
    """

    reads_boxes: ClassVar[bool] = False
    """Its own are of the masks at the size of the network's square."""

    def prompted(
        self, state: SamuraiState | None, frame: int, found: Candidates, *, initial: bool = True
    ) -> SamuraiState:
        begun = Samurai.prompted(self, state, frame, found)
        motion, num_stable = (state.motion, state.num_stable) if state else (None, 0)
        return replace(begun, motion=motion, num_stable=num_stable)

    def choose(
        self, states: Sequence[SamuraiState], found: Sequence[Candidates], frame: int
    ) -> Sequence[Choice[SamuraiState]]:
        (choice,) = Samurai.choose(self, states, found, frame)
        if states[0].recent:
            return (choice,)
        return (replace(choice, state=replace(choice.state, good=())),)

    def boxes(self, offered: Candidates) -> Sequence[Box]:
        x1, y1, x2, y2 = mask_boxes(enlarged(offered.masks, (offered.square, offered.square))).T.tolist()
        return list(zip(x1, y1, x2, y2, strict=True))

    def follow(self, state: SamuraiState, weighed: Weighed, box: Box, iou: float) -> tuple[Motion | None, int]:
        if weighed.predicted is None:
            return kalman.initiate(box), 1
        is_moving = state.num_stable == self.num_stable
        in_float32, threshold = np.float32(iou), np.float32(self.min_tracked_iou)
        if in_float32 < threshold if is_moving else in_float32 <= threshold:
            return weighed.predicted, 0
        return kalman.update(weighed.predicted, box), min(state.num_stable + 1, self.num_stable)
