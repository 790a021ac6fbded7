"""What the KV carrier carries: the keys and values of one sampled frame, in all layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vidmem.types import Span


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes that all blocks of one model share."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    num_axes: int = 1
    """Axes of the model's rotary positions: 1, or 3 (time, height, width) for M-RoPE."""

    def bytes_per_token(self, bytes_per_value: int) -> int:
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * bytes_per_value


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """T tokens of one frame (or of one temporal patch) with its time mark, as a model's layers hold them.

    `keys` and `values` are (layers, KV heads, T, head dim), keys before RoPE. `positions` (axes, T) is the block's own
    pattern: integers that start at 0 on every axis; where the block stands in a context is added when one is assembled.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor
    span: Span

    def __len__(self) -> int:
        return self.keys.shape[2]

    @property
    def extent(self) -> int:
        """By how much the block moves on what follows it."""
        return int(self.positions.max()) + 1
