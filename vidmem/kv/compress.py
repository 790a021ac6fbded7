"""Fewer tokens a frame, as blocks are written: of a picture only what the frame before did not already hold.

Pure functions. A compressed block is a block: its tokens stand in its pattern where they stood, with gaps, and text
(the time mark, the marks around a picture) always stays. What is dropped is dropped for good; an ask has no part in
the choice.

Source: LiveVLM (arXiv 2505.15269), spec/livevlm.md. Its buckets ("VSB") are `best_by_bucket`; its score, the attention
of the newest vision tokens, can be had from `vidmem.kv.usage` and given to `drop`. `compress` scores by `novelty`
instead, which needs no queries and is known as soon as a frame is written. Averaging what is dropped into what is most
like it was measured and left out: it takes answers (docs/decisions/0009-kv-compression.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vidmem.kv.block import Block
from vidmem.kv.copies import lift
from vidmem.kv.tokens import FrameTokens
from vidmem.memory.similarity import cosine_similarity
from vidmem.types import Span

MOST_NOVEL = 2.0
"""Novelty of what nothing came before: no two keys, and no two values, are further apart than opposite ones."""


@dataclass(frozen=True, slots=True)
class Compression:
    """How much of a clip's pictures is kept."""

    keep_ratio: float = 0.25
    """Part of a clip's visual tokens that stays; 1 leaves blocks as they are, to the bit."""
    spread: float = 0.0
    """Part of the kept tokens that is spread evenly over the clip's time. The rest goes to the highest scores wherever
    they are, so that a frame in which nothing happens may keep only its time mark."""
    absorb: bool = False
    """Let frames of which only text is left become part of the block before them in their clip, whose span grows.
    Blocks are then fewer than frames."""

    def __post_init__(self) -> None:
        if not 0 <= self.keep_ratio <= 1 or not 0 <= self.spread <= 1:
            raise ValueError(f"a compression needs a ratio and a spread in [0, 1], got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A block, and which of its T tokens are a picture's: (T,) bool, as `FrameTokens` has it."""

    block: Block
    is_visual: Tensor

    @property
    def visual(self) -> Tensor:
        """Places of the picture's tokens, ascending."""
        return self.is_visual.nonzero().squeeze(1)

    @property
    def text(self) -> Tensor:
        """Places of all other tokens, ascending."""
        return (~self.is_visual).nonzero().squeeze(1)


def seen_of(blocks: Sequence[Block], frames: Sequence[FrameTokens]) -> list[Seen]:
    """The blocks of frames that were written together."""
    return [Seen(block, frame.tokens.is_visual) for block, frame in zip(blocks, frames, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """A clip's blocks in time order, none of them empty, and which of them holds which frame."""

    blocks: list[Block]
    block_index: list[int]
    """Of each frame, the index of its block: from 0, rising by 0 or 1, so that no block is without a frame."""


def compress(clip: Sequence[Seen], config: Compression, *, before: Seen | None = None) -> Compressed:
    """Drop what is least new in a clip: one block a frame, or fewer with `absorb`.

    The first frame begins a block whatever is left of it: no block holds frames of two clips.

    Args:
        clip: whole blocks in time order. Not modified; what they hold is copied where tokens are dropped.
        before: the whole block before the first one, before its own compression; None at the start of a stream, whose
            first picture is new throughout.
    """
    if config.keep_ratio == 1:
        return Compressed([seen.block for seen in clip], list(range(len(clip))))
    return drop(clip, [novelty(seen, last) for seen, last in zip(clip, [before, *clip], strict=False)], config)


def drop(clip: Sequence[Seen], scores: Sequence[Tensor], config: Compression) -> Compressed:
    """Keep the visual tokens with the highest scores, one (V,) a frame.

    A frame without any text keeps its best token, whatever the others have.
    """
    if not clip:
        return Compressed([], [])
    together = torch.cat(list(scores))
    num_kept = round(config.keep_ratio * len(together))
    num_spread = round(config.spread * num_kept)
    is_kept = torch.zeros(len(together), dtype=torch.bool)
    is_kept[best_by_bucket(together.cpu(), num_kept, num_best=num_kept - num_spread)] = True
    parts = is_kept.split([len(score) for score in scores])
    blocks: list[Block] = []
    block_index: list[int] = []
    for seen, score, kept in zip(clip, scores, parts, strict=True):
        if not kept.any() and not len(seen.text):
            kept = torch.arange(len(score)) == int(score.argmax())
        if blocks and config.absorb and not kept.any():
            blocks[-1] = replace(blocks[-1], span=Span(blocks[-1].span.start, seen.block.span.end))
        else:
            blocks.append(take(seen.block, torch.cat((seen.text, seen.visual[kept])).sort().values))
        block_index.append(len(blocks) - 1)
    return Compressed(blocks, block_index)


def thin(seen: Seen, num_tokens: int) -> Block:
    """At most `num_tokens` of a block, or its text if that is more: of the picture, tokens spread evenly over it.

    For a block that was lost and is made again, so that it takes no more room than the one that is planned with.
    """
    num_visual = len(seen.visual)
    num_kept = min(num_visual, max(0, num_tokens - len(seen.text)))
    kept = best_by_bucket(torch.zeros(num_visual), num_kept, num_best=0)
    return take(seen.block, torch.cat((seen.text, seen.visual[kept])).sort().values)


def novelty(newest: Seen, before: Seen | None) -> Tensor:
    """How little each visual token has of the picture before it: (V,) float32 in [0, 2], the same for all layers.

    One minus the cosine with the most alike token there, of keys (before RoPE) and of values, the mean over layers, KV
    heads and the two. Anywhere in the picture counts as there: a camera that moves makes little new.

    One score for all layers keeps a block one set of tokens with one set of positions, as formats and contexts have it.
    Layer by layer, as LiveVLM drops, would need a set of positions for each.
    """
    places = newest.visual
    if before is None or not len(before.visual):
        return torch.full((len(places),), MOST_NOVEL, device=newest.block.keys.device)
    device = newest.block.keys.device
    total, here, there = torch.zeros(len(places), device=device), lift(places, device), lift(before.visual, device)
    for now, then in ((newest.block.keys, before.block.keys), (newest.block.values, before.block.values)):
        alike = cosine_similarity(now[:, :, here].float(), then[:, :, there].float())
        total += alike.amax(-1).mean((0, 1))
    return 1 - total / 2


def best_by_bucket(scores: Tensor, num_kept: int, *, num_best: int) -> Tensor:
    """Places, ascending, of `num_kept` of (L,) scores in time order: the `num_best` highest, and else one a bucket.

    Time is cut into `num_kept` equal buckets, place p (from 1) lying in bucket ceil(p * num_kept / L). The highest
    scores come first, whatever their buckets hold; then, by falling score, those whose bucket is still empty. Equal
    scores go by time.

    Source: LiveVLM's vision sink bucketing with buckets of one, and the choices that spec/livevlm.md makes where its
        sources are silent: integer arithmetic, and highest scores that may overfill a bucket but count.
    """
    num_scores = len(scores)
    if not 0 <= num_best <= num_kept <= num_scores:
        raise ValueError(f"{num_best=}, {num_kept=} and the {num_scores} scores must not be in falling order")
    order = scores.argsort(descending=True, stable=True).tolist()
    kept = order[:num_best]
    bucket_of = [-(-(place + 1) * num_kept // num_scores) for place in range(num_scores)]
    used = {bucket_of[place] for place in kept}
    for place in order[num_best:]:
        bucket = bucket_of[place]
        if len(kept) < num_kept and bucket not in used:
            used.add(bucket)
            kept.append(place)
    return torch.tensor(sorted(kept), dtype=torch.long)


def take(block: Block, places: Tensor) -> Block:
    """Some of a block's tokens (n,), a copy, each where it stood in the pattern."""
    there = lift(places, block.keys.device)
    return Block(block.keys[:, :, there], block.values[:, :, there], block.positions[:, places], block.span)
