"""The bank of VideoChat-Online as its loop goes, everything compared anew at each write: the oracle of `CodedBank`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class NaiveBank:
    def __init__(self, capacities: list[int], sides: list[int]) -> None:
        self.capacities, self.sides = capacities, sides
        self.levels: list[list[tuple[int, Tensor]]] = [[] for _ in sides]

    def write(self, frame: Tensor, index: int, ratio: int) -> None:
        side = frame.shape[-1] // ratio
        grid = frame[None] if ratio == 1 else functional.adaptive_avg_pool2d(frame[None], side)
        number = [s * s for s in self.sides].index(grid.shape[-1] * grid.shape[-2])
        self.insert(number, grid, index, below=number + 1 if number + 1 < len(self.sides) else None)

    def insert(self, number: int, grid: Tensor, index: int, below: int | None) -> None:
        level, capacity = self.levels[number], self.capacities[number]
        if len(level) >= capacity > 0:
            means = torch.stack([entry.mean(dim=(2, 3)).flatten() for _, entry in level])
            place = int(functional.cosine_similarity(means[1:], means[:-1], dim=1).argmax())
            if below is not None:
                old_index, old = level[place]
                smaller = functional.interpolate(old, size=(self.sides[below],) * 2, mode="bilinear")
                self.insert(below, smaller, old_index, below=None)
            del level[place]
        if grid.shape[-1] != self.sides[number]:
            grid = functional.interpolate(grid, size=(self.sides[number],) * 2, mode="bilinear")
        level.append((index, grid))

    def read(self) -> list[tuple[int, Tensor]]:
        entries = sorted((entry for level in self.levels for entry in level), key=lambda entry: entry[0])
        return [(index, grid[0].flatten(1).T) for index, grid in entries]
