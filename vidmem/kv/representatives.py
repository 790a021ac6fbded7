"""What internal retrieval looks at: the mean key of every block, in every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vidmem.kv.block import Block, Layout
from vidmem.kv.recall import representative


class Representatives:
    """Representatives of all blocks in the order of writing, in memory that doubles when it is full.

    Args:
        dtype: of what is kept; scores are computed in float32.
    """

    def __init__(
        self, layout: Layout, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        shape = layout.num_layers, 0, layout.num_kv_heads, layout.head_dim
        self._held = torch.empty(shape, device=device, dtype=dtype)
        self.block_tokens: list[int] = []
        """Tokens of each block."""

    def append(self, block: Block) -> None:
        self.extend(representative(block.keys)[None], [len(block)])

    def extend(self, means: Tensor, block_tokens: Sequence[int]) -> None:
        """Append representatives (n, layers, KV heads, D) that were made before, of blocks of so many tokens each."""
        used, needed = len(self), len(self) + len(means)
        if needed > self._held.shape[1]:
            layers, _, heads, head_dim = self._held.shape
            grown = self._held.new_empty(layers, max(2 * used, needed, 16), heads, head_dim)
            grown[:, :used] = self._held[:, :used]
            self._held = grown
        self._held[:, used:needed] = means.transpose(0, 1)
        self.block_tokens.extend(block_tokens)

    def of_layer(self, layer_index: int) -> Tensor:
        """Of all N blocks: (N, KV heads, D), a view."""
        return self._held[layer_index, : len(self)]

    @property
    def num_bytes(self) -> int:
        return self._held.numel() * self._held.element_size()

    def __len__(self) -> int:
        return len(self.block_tokens)
