"""Answers held to their evidence: while the video-LLM is trained, one of its heads must look where the answer stands.

That an answer's words are right tells the heads little about where to look: after 6,500 steps of it 56 % of the answers
to a *what* were right. Which frame tokens show the answer is known, so it is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from vidmem.recipes.packing import ANY, TOKENS_PER_FRAME, Packed, question_mask

LOOKS_LAYER, LOOKS_HEAD = 3, 1
"""The head that had come nearest to it by itself: of its attention 4 % lay on the evidence of a *what*."""
SEEN = 0.2
"""Share of a frame token's cell from which on it shows a thing."""


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Which tokens (N of them) are held to what: `rows` (N,), `columns` (N,), `keys` bool (N, S) of a clip's tokens."""

    rows: Tensor
    columns: Tensor
    keys: Tensor


def wanted(batch: Packed, cells: Tensor) -> Wanted:
    """The clip's tokens in which each question's evidence stands, and the tokens that must look there.

    Args:
        batch: questions of B clips.
        cells: (F, 16, things + 1), what all their frames show, see `Alignment.cells`.
    """
    shared = batch.num_shared
    rows, columns, frames, things, gone = batch.looks.unbind(1)
    visual = batch.is_visual[:, :shared]
    # of each of a clip's tokens: its frame, what it shows and what its cell showed before; in the order of `cells`
    frame_of = torch.full(visual.shape, -2, device=cells.device)
    frame_of[visual] = torch.arange(len(cells), device=cells.device).repeat_interleave(cells.shape[1])
    shown = torch.zeros(*visual.shape, cells.shape[-1] - 1, dtype=torch.bool, device=cells.device)
    shown_before = shown.clone()
    shows = cells[..., :-1] > SEEN
    shown[visual] = shows.flatten(0, 1)
    shown_before[visual] = shows.roll(1, 0).flatten(0, 1)
    is_last = torch.zeros_like(visual)
    is_last[visual] = (torch.arange(TOKENS_PER_FRAME, device=cells.device) == TOKENS_PER_FRAME - 1).repeat(len(cells))

    keys = (frame_of[rows] == frames[:, None]) | ((frames[:, None] == ANY) & visual[rows])
    every = torch.arange(len(rows), device=cells.device)
    named = things.clamp(min=0)
    of_thing = torch.where(gone[:, None] > 0, shown_before[rows, :, named], shown[rows, :, named])
    # what is true of a whole frame stands in its last token, which has seen all others
    of_thing = torch.where(things[:, None] == ANY, is_last[rows], of_thing) & keys
    # what is not there can only be looked for: in the frame that is asked about
    fallback = ~of_thing.any(1) & (frames != ANY)
    keys = torch.where(fallback[:, None], keys, of_thing)
    told = keys.any(1)
    return Wanted(rows[told], columns[told], keys[every[told]])


def attention(
    model: LlavaOnevisionForConditionalGeneration, batch: Packed, hidden: Tensor, layer: int, head: int
) -> Tensor:
    """Log of the attention (B, L - S, L) that one head pays in all questions, from its layer's input (B, L, D)."""
    language = model.model.language_model
    block = language.layers[layer]
    heads, width = block.self_attn, block.self_attn.head_dim
    part = slice(head * width, (head + 1) * width)
    normed = block.input_layernorm(hidden)
    query, key = (
        nn.functional.linear(normed, made.weight[part], made.bias[part])[:, None]
        for made in (heads.q_proj, heads.k_proj)
    )
    query, key = apply_rotary_pos_emb(query, key, *language.rotary_emb(normed, batch.positions))
    scores = query[:, 0, batch.num_shared :].float() @ key[:, 0].float().mT * heads.scaling
    return (scores + question_mask(batch, scores.dtype)[:, 0]).log_softmax(-1)


def missed(look: Tensor, batch: Packed, wanted: Wanted) -> Tensor:
    """Mean of -log of the attention that lies on the evidence. `look` is `attention`'s."""
    if not len(wanted.rows):
        return look.new_zeros(())
    paid = look[wanted.rows, wanted.columns - batch.num_shared][:, : batch.num_shared]
    return -paid.masked_fill(~wanted.keys, -torch.inf).logsumexp(-1).clamp(min=-20.0).mean()
