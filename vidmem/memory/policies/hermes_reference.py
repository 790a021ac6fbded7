"""HERMES and MA-LMM as their code has them, where the policy does otherwise: windows, and the Q-Former's memory.

They are what a language model trained with these Q-Formers needs, and what the parity numbers are compared with. One
step of MA-LMM's banks is `compress_episodes` to one episode less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vidmem.memory.episodes import EpisodeBank


def add_positions(frames: Tensor, position: Tensor) -> Tensor:
    """Add to the tokens of (B, T, N, C) frames the learned position (window, C) of their place in their window.

    Positions begin anew with every window, so they tell nothing of where in the video a frame is.
    """
    place = torch.arange(frames.shape[1], device=frames.device) % len(position)
    return frames + position[place].unsqueeze(1)


def compress_windows(frames: Tensor, *, window: int, capacity: int) -> Iterator[Tensor]:
    """The visual bank after each window of frames (B, T, N, C): (B, n, N, C).

    As in the code the first window is kept whole, even above the capacity.
    """
    bank = EpisodeBank(frames, max_episodes=max(capacity, window) + window)
    for start in range(0, frames.shape[1], window):
        bank.append(frames[:, start : start + window])
        if start:
            bank.compress(capacity)
        yield bank.value


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """y = x W^T + b."""

    weight: Tensor
    """(out, in)."""
    bias: Tensor
    """(out,)."""

    def __call__(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.weight, self.bias)


class QueryBank:
    """Self-attention of one Q-Former layer that also sees compressed hidden states of the windows before."""

    def __init__(
        self, query: Projection, key: Projection, value: Projection, *, num_heads: int, capacity: int, num_frames: int
    ) -> None:
        """Empty.

        Args:
            query, key, value: the layer's trained projections, C to C.
            num_heads: attention heads; C is a multiple.
            capacity: episodes of hidden states that stay, at least 1.
            num_frames: once states of this many windows are in the bank, it is emptied. (The code means frames, but
                counts windows.)
        """
        self._query, self._key, self._value = query, key, value
        self._num_heads, self._capacity, self._num_frames = num_heads, capacity, num_frames
        self._bank: EpisodeBank | None = None

    def __len__(self) -> int:
        """Number of episodes in the bank."""
        return 0 if self._bank is None else len(self._bank)

    @property
    def states(self) -> Tensor | None:
        """(B, n, N, C) hidden states in the bank, oldest first; None before the first step."""
        return None if self._bank is None else self._bank.value

    @property
    def sizes(self) -> Tensor | None:
        """(B, n, N) windows in each."""
        return None if self._bank is None else self._bank.size

    def clear(self) -> None:
        """Forget all, as before the semantic branch and after it."""
        self._bank = None

    def attend(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from one window's hidden states to those of the bank and their own; then remember them.

        Args:
            hidden: (B, N, C).
            mask: (B, N), added to the logits of the N tokens of every window. None adds nothing.

        Returns:
            (B, N, C), before the layer's output projection.
        """
        if self._bank is None:
            self._bank = EpisodeBank(hidden.unsqueeze(1), max_episodes=self._capacity + 1)
        bank = self._bank
        seen = torch.cat([bank.value, hidden.unsqueeze(1)], dim=1)
        bias = None if mask is None else mask.repeat(1, seen.shape[1])[:, None, None]
        states = seen.flatten(1, 2)
        heads = functional.scaled_dot_product_attention(
            self._split(self._query(hidden)), self._split(self._key(states)), self._split(self._value(states)), bias
        )
        bank.append(hidden.unsqueeze(1))
        if round(float(bank.size.sum(dim=1).mean())) == self._num_frames:
            bank.clear()
        else:
            bank.compress(self._capacity)
        return heads.transpose(1, 2).flatten(2)

    def _split(self, states: Tensor) -> Tensor:
        """(B, tokens, C) to (B, heads, tokens, C / heads)."""
        return states.unflatten(2, (self._num_heads, -1)).transpose(1, 2)
