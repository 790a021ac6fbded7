"""The bridge to transformers: a text model whose attention vidmem can take over for one call ("late RoPE").

`install` registers an attention and a mask function and sets them for the text model. A call that brings a
`LayerAttention` has its attention computed by that, on queries, keys and values before RoPE; every other call, stock
`generate` among them, runs as before. Nothing of the model is replaced, and what is brought belongs to one call, so
threads may use one model at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidmem.errors import BadInput
from vidmem.kv.attention import LayerAttention
from vidmem.kv.rope import Rotary

NAME = "vidmem"
_KEYWORD = "vidmem"


def install(model: Any) -> None:
    """Let vidmem take over the text model's attention where a call asks for it; the vision tower stays as it is.

    Raises:
        BadInput: the text model has layers that do not attend to everything, so that streaming can't be exact.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    decoder = model.get_decoder()
    kinds = set(getattr(decoder.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise BadInput(
            f"{type(decoder).__name__} has layers of kind {', '.join(sorted(kinds))}: KV memory needs full attention "
            'in every layer; use mode = "tokens" for it.'
        )
    AttentionInterface.register(NAME, _attention)
    # Without a mask function of the same name the mask is silently left out, and every call after a cache's first is
    # wrong (spec/transformers-kv.md, 1.10).
    AttentionMaskInterface.register(NAME, sdpa_mask)
    decoder.set_attn_implementation(NAME)


def rotary_of(decoder: Any, *, interleaved: bool = False) -> Rotary:
    """How the text model turns positions into angles.

    Raises:
        BadInput: its frequencies change with the length of the context, so that keys can't be moved.
    """
    rope = decoder.rotary_emb
    if rope.rope_type in ("dynamic", "longrope"):
        raise BadInput(
            f"{type(decoder).__name__} uses rotary positions of type {rope.rope_type!r}, whose frequencies change with "
            'the length of the context: KV memory needs fixed ones; use mode = "tokens" for it.'
        )
    sections = tuple(int(size) for size in getattr(rope, "mrope_section", None) or ())
    return Rotary(rope.inv_freq.float(), sections, interleaved, float(rope.attention_scaling))


@torch.no_grad()
def run_text_model(decoder: Any, embeds: Tensor, attention: LayerAttention, **visual: Any) -> Tensor:
    """Run a text model over embeddings (T, C) with `attention` in the place of its own: last hidden states (T, C).

    The model's own rotary module is given position 0 throughout, which turns nothing: queries and keys reach
    `attention` before RoPE.
    """
    assert decoder.config._attn_implementation == NAME, "`install` comes first, or the model's own attention would run"
    factor = float(decoder.rotary_emb.attention_scaling)
    if factor != 1.0:  # the one thing that the model's rotary module still does at position 0
        attention = _Unscaled(attention, factor)
    zeros = torch.zeros(1, embeds.shape[0], dtype=torch.long, device=embeds.device)
    # A mask with four axes is handed on as it is, so that no mask of T x T is made that nobody reads.
    unread = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=embeds.device)
    out = decoder(
        inputs_embeds=embeds[None],
        position_ids=zeros,
        attention_mask=unread,
        use_cache=False,
        **{_KEYWORD: attention},
        **visual,
    )
    hidden: Tensor = out.last_hidden_state[0]
    return hidden


@dataclass(frozen=True, slots=True)
class _Unscaled:
    """Takes a factor out of queries and keys before they reach `inner`."""

    inner: LayerAttention
    factor: float

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        return self.inner.attend(layer_index, query / self.factor, key / self.factor, value, scale=scale)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    vidmem: LayerAttention | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if vidmem is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    assert query.shape[0] == 1, "vidmem runs one sequence at a time"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = vidmem.attend(module.layer_idx, query[0], key[0], value[0], scale=scale)  # type: ignore[arg-type]
    return out.transpose(0, 1)[None].contiguous(), None
