"""What is remembered of all objects, and how the network reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vidmem.memory.tracking.selection import Reading
from vidmem.models.tracking.pool import SlotPool


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where one pathway's reading lies in the bank."""

    reading: Reading
    slots: list[int]
    pointer_slots: list[int]

    @property
    def shape(self) -> tuple[int, int, bool]:
        """Readings of the same shape can be attended to in one batch."""
        return len(self.slots), len(self.pointer_slots), bool(self.reading.frame_scales)


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """What B pathways attend to, memories before pointers."""

    values: Tensor
    """(B, n, C) float32."""
    positions: Tensor
    """(B, n, C), which keys are the sum with."""
    num_pointers: int
    """How many of the n, at the end, are of pointers."""


class Bank:
    """Memories (h * w, C) of frames in bfloat16, as `sam2` keeps them, and object pointers in float32.

    Args:
        model: a `sam2.modeling.sam2_base.SAM2Base`.
        dtype: what it computes in.
    """

    def __init__(self, model: Any, *, dtype: torch.dtype) -> None:
        self._model, self._dtype, self._device = model, dtype, model.device
        self._side = model.sam_image_embedding_size
        self.memories = SlotPool((self._side**2, model.mem_dim), dtype=torch.bfloat16, device=self._device)
        self.pointers = SlotPool((model.hidden_dim,), dtype=torch.float32, device=self._device)

    @property
    def num_bytes(self) -> int:
        return self.memories.num_bytes + self.pointers.num_bytes

    def read(self, places: Sequence[Place]) -> Tokens:
        """What B pathways attend to, whose places have the same shape."""
        memory, memory_positions = self._memory_tokens(places)
        pointers, pointer_positions = self._pointer_tokens(places)
        return Tokens(
            values=torch.cat([memory, pointers], dim=1),
            positions=torch.cat([memory_positions, pointer_positions], dim=1),
            num_pointers=pointers.shape[1],
        )

    def _memory_tokens(self, places: Sequence[Place]) -> tuple[Tensor, Tensor]:
        """Memories of B pathways as tokens (B, n * h * w, C), and their positions."""
        slots = self._numbers([place.slots for place in places])
        rows = self._numbers([place.reading.rows for place in places])
        memory = self.memories.take(slots).float()
        positions = self._memory_positions[rows]
        if places[0].reading.frame_scales:
            scales = self._numbers([place.reading.frame_scales for place in places])[..., None, None]
            positions = _scaled(memory, positions, scales)
        return memory.flatten(1, 2), positions.flatten(1, 2)

    def _pointer_tokens(self, places: Sequence[Place]) -> tuple[Tensor, Tensor]:
        """Object pointers of B pathways as tokens (B, p * split, C), and their positions."""
        model = self._model
        slots = self._numbers([place.pointer_slots for place in places])
        pointers = self.pointers.take(slots).unflatten(-1, (-1, model.mem_dim))
        if model.add_tpos_enc_to_obj_ptrs and slots.numel():
            positions = self._ages([place.reading.distances for place in places])[..., None, :].expand_as(pointers)
        else:
            positions = torch.zeros_like(pointers)
        if places[0].reading.pointer_scales:
            scales = self._numbers([place.reading.pointer_scales for place in places])[..., None, None]
            positions = _scaled(pointers, positions, scales)
        return pointers.flatten(1, 2), positions.flatten(1, 2)

    def _ages(self, distances: Sequence[Sequence[int]]) -> Tensor:
        """How pointers of given ages in frames (B, p) are told apart: (B, p, C)."""
        from sam2.modeling.sam2_utils import get_1d_sine_pe

        model = self._model
        channels = model.hidden_dim if model.proj_tpos_enc_in_obj_ptrs else model.mem_dim
        ages = self._numbers(distances) / (model.max_obj_ptrs_in_encoder - 1)
        return model.obj_ptr_tpos_proj(get_1d_sine_pe(ages, dim=channels))

    @cached_property
    def _memory_positions(self) -> Tensor:
        """Of a memory's tokens in each row of the table of times: (rows, h * w, C)."""
        places = self._model.memory_encoder.position_encoding(
            torch.empty(1, 1, self._side, self._side).to(self._device)
        )
        return places.to(self._dtype).flatten(2).permute(0, 2, 1) + self._model.maskmem_tpos_enc.flatten(1, 2)

    def _numbers(self, rows: Sequence[Sequence[float]]) -> Tensor:
        numbers = torch.tensor(rows)
        return (numbers if numbers.numel() else numbers.long()).to(self._device, non_blocking=True)


def _scaled(tokens: Tensor, positions: Tensor, scales: Tensor) -> Tensor:
    """Positions that make keys, which are tokens plus positions, the given number of times as large."""
    return scales * (tokens + positions) - tokens
