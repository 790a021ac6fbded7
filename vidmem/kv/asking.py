"""Internal retrieval: a question's own queries choose blocks while it runs through the model.

All ways are `LayerAttention`s. `QuestionQueries` takes the queries of a few heads, for landmarks to be searched with,
and ends the pass behind the last of them. `QuestionScores` and `LayerRecall` search mean keys, as ReKV does: the first
scores all blocks in all layers and brings nothing back, for a choice that the layers share; with the second every
layer brings back what it chose before it attends, so that deeper layers ask with what shallower ones found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from vidmem.kv.attention import Window
from vidmem.kv.block import Block
from vidmem.kv.context import BlockStore, Context, ContextAttention, LayerContext, align, assemble_layer, attend_after
from vidmem.kv.heads import Heads
from vidmem.kv.recall import block_scores, fuse, ranking
from vidmem.kv.representatives import Representatives
from vidmem.kv.rope import Rotary, place


class AllTaken(Exception):
    """Ends a pass through the model whose further layers nobody needs."""


class QuestionQueries:
    """Takes the queries of some heads while a question attends to a context (the opening).

    Raises:
        AllTaken: from the last of the heads' layers.
    """

    def __init__(self, context: Context, rotary: Rotary, positions: Tensor, heads: Heads) -> None:
        self._inner, self._heads = ContextAttention(context, rotary, positions), heads
        self._taken: dict[tuple[int, ...], Tensor] = {}

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        by_head = query.unflatten(0, (len(key), -1)).flatten(1, 2)
        self._taken |= {(layer, head): by_head[head] for layer, head in self._heads if layer == layer_index}
        if len(self._taken) == len(set(self._heads)):
            raise AllTaken
        return self._inner.attend(layer_index, query, key, value, scale=scale)

    @property
    def queries(self) -> list[Tensor]:
        """For each head the queries (Q, D), before RoPE, of all query heads that it serves and all tokens."""
        return [self._taken[layer, head] for layer, head in self._heads]


class QuestionScores:
    """Scores every block in every layer while a question attends to a context (the opening, and what is new).

    `scores` holds one (N,) for each layer that has run, in order.
    """

    def __init__(self, context: Context, representatives: Representatives, rotary: Rotary, positions: Tensor) -> None:
        self._inner = ContextAttention(context, rotary, positions)
        self._representatives = representatives
        self.scores: list[Tensor] = []

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        self.scores.append(block_scores(self._representatives.of_layer(layer_index), query))
        return self._inner.attend(layer_index, query, key, value, scale=scale)

    def ranking(self, limit: int | None = None) -> list[int]:
        """All layers' rankings, the `limit` best of each, fused into one: layers' scores have no common scale."""
        return fuse(ranking(scores, limit) for scores in self.scores)


class LayerRecall:
    """Each layer chooses blocks for itself and attends to [opening | chosen blocks | question].

    Args:
        choose: ids, in temporal order, from one layer's scores (N,): `top_groups`, or `choose` on a `ranking` that may
            be fused with an external one.
        positions: the question's own pattern (axes, T).
        window: how the context is seen; None sees all of it.

    Source: ReKV (ICLR 2025), retrieval rules 1 to 8 of spec/rekv.md.
    """

    def __init__(
        self,
        opening: Block,
        store: BlockStore,
        representatives: Representatives,
        rotary: Rotary,
        positions: Tensor,
        choose: Callable[[Tensor], Sequence[int]],
        *,
        window: Window | None = None,
    ) -> None:
        self._opening, self._store, self._representatives = opening, store, representatives
        self._rotary, self._positions, self._choose, self._window = rotary, positions, choose, window
        self._fetched: dict[int, Block] = {}
        self._layers: list[LayerContext] = []
        self.scores: list[Tensor] = []
        self.chosen: list[list[int]] = []
        """Ids that each layer brought back, in temporal order."""

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        scores = block_scores(self._representatives.of_layer(layer_index), query)
        chosen = list(self._choose(scores))
        layer = assemble_layer(self._opening, self._fetch(chosen), layer_index)
        self.scores.append(scores)
        self.chosen.append(chosen)
        self._layers.append(layer)
        after = place([self._positions], start=int(layer.positions.max()) + 1).positions
        return attend_after(layer, after, self._rotary, query, key, value, window=self._window, scale=scale)

    def _fetch(self, block_ids: Sequence[int]) -> list[Block]:
        """Every block is fetched once a question, though several layers choose it."""
        missing = [block_id for block_id in block_ids if block_id not in self._fetched]
        self._fetched.update(zip(missing, self._store.fetch(missing), strict=True))
        return [self._fetched[block_id] for block_id in block_ids]

    def context(self) -> Context:
        """What the layers brought back, to answer from. The question's own keys and values are not in it."""
        return align(self._layers)
