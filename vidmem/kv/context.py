"""A context that a question is asked in: blocks brought together, in order, at positions without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vidmem.kv.attention import Window, context_attend
from vidmem.kv.block import Block
from vidmem.kv.rope import Rotary, place


class BlockStore(Protocol):
    """Where blocks lie. An id is a block's place in the order of writing, from 0, and never changes."""

    def append(self, block: Block) -> int:
        """Keep a block; its id."""
        ...

    def fetch(self, block_ids: Sequence[int]) -> Sequence[Block]:
        """The blocks of these ids, in that order. Raises IndexError for an id that was never given."""
        ...

    def __len__(self) -> int: ...


class RamBlocks:
    """Blocks as they came, in RAM."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []

    def append(self, block: Block) -> int:
        self._blocks.append(block)
        return len(self._blocks) - 1

    def fetch(self, block_ids: Sequence[int]) -> list[Block]:
        if any(not 0 <= block_id < len(self) for block_id in block_ids):
            raise IndexError(f"block ids {list(block_ids)} must be in [0, {len(self)})")
        return [self._blocks[block_id] for block_id in block_ids]

    def __len__(self) -> int:
        return len(self._blocks)


@dataclass(frozen=True, slots=True, eq=False)
class LayerContext:
    """What one layer of a context holds: key and value (KV heads, S, D), keys before RoPE, and positions (axes, S)."""

    key: Tensor
    value: Tensor
    positions: Tensor

    def __len__(self) -> int:
        return self.key.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What a question's tokens attend to, layer by layer; they begin at position `next` on every axis.

    Layers may hold different blocks, and different numbers of tokens. All end right before `next`: where a layer begins
    does not matter, as attention knows only differences of positions.
    """

    layers: tuple[LayerContext, ...]
    next: int

    @property
    def num_tokens(self) -> int:
        """Tokens of the layer that holds most."""
        return max(len(layer) for layer in self.layers)


def assemble(
    opening: Block,
    *,
    gist: Sequence[Block] = (),
    retrieved: Sequence[Block] = (),
    working: Sequence[Block] = (),
    device: torch.device | str | None = None,
) -> Context:
    """Bring together [opening | gist | retrieved | working] at contiguous positions, the same in all layers.

    Args:
        opening: system turn and sink tokens, which every context begins with.
        gist: what stands for all that is long past, in its own order.
        retrieved: what a question brought back, in any order; they are put in temporal order.
        working: the newest blocks, in temporal order, none of them among `retrieved`.
        device: where the context is made; None is where the opening lies.

    Raises:
        ValueError: blocks of another layout or dtype than the opening's, or working memory that begins before the
            last retrieved block does.
    """
    by_time = sorted(retrieved, key=lambda block: block.span.start)
    if by_time and working and working[0].span.start <= by_time[-1].span.start:
        raise ValueError(
            f"working memory begins at {working[0].span.start} s and a retrieved block at "
            f"{by_time[-1].span.start} s: a block may stand in a context once"
        )
    blocks = [opening, *gist, *by_time, *working]
    for block in blocks:
        _check_like(block, opening)
    placed = place([block.positions for block in blocks])
    where = opening.keys.device if device is None else torch.device(device)
    keys = torch.cat([block.keys.to(where, non_blocking=True) for block in blocks], dim=2)
    values = torch.cat([block.values.to(where, non_blocking=True) for block in blocks], dim=2)
    layers = zip(keys.unbind(), values.unbind(), strict=True)
    return Context(tuple(LayerContext(key, value, placed.positions) for key, value in layers), placed.next)


def assemble_layer(opening: Block, blocks: Sequence[Block], layer_index: int) -> LayerContext:
    """One layer of [opening | blocks], in the order given, at contiguous positions from 0."""
    parts = [opening, *blocks]
    where = opening.keys.device
    return LayerContext(
        key=torch.cat([part.keys[layer_index].to(where) for part in parts], dim=1),
        value=torch.cat([part.values[layer_index].to(where) for part in parts], dim=1),
        positions=place([part.positions for part in parts]).positions,
    )


def align(layers: Sequence[LayerContext]) -> Context:
    """A context of layers that were assembled each for itself: all moved to end where the longest reaches."""
    reach = [int(layer.positions.max()) + 1 for layer in layers]
    moved = [
        LayerContext(layer.key, layer.value, layer.positions + (max(reach) - own))
        for layer, own in zip(layers, reach, strict=True)
    ]
    return Context(tuple(moved), max(reach))


def _check_like(block: Block, opening: Block) -> None:
    layers, heads, _, head_dim = block.keys.shape
    if (layers, heads, head_dim) != (*opening.keys.shape[:2], opening.keys.shape[3]):
        raise ValueError(f"a block of {tuple(block.keys.shape)} does not go with {tuple(opening.keys.shape)}")
    if block.keys.dtype != opening.keys.dtype or block.values.dtype != opening.values.dtype:
        raise ValueError(f"a block in {block.keys.dtype} does not go with one in {opening.keys.dtype}")


class ContextAttention:
    """New tokens attend to a context and, causally, to themselves; nothing is kept of them (`LayerAttention`).

    Args:
        positions: the new tokens' own pattern (axes, T); they stand from `context.next` on.
        window: how the context is seen; None sees all of it.
    """

    def __init__(self, context: Context, rotary: Rotary, positions: Tensor, *, window: Window | None = None) -> None:
        self._context, self._rotary, self._window = context, rotary, window
        self._positions = place([positions], start=context.next).positions

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        layer = self._context.layers[layer_index]
        return attend_after(layer, self._positions, self._rotary, query, key, value, window=self._window, scale=scale)


def attend_after(
    layer: LayerContext,
    positions: Tensor,
    rotary: Rotary,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    window: Window | None,
    scale: float,
) -> Tensor:
    """One layer's attention of new tokens at positions (axes, T) over [context | new tokens]: (H, T, D)."""
    return context_attend(
        query,
        torch.cat((layer.key, key), dim=1),
        torch.cat((layer.value, value), dim=1),
        torch.cat((layer.positions, positions), dim=1),
        rotary,
        window=window,
        scale=scale,
    )
