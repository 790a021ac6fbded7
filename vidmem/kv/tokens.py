"""What a text model is fed: embeddings with the positions and the extra rows that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vidmem.kv.attention import LayerAttention
from vidmem.kv.rope import place
from vidmem.types import Span


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """T tokens before the text model: text, a picture, or both.

    `embeds` (T, C); `positions` (axes, T) is their own pattern, from 0 on every axis; `is_visual` (T,) bool marks the V
    tokens of pictures. `deepstack` (layers, V, C) are rows that the first layers add to those (Qwen3-VL), None if the
    model has no such rows or V is 0.
    """

    embeds: Tensor
    positions: Tensor
    is_visual: Tensor
    deepstack: Tensor | None = None

    def __len__(self) -> int:
        return self.embeds.shape[0]

    def but_last(self) -> Tokens:
        """Without the last token, which must be text."""
        assert not self.is_visual[-1], "the last token belongs to a picture"
        return Tokens(self.embeds[:-1], self.positions[:, :-1], self.is_visual[:-1], self.deepstack)

    def split(self, size: int) -> list[Tokens]:
        """In parts of `size` tokens, the last one of what is left; positions stay what they are."""
        deepstack: list[Tensor | None] = [None] * -(-len(self) // size)
        if self.deepstack is not None:
            rows = self.deepstack.split([int(part.sum()) for part in self.is_visual.split(size)], dim=1)
            deepstack = [part if part.shape[1] else None for part in rows]
        cut = self.embeds.split(size), self.positions.split(size, dim=1), self.is_visual.split(size), deepstack
        return [Tokens(*part) for part in zip(*cut, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class FrameTokens:
    """The tokens that become one block, a frame's or a temporal patch's with its time mark; they show `span`."""

    tokens: Tokens
    span: Span


class TextModel(Protocol):
    """Runs all layers of a text model with another attention in the place of its own."""

    def run(self, tokens: Tokens, attention: LayerAttention) -> Tensor:
        """Last hidden states (T, C). Positions are the attention's affair; those of `tokens` are not read."""
        ...


def join(parts: Sequence[Tokens]) -> Tokens:
    """One after another, each pattern shifted to where the one before it ends."""
    deepstack = [part.deepstack for part in parts if part.deepstack is not None]
    return Tokens(
        embeds=torch.cat([part.embeds for part in parts]),
        positions=place([part.positions for part in parts]).positions,
        is_visual=torch.cat([part.is_visual for part in parts]),
        deepstack=torch.cat(deepstack, dim=1) if deepstack else None,
    )
