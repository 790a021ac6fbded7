"""Where memories lie: equal tensors in numbered slots of one that grows by doubling, and never holds what was freed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class SlotPool:
    """Tensors of one shape, each in a slot. Only as many slots are ever made as were held at once."""

    def __init__(self, shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device) -> None:
        self._slots = torch.empty(0, *shape, dtype=dtype, device=device)
        self._free: list[int] = []

    @property
    def num_bytes(self) -> int:
        return self._slots.numel() * self._slots.element_size()

    @property
    def num_held(self) -> int:
        return len(self._slots) - len(self._free)

    def put(self, values: Tensor) -> list[int]:
        """Store n tensors (n, *shape), cast to the pool's dtype; returns their slots."""
        while len(self._free) < len(values):
            self._grow()
        slots = [self._free.pop() for _ in range(len(values))]
        self._slots[slots] = values.to(self._slots.dtype)
        return slots

    def take(self, slots: Tensor) -> Tensor:
        """A copy of what lies in slots, given as integers of any shape: (*slots.shape, *shape)."""
        return self._slots[slots]

    def free(self, slots: Iterable[int]) -> None:
        """Give slots back; what lies there is overwritten by later `put`s."""
        self._free.extend(slots)

    def _grow(self) -> None:
        old = len(self._slots)
        new = self._slots.new_empty(max(2 * old, 8), *self._slots.shape[1:])
        new[:old] = self._slots
        self._free.extend(range(len(new) - 1, old - 1, -1))
        self._slots = new
