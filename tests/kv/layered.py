"""A text model in ten lines, for what does not need a real one: layers with residuals, no norm, no MLP."""

from __future__ import annotations

import torch
from torch import Tensor

from vidmem.kv.attention import LayerAttention
from vidmem.kv.block import Layout
from vidmem.kv.rope import Rotary, text_positions
from vidmem.kv.tokens import FrameTokens, Tokens
from vidmem.types import Span

HEADS, DIM = 4, 8
LAYOUT = Layout(num_layers=3, num_kv_heads=2, head_dim=DIM)
ROTARY = Rotary(1.0 / 1000.0 ** torch.linspace(0, 1, DIM // 2))


class Toy:
    """`fail_at` is the layer in which the next run breaks off."""

    def __init__(self, seed: int = 0) -> None:
        chance = torch.manual_seed(seed)
        wide, narrow = HEADS * DIM, LAYOUT.num_kv_heads * DIM
        self.weights = [
            {name: torch.randn(wide, size, generator=chance) / wide**0.5 for name, size in
             (("q", wide), ("k", narrow), ("v", narrow), ("o", wide))}
            for _ in range(LAYOUT.num_layers)
        ]  # fmt: skip
        self.fail_at: int | None = None

    def run(self, tokens: Tokens, attention: LayerAttention) -> Tensor:
        hidden = tokens.embeds
        for layer_index, weight in enumerate(self.weights):
            if layer_index == self.fail_at:
                raise RuntimeError("out of memory")
            parts = (hidden @ weight[name] for name in "qkv")
            query, key, value = (part.unflatten(1, (-1, DIM)).transpose(0, 1) for part in parts)
            out = attention.attend(layer_index, query, key, value, scale=DIM**-0.5)
            hidden = hidden + out.transpose(0, 1).flatten(1) @ weight["o"]
        return hidden


def tokens(num: int, seed: int = 0) -> Tokens:
    embeds = torch.randn(num, HEADS * DIM, generator=torch.manual_seed(seed))
    return Tokens(embeds, text_positions(num, 1), torch.zeros(num, dtype=torch.bool))


def frames(sizes: list[int], *, first: int = 0) -> list[FrameTokens]:
    return [
        FrameTokens(tokens(size, seed=100 + first + index), Span(first + index, first + index + 1))
        for index, size in enumerate(sizes)
    ]
