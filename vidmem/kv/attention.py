"""Attention over keys that are held before RoPE. Pure functions on one sequence: no batch axis.

Shapes: query (H, T, D), keys and values (KV heads, S, D), all before RoPE; query head h reads KV head h // (H / KV
heads). The T queries belong to the last T of the S keys. `tables` are `Rotary.tables` of the S keys' positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from vidmem.kv import flash
from vidmem.kv.rope import Rotary, rotate

Tables = tuple[Tensor, Tensor]
"""Cosine and sine, (S, D) each."""


class LayerAttention(Protocol):
    """What stands in the place of a text model's attention while vidmem runs it.

    A forward asks once a layer, in order; what it attends to beside the new tokens, where they stand, and what is
    kept of them is the implementation's.
    """

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        """Outputs (H, T, D) for T new tokens: their query (H, T, D), key and value (KV heads, T, D), before RoPE."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window with initial tokens that stay visible."""

    size: int
    """W: a token sees itself and the W - 1 tokens before it."""
    num_initial: int = 0
    """Tokens at the start of the stream that every later one sees too."""

    def __post_init__(self) -> None:
        if self.size < 1 or self.num_initial < 0:
            raise ValueError(f"a window needs size >= 1 and num_initial >= 0, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Initial:
    """Initial tokens as they are seen from outside a window: key and value (KV heads, I, D), keys not rotated.

    Every query is turned by the same `query_tables` (1, D), those of position W - 1. `visible` (T, I) says which
    queries see which of them, None that all do.
    """

    key: Tensor
    value: Tensor
    query_tables: Tables
    visible: Tensor | None = None


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of vectors as they are: (H, T, D). `mask` (T, S) is True where seen; None is causal."""
    if mask is None and flash.is_usable(query):
        return flash.flash_attend(query, key, value, scale=scale)[0]
    heads, num_queries, _ = query.shape
    kv_heads, num_keys, _ = key.shape
    # Groups share their keys through a stride of 0, so that neither keys nor mask are copied for each query head.
    grouped = query.view(kv_heads, heads // kv_heads, num_queries, -1)
    shape = grouped.shape[:2]
    if mask is None and num_queries != num_keys and num_queries > 1:
        mask = causal_mask(num_queries, num_keys, device=query.device)
    out = functional.scaled_dot_product_attention(
        grouped,
        key[:, None].expand(*shape, -1, -1),
        value[:, None].expand(*shape, -1, -1),
        attn_mask=mask,
        is_causal=mask is None and num_queries > 1,
        scale=scale,
    )
    return out.flatten(0, 1)


def causal_mask(
    num_queries: int, num_keys: int, *, window_size: int | None = None, device: torch.device | None = None
) -> Tensor:
    """Which of S keys each of the last T tokens sees: itself and all before it, or the last `window_size` of those."""
    query_index = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    distance = query_index - torch.arange(num_keys, device=device)
    seen = distance >= 0
    return seen if window_size is None else seen & (distance < window_size)


def late_attend(
    query: Tensor, key: Tensor, value: Tensor, tables: Tables, *, scale: float, mask: Tensor | None = None
) -> Tensor:
    """Rotate queries and keys where they are used ("late RoPE"), then `attend`.

    Source: spec/transformers-kv.md, section 4, route D.
    """
    return attend(_turn_queries(query, tables), rotate(key, *tables), value, scale=scale, mask=mask)


def window_attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tables: Tables,
    *,
    window_size: int,
    scale: float,
    initial: Initial | None = None,
) -> Tensor:
    """Late-RoPE attention through a sliding window, with initial tokens under the same softmax.

    `key` and `value` need hold no more than the last W + T tokens. Initial tokens that also lie in the window are
    seen twice unless `initial.visible` says otherwise.

    Source: ReKV (ICLR 2025), write rule 3 of spec/rekv.md. The two parts are rotated differently and share one
    softmax. Where there is FlashAttention, the initial tokens, which are few, are put under its softmax afterwards;
    elsewhere the parts lie side by side in a doubled head dimension with zeros between, so that torch's own attention
    does both without holding the logits.
    """
    if flash.is_usable(query):
        turned = _turn_queries(query, tables), rotate(key, *tables)
        out, log_sum = flash.flash_attend(*turned, value, scale=scale, window_size=window_size)
        return out if initial is None else join_initial(out, log_sum, query, initial, scale=scale)
    mask = causal_mask(query.shape[1], key.shape[1], window_size=window_size, device=query.device)
    if initial is None or initial.key.shape[1] == 0:
        return late_attend(query, key, value, tables, scale=scale, mask=mask)
    both = torch.cat((_turn_queries(query, tables), rotate(query, *initial.query_tables)), dim=-1)
    zero, initial_zero = torch.zeros_like(key), torch.zeros_like(initial.key)
    local_keys = torch.cat((rotate(key, *tables), zero), dim=-1)
    initial_keys = torch.cat((initial_zero, initial.key), dim=-1)
    values = torch.cat((initial.value, value), dim=1)
    visible = initial.visible
    if visible is None:
        visible = mask.new_ones(query.shape[1], initial.key.shape[1])
    out = attend(
        both,
        torch.cat((initial_keys, local_keys), dim=1),
        # The fused kernels want values as wide as keys.
        torch.cat((values, torch.zeros_like(values)), dim=-1),
        scale=scale,
        mask=torch.cat((visible, mask), dim=1),
    )
    return out[..., : value.shape[-1]]


def join_initial(out: Tensor, log_sum: Tensor, query: Tensor, initial: Initial, *, scale: float) -> Tensor:
    """Put initial tokens under the softmax of an attention that is done.

    Args:
        out: its outputs (H, T, D).
        log_sum: the log of each softmax's sum (H, T) float32.
        query: (H, T, D), before RoPE.
    """
    kv_heads, num_initial, _ = initial.key.shape
    if not num_initial:
        return out
    turned = rotate(query, *initial.query_tables).float().unflatten(0, (kv_heads, -1)).flatten(1, 2)
    logits = (scale * turned @ initial.key.float().transpose(1, 2)).view(*log_sum.shape, num_initial)
    if initial.visible is not None:
        logits = logits.masked_fill(~initial.visible, float("-inf"))
    total = torch.logaddexp(log_sum, logits.logsumexp(-1))[..., None]
    weights = (logits - total).exp().unflatten(0, (kv_heads, -1)).flatten(1, 2)
    added = (weights @ initial.value.float()).view(out.shape)
    return (out * (log_sum[..., None] - total).exp() + added).to(out.dtype)


def context_attend(
    query: Tensor, key: Tensor, value: Tensor, positions: Tensor, rotary: Rotary, *, window: Window | None, scale: float
) -> Tensor:
    """Late-RoPE attention of new tokens over a whole context, those included: keys and `positions` (axes, S) of all.

    With a window, a context of more than `window.size` tokens is seen as ReKV's answering sees it: the newest through
    the window, and the initial tokens, where they are out of it, from its far end; each once.

    Source: spec/rekv.md, "positions and attention while answering".
    """
    num_queries, num_keys = query.shape[1], key.shape[1]
    if window is None or num_keys <= window.size:
        return late_attend(query, key, value, rotary.tables(positions), scale=scale)
    first = max(num_keys - window.size - num_queries, 0)
    local = positions[:, first:]
    outside = torch.full((rotary.num_axes, 1), window.size - 1)
    near = causal_mask(num_queries, num_keys, window_size=window.size, device=query.device)
    num_initial = window.num_initial
    return window_attend(
        query,
        key[:, first:],
        value[:, first:],
        rotary.tables(local - local.min()),
        window_size=window.size,
        scale=scale,
        initial=Initial(key[:, :num_initial], value[:, :num_initial], rotary.tables(outside), ~near[:, :num_initial]),
    )


def _turn_queries(query: Tensor, tables: Tables) -> Tensor:
    num_queries = query.shape[1]
    return rotate(query, tables[0][-num_queries:], tables[1][-num_queries:])
