"""SAMURAI as its code has it, where `samurai` does otherwise. The parity numbers are compared with this."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidmem.memory.tracking.samurai import Samurai, SamuraiState


@dataclass(frozen=True, slots=True)
class CodedSamurai(Samurai):
    """One filter that takes whatever is chosen, the box of an empty mask (zeros) too, from the first tracked frame on.

    The first tracked frame is read on the next and never again: the scan of earlier frames ends one too early.
    """

    def prompt(self, state: SamuraiState | None, frame_index: int, box: np.ndarray | None = None) -> SamuraiState:
        return Samurai.prompt(self, state, frame_index)

    def is_sight(self, box: np.ndarray) -> np.ndarray:
        return np.ones(len(box), bool)

    def is_tracked(self, iou: np.ndarray, is_moving: np.ndarray) -> np.ndarray:
        threshold = np.float32(self.min_tracked_iou)
        return np.where(is_moving, iou >= threshold, iou > threshold)

    def can_be_memory(self, state: SamuraiState, frame_index: int) -> bool:
        return bool(state.recent)
