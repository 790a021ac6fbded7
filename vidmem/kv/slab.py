"""Keys and values of a stream's newest tokens, in memory that is allocated ahead."""

from __future__ import annotations

import torch
from torch import Tensor

from vidmem.kv.block import Layout


class Slab:
    """Grows at its end; its front is given up once it lies outside the window. Tokens have stream indices from 0.

    A forward writes layer by layer: `reserve` room, `put` each layer, `commit`. What was put and not committed is
    written over by the next forward, so a failed one leaves nothing behind. With a window there is room for twice the
    window and the largest clip, and a token is moved about once; without, the room doubles when it is full.
    """

    def __init__(
        self, layout: Layout, *, window_size: int | None, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        self._window_size = window_size
        shape = layout.num_layers, layout.num_kv_heads, 0, layout.head_dim
        self._keys = torch.empty(shape, device=device, dtype=dtype)
        self._values = torch.empty_like(self._keys)
        # The token axis is the last but one, as it is in keys and values.
        self._positions = torch.empty(0, layout.num_axes, dtype=torch.long)
        self._reserved = 0
        self.start = 0
        """Stream index of the first token that is still here."""
        self.end = 0
        """Stream index of the token that comes next."""

    @property
    def num_bytes(self) -> int:
        return 2 * self._keys.numel() * self._keys.element_size()

    def skip_to(self, index: int) -> None:
        """Give up all that is here; the next token is the stream's `index`-th."""
        self.start = self.end = index

    def reserve(self, positions: Tensor) -> None:
        """Make room for tokens at stream positions (axes, T), behind the last committed one."""
        num_tokens, used = positions.shape[1], self.end - self.start
        if used + num_tokens > self._keys.shape[-2]:
            kept = used if self._window_size is None else min(used, self._window_size)
            capacity = 2 * (kept + num_tokens)
            self._keys = _to_front(self._keys, used - kept, used, capacity)
            self._values = _to_front(self._values, used - kept, used, capacity)
            self._positions = _to_front(self._positions, used - kept, used, capacity)
            self.start, used = self.end - kept, kept
        self._positions[used : used + num_tokens] = positions.T
        self._reserved = num_tokens

    def put(self, layer_index: int, key: Tensor, value: Tensor) -> None:
        """Write one layer of the tokens that room was reserved for: (KV heads, T, D) each."""
        begin = self.end - self.start
        self._keys[layer_index, :, begin : begin + self._reserved] = key
        self._values[layer_index, :, begin : begin + self._reserved] = value

    def commit(self) -> None:
        """The tokens that were put are part of the stream."""
        self.end, self._reserved = self.end + self._reserved, 0

    def read(self, layer_index: int, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Views of one layer's keys and values (KV heads, n, D) of stream indices [begin, end), reserved ones too."""
        here = slice(begin - self.start, end - self.start)
        return self._keys[layer_index, :, here], self._values[layer_index, :, here]

    def positions(self, begin: int, end: int) -> Tensor:
        """Stream positions (axes, n) of stream indices [begin, end), reserved ones too."""
        return self._positions[begin - self.start : end - self.start].T

    def copy(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Keys and values of all layers, (layers, KV heads, n, D) each, that share no memory with the slab."""
        here = slice(begin - self.start, end - self.start)
        return self._keys[:, :, here].clone(), self._values[:, :, here].clone()


def _to_front(old: Tensor, begin: int, end: int, capacity: int) -> Tensor:
    """Move tokens [begin, end) to the front, in place if there is room for `capacity`: then the two don't overlap."""
    kept = end - begin
    new = old if old.shape[-2] >= capacity else old.new_empty(*old.shape[:-2], capacity, old.shape[-1])
    new[..., :kept, :] = old[..., begin:end, :]
    return new
