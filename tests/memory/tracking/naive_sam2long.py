"""SAM2Long's rules over all records of all frames: the oracle of `Sam2Long` and `CodedSam2Long`."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

Record = tuple[float, float]
"""Predicted IoU and object score."""


@dataclass
class NaiveSam2Long:
    """One object, prompted on frame 0 and tracked on every frame from then on."""

    coded: bool
    num_pathways: int = 3
    min_iou: float = 0.1
    certain: float = 2.0
    records: dict[tuple[int, int], Record] = field(default_factory=dict)
    histories: list[dict[int, int]] = field(default_factory=lambda: [{0: 0}])
    scores: list[float] = field(default_factory=lambda: [0.0])

    def read(self, slot: int, frame: int) -> tuple[list[int], list[int], list[float], list[float]]:
        """Memories, pointers, and their factors."""
        fit: list[int] = []
        for index in range(frame - 1, 0, -1):
            iou, score = self.records[index, self.histories[slot][index]]
            if iou > self.min_iou and score > 0:
                fit.insert(0, index)
            if len(fit) == 15:
                break
        if frame > 1 and frame - 1 not in fit:
            fit.append(frame - 1)
        pointed = [0]
        for k in range(1, 16):
            if k > len(fit) or (self.coded and k >= len(fit)):
                break
            pointed.append(fit[-k])
        memories = [0, *fit[-6:]]
        if len(memories) == 1:
            return memories, pointed, [], []
        return memories, pointed, self._factors(slot, memories), self._factors(slot, pointed)

    def _factors(self, slot: int, frames: list[int]) -> list[float]:
        scores = [self.records[index, self.histories[slot][index]][1] if index else 10.0 for index in frames]
        if not self.coded:
            scores[0] = math.inf
            if len(frames) == 1:
                return [1.0]
        num = len(frames)
        factors = [0.95 + 0.1 * rank / (num - 1) if num > 1 else 0.95 for rank in range(num)]
        out = [0.0] * num
        for rank, place in enumerate(sorted(range(num), key=lambda place: (scores[place], place))):
            out[place] = factors[rank]
        return out

    def choose(self, frame: int, ious: list[tuple[float, ...]], scores: list[float]) -> list[tuple[int, int]]:
        """Parent and candidate of each new slot."""
        if frame == 1:
            kept = [(0, ious[0].index(max(ious[0])))] * (self.num_pathways if self.coded else 1)
            gains = [0.0] * len(kept)
        else:
            grown = [
                (self.scores[q] + math.log(iou + 1e-5), q, j)
                for q in range(len(self.scores))
                for j, iou in enumerate(ious[q])
            ]
            grown.sort(key=lambda leaf: -leaf[0])
            leaves = self._pruned(grown, ious, scores)
            kept, gains = [(q, j) for _, q, j in leaves], [gain for gain, _, _ in leaves]
        histories = [copy.deepcopy(self.histories[q]) for q, _ in kept]
        for slot, (q, j) in enumerate(kept):
            histories[slot][frame] = slot
            self.records[frame, slot] = (ious[q][j], scores[q])
        self.histories, self.scores = histories, gains
        return kept

    def _pruned(
        self, grown: list[tuple[float, int, int]], ious: list[tuple[float, ...]], scores: list[float]
    ) -> list[tuple[float, int, int]]:
        if max(abs(score) for score in scores) > self.certain:
            return grown[: self.num_pathways]
        kept, met = [], set()
        for leaf in grown:
            _, q, j = leaf
            quality = round(ious[q][j] if scores[q] > 0 else -ious[q][j], 2)
            if quality not in met and len(kept) < self.num_pathways:
                met.add(quality)
                kept.append(leaf)
        parents = {q for _, q, _ in kept}
        for q in range(len(scores)):
            if q not in parents and len(kept) < self.num_pathways:
                kept.append(next(leaf for leaf in grown if leaf[1] == q))
        return kept
