"""Which heads of a model look for what a question names."""

from __future__ import annotations

from vidmem.errors import BadInput
from vidmem.kv.block import Layout

Heads = tuple[tuple[int, ...], ...]
"""Pairs of a layer and a KV head in it."""


def heads_of(layout: Layout, chosen: Heads) -> Heads:
    """The chosen heads; without a choice, all KV heads of the layer a third of the way up.

    Raises:
        BadInput: the model has no such head.
    """
    for layer, head in chosen:
        if layer >= layout.num_layers or head >= layout.num_kv_heads:
            raise BadInput(
                f"[kv] heads names KV head {head} of layer {layer}, and the model has {layout.num_layers} layers of "
                f"{layout.num_kv_heads} KV heads, counted from 0: correct it in the preset."
            )
    return chosen or tuple((layout.num_layers // 3, head) for head in range(layout.num_kv_heads))
