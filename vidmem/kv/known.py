"""Fewer tokens a picture before the text model sees them: what is known already is never run through it.

`compress` drops from blocks, when keys and values are there to choose by and the prefill is paid for. Here tokens are
dropped before it, so that prefill, window and blocks all get smaller. A picture's tokens are chosen by their
embeddings: those that the picture before has nothing like.

They tell less than keys and values do: of 68 questions about clips of 8 to 32 s the embedded model answers all from all
tokens, 0.91 from what `compress` leaves at 1/4, and from what this leaves 0.84 at 1/4 and 0.90 at 1/2 (seed 1).

Source: to reduce tokens in time before the prefill is StreamingTOM's idea (CVPR 2026). The choice is that of
`compress`: a budget for a clip and not for each of its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from vidmem.kv.compress import MOST_NOVEL, Compression, best_by_bucket
from vidmem.kv.copies import lift
from vidmem.kv.tokens import FrameTokens, Tokens


def drop_known(
    clip: Sequence[FrameTokens], config: Compression, *, before: FrameTokens | None = None
) -> Sequence[FrameTokens]:
    """Drop the visual tokens of a clip that are least new; text stays, and every token keeps its place in its pattern.

    Waits for the device once, for the scores of the whole clip. `config.absorb` is not heeded: every frame stays, if
    only with its time mark.

    Args:
        clip: frames in time order, every one with some text or some token that stays. Not modified.
        before: the whole frame before the first one; None at the start of a stream, whose first picture is new
            throughout.
    """
    if config.keep_ratio == 1 or not clip:
        return clip
    scores = torch.cat([_novelty(frame.tokens, last) for frame, last in _with_last(clip, before)]).cpu()
    num_kept = round(config.keep_ratio * len(scores))
    is_kept = torch.zeros(len(scores), dtype=torch.bool)
    is_kept[best_by_bucket(scores, num_kept, num_best=num_kept - round(config.spread * num_kept))] = True
    parts = is_kept.split([int(frame.tokens.is_visual.sum()) for frame in clip])
    return [replace(frame, tokens=_kept(frame.tokens, kept)) for frame, kept in zip(clip, parts, strict=True)]


def _with_last(clip: Sequence[FrameTokens], before: FrameTokens | None) -> list[tuple[FrameTokens, Tokens | None]]:
    lasts = [before.tokens if before is not None else None, *(frame.tokens for frame in clip)]
    return list(zip(clip, lasts, strict=False))


def _novelty(tokens: Tokens, last: Tokens | None) -> Tensor:
    """One minus the cosine with the most alike token of the picture before, wherever it stands there: (V,)."""
    mine = _visual(tokens)
    theirs = mine[:0] if last is None else _visual(last)
    if not len(theirs):
        return mine.new_full((len(mine),), MOST_NOVEL, dtype=torch.float32)
    return 1 - (mine @ theirs.T).amax(dim=1).float()


def _visual(tokens: Tokens) -> Tensor:
    """The embeddings of a picture, of length 1: (V, C)."""
    return functional.normalize(_rows(tokens.embeds, tokens.is_visual.nonzero().squeeze(1)).float(), dim=-1)


def _kept(tokens: Tokens, kept: Tensor) -> Tokens:
    """Text, and of V visual tokens those where `kept` (V,) is True."""
    stays = ~tokens.is_visual
    stays[tokens.is_visual] = kept
    places = stays.nonzero().squeeze(1)
    deepstack = tokens.deepstack
    if deepstack is not None:
        deepstack = _rows(deepstack.transpose(0, 1), kept.nonzero().squeeze(1)).transpose(0, 1)
    return Tokens(_rows(tokens.embeds, places), tokens.positions[:, places], tokens.is_visual[places], deepstack)


def _rows(numbers: Tensor, places: Tensor) -> Tensor:
    """Rows of a tensor on any device by places that are known to the host, without waiting for the device."""
    return numbers[lift(places, numbers.device)]
