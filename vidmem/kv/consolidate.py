"""The long-term gist of KV: a few tokens that were attended to most stand for all that leave working memory.

Pure functions. XMem's rule on keys and values of a language model: prototypes are the most used tokens, their keys stay
as they are, their values become what attention with their keys would read of all candidates ("potentiation").

Source: XMem (Cheng and Schwing, ECCV 2022), section 3.3, and Atkinson and Shiffrin (1968). Nobody has done this with a
video-LLM's KV. Where we differ: usage is attention of a language model, counted over all heads and layers and one for
all, since a block's tokens are the same in all layers; potentiation is done head by head; prototypes keep what was
counted of them, as gist and newcomers meet again in the next consolidation, where XMem evicts by rules of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv.block import Block, Layout
from vidmem.kv.formats import Format
from vidmem.kv.quantise import num_bytes
from vidmem.kv.rope import text_positions
from vidmem.kv.usage import Used
from vidmem.memory.policies.xmem import most_used
from vidmem.memory.similarity import affinity, anisotropic_similarity, readout
from vidmem.types import Span


def consolidate(leaving: Sequence[Used], num_prototypes: int, *, sharpness: float = 1.0) -> Used:
    """Make one block of prototypes, in time order, out of blocks that leave working memory, an older gist among them.

    Args:
        leaving: blocks in time order, at least one.
        num_prototypes: P; all tokens are kept, unchanged, where they are no more.
        sharpness: factor on the similarity of keys, the negative squared distance over sqrt(head dim), before the
            softmax; inf leaves values as they are.

    Returns:
        P tokens at text positions 0 .. P - 1, whose span reaches from the first start to the last end. Where a
        prototype stood in its picture is not in its position any more; what its layers made of that place is in its
        keys and values.

    Raises:
        ValueError: nothing leaves, or `num_prototypes` is under 1.
    """
    if not leaving or num_prototypes < 1:
        raise ValueError(f"{num_prototypes=} of {len(leaving)} blocks: a gist needs at least one of each")
    keys = torch.cat([used.block.keys for used in leaving], dim=2)
    values = torch.cat([used.block.values for used in leaving], dim=2)
    usage, life = (torch.cat([getattr(used, name) for used in leaving]) for name in ("usage", "life"))
    if num_prototypes < len(usage):
        frequency = torch.cat([used.frequency for used in leaving])
        chosen = most_used(frequency, num_prototypes).sort().values
        there = chosen.to(keys.device)
        values = potentiated(keys, values, there, sharpness)
        keys, usage, life = keys[:, :, there], usage[chosen], life[chosen]
    first, last = leaving[0].block, leaving[-1].block
    span = Span(first.span.start, max(used.block.span.end for used in leaving))
    assert first.span.start <= last.span.start, "blocks must be in time order"
    positions = text_positions(keys.shape[2], first.positions.shape[0])
    return Used(Block(keys, values, positions, span), usage, life)


def potentiated(keys: Tensor, values: Tensor, chosen: Tensor, sharpness: float) -> Tensor:
    """Prototypes' values (layers, KV heads, P, D), by affinity of keys out of all N candidates'.

    Layer by layer, so that (KV heads, N, P) is the most that is held.
    """
    if sharpness == float("inf"):
        return values[:, :, chosen]
    made = torch.empty_like(values[:, :, chosen])
    for key, value, into in zip(keys.float(), values.float(), made, strict=True):
        weight = affinity(sharpness * anisotropic_similarity(key, key[:, chosen]))
        into.copy_(readout(weight, value))
    return made


def tokens_within(budget_bytes: int, format: Format, layout: Layout, dtype: torch.dtype) -> int:
    """The most tokens that a block of at most so many bytes holds in a format.

    Raises:
        BadInput: not even one.
    """
    upper = budget_bytes // (layout.bytes_per_token(1) // 4) + 1  # no format has less than 2 bits a number
    tokens = bisect_right(range(1, upper + 1), budget_bytes, key=lambda num: num_bytes(format, layout, num, dtype))
    if not tokens:
        raise BadInput(
            f"a gist of {budget_bytes} bytes is too small for one token as {format}: give at least "
            f"{num_bytes(format, layout, 1, dtype)}."
        )
    return tokens
