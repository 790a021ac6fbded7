"""How much is attended to each cached token: counted while later frames and questions run, from a few of their queries.

Fused attention does not give its weights away, so those of every n-th query are computed a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.kv.attention import LayerAttention, Tables
from vidmem.kv.block import Block
from vidmem.kv.rope import Rotary, place, rotate
from vidmem.kv.tokens import TextModel, Tokens
from vidmem.memory.elements import NEVER_READ_LIFE


@dataclass(frozen=True, slots=True, eq=False)
class Used:
    """A block with what was counted of its T tokens."""

    block: Block
    usage: Tensor
    """(T,) float32 on the CPU: attention received, summed over queries, the mean over layers and heads."""
    life: Tensor
    """(T,) float32 on the CPU: queries that could have attended to the token."""

    @classmethod
    def fresh(cls, block: Block) -> Used:
        """A block that nothing has attended to yet."""
        return cls(block, torch.zeros(len(block)), torch.zeros(len(block)))

    @property
    def frequency(self) -> Tensor:
        """(T,) mean part of a query's attention that went to the token; 0 if nothing was counted."""
        return self.usage / self.life.clamp(min=NEVER_READ_LIFE)


def attention_received(query: Tensor, key: Tensor, tables: Tables, *, scale: float, every: int = 1) -> Tensor:
    """What each of S keys gets of the attention of the last T tokens: (S,) float32, summed over the counted queries.

    Args:
        query: (H, T, D) before RoPE; counted are the last one and every `every`-th before it.
        key: (KV heads, S, D) before RoPE, the new tokens' own among them, at the end.
        tables: of the S keys' positions.

    Returns:
        The mean over heads, so that each counted query gives 1 in all.
    """
    num_keys = key.shape[1]
    index = counted_queries(query.shape[1], every).to(query.device)
    at = index + (num_keys - query.shape[1])
    turned = rotate(query[:, index], tables[0][at], tables[1][at]).float()
    grouped = turned.unflatten(0, (key.shape[0], -1))
    logits = grouped @ rotate(key, *tables).float().mT[:, None] * scale
    unseen = torch.arange(num_keys, device=query.device) > at[:, None]
    return logits.masked_fill(unseen, -torch.inf).softmax(-1).mean((0, 1)).sum(0)


def counted_queries(num_queries: int, every: int) -> Tensor:
    """Places of the queries that are counted, ascending, the last one among them."""
    return torch.arange((num_queries - 1) % every, num_queries, every)


class UsageCounter:
    """Passes new tokens on to `inner`, and counts what they attend to in blocks (`LayerAttention`).

    The blocks are taken to stand right before the new tokens, one after the other, without a window. They need not be
    all that `inner` sees, but the opening should be among them: it draws attention that else would be counted for
    others.

    Args:
        positions: the new tokens' own pattern (axes, T).
        every: a query of so many is counted.
    """

    def __init__(
        self, inner: LayerAttention, rotary: Rotary, used: Sequence[Used], positions: Tensor, *, every: int = 1
    ) -> None:
        self._inner, self._used, self._every = inner, list(used), every
        placed = place([*(part.block.positions for part in used), positions])
        self._tables = rotary.tables(placed.positions)
        self._num_queries = len(counted_queries(positions.shape[1], every))
        self._received: list[Tensor] = []

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        keys = torch.cat([*(part.block.keys[layer_index] for part in self._used), key], dim=1)
        self._received.append(attention_received(query, keys, self._tables, scale=scale, every=self._every))
        return self._inner.attend(layer_index, query, key, value, scale=scale)

    def received(self) -> Tensor:
        """What all tokens got, blocks' and new ones: (S,) float32 on the CPU, the mean over the layers that ran."""
        return torch.stack(self._received).mean(0).cpu()

    def counted(self) -> list[Used]:
        """The blocks, with this run's attention added to what was counted of them before."""
        sizes = [len(part.block) for part in self._used]
        shares = self.received()[: sum(sizes)].split(sizes)
        return [
            Used(part.block, part.usage + share, part.life + self._num_queries)
            for part, share in zip(self._used, shares, strict=True)
        ]


class CountedModel:
    """A text model for a `StreamWriter`, which counts what new clips attend to in `watched` (`TextModel`).

    `watched` is the caller's: the writer's opening first, then the blocks of working memory, appended after each
    `write` and taken away when they leave.
    """

    def __init__(self, model: TextModel, rotary: Rotary, *, every: int = 8) -> None:
        self._model, self._rotary, self._every = model, rotary, every
        self.watched: list[Used] = []

    def run(self, tokens: Tokens, attention: LayerAttention) -> Tensor:
        if not self.watched:
            return self._model.run(tokens, attention)
        counter = UsageCounter(attention, self._rotary, self.watched, tokens.positions, every=self._every)
        hidden = self._model.run(tokens, counter)
        # In place: whoever holds the list while a clip is written holds what was counted of it.
        self.watched[:] = counter.counted()
        return hidden
