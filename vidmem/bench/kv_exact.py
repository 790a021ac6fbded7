"""Exactness of streaming: small random models of every family against one plain forward of the stock model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.bench.report import Figure, Say, at_least, at_most
from vidmem.kv.rope import place, rotate
from vidmem.kv.tokens import join
from vidmem.models.families.family import Family
from vidmem.types import Span

_NUM_BLOCKS = 6
_CLIPS = ((1, 3, 2), (1, 1, 1, 1, 1, 1), (6,))
"""The ways in which the blocks are cut into clips; all are to give the same."""
_NUM_ANSWER = 8
_MOVED = 40
"""By how many positions keys are moved."""


@dataclass(frozen=True, slots=True)
class Exactness:
    """Of one family."""

    logits: float
    """Largest difference of a question's logits, streaming with every block in the context against one forward."""
    same_text: bool
    """Greedy answers of `generate` on the assembled cache and on the stock prompt are the same ids."""
    keys: float
    """Largest difference of keys kept before RoPE and turned to other positions from those of a forward there, in parts
    of the largest key (1 if that is smaller)."""


def kv_exactness_figures(seed: int, *, say: Say) -> dict[str, Figure]:
    """All families; noise is drawn from the seed. The worst family is held to the targets."""
    from vidmem.bench.random_families import FAMILIES

    measured = {name: exactness(name, seed) for name in FAMILIES}
    for name, one in measured.items():
        say(f"{name}: logits differ by {one.logits:.2g}, turned keys by {one.keys:.2g}")
    same = sum(one.same_text for one in measured.values()) / len(measured)
    worst = max(measured.values(), key=lambda one: one.logits)
    figures = {
        "kv_exact_logits": at_most(worst.logits, "largest difference, float32", 1e-4),
        "kv_exact_answers": at_least(same, f"share of {len(measured)} families", 1.0),
        "kv_exact_rotated_keys": at_most(max(one.keys for one in measured.values()), "of the largest key", 1e-5),
    }
    return figures | {
        f"kv_exact_logits_{name}": at_most(one.logits, "largest difference, float32", 1e-4)
        for name, one in measured.items()
    }


def exactness(name: str, seed: int) -> Exactness:
    """Stream noise through one family in several ways, and run its stock model over the same."""
    from vidmem.bench.family_kit import QUESTION, case_of
    from vidmem.models.kv_dialogue import Dialogue

    case = case_of(name)
    images, spans = case.footage(_NUM_BLOCKS, seed)
    ids = case.chat.ids(QUESTION).closing
    want = case.stock_logits(images, spans, ids)
    difference, same_text = 0.0, True
    for clip_sizes in _CLIPS:
        writer = case.writer()
        context = case.everything(writer, case.stream(writer, images, spans, clip_sizes))
        difference = max(difference, float((case.question_logits(context, ids) - want).abs().max()))
        dialogue = Dialogue(case.family, context)
        said = list(dialogue.ask(ids, before=case.family.after_frames(), max_new_tokens=_NUM_ANSWER))
        same_text = same_text and said == case.stock_answer(images, spans, ids, _NUM_ANSWER)
    return Exactness(difference, same_text, _rotated_keys(case.family, images, spans))


@torch.no_grad()
def _rotated_keys(family: Family, images: Tensor, spans: list[Span]) -> float:
    """Keys as projected in one forward from position 0, turned to positions further on, against a forward there.

    The text model runs over the embeddings by itself, with no adapter of ours; what is projected is seen by hooks.
    """
    whole = join([frame.tokens for frame in family.frames(images, spans)])
    raw: list[Tensor] = []
    hooks = [
        (getattr(layer.self_attn, "k_norm", None) or layer.self_attn.k_proj).register_forward_hook(
            lambda _module, _inputs, out: raw.append(out)
        )
        for layer in family.decoder.layers
    ]
    try:
        _forward(family, whole.embeds, place([whole.positions]).positions)
    finally:
        for hook in hooks:
            hook.remove()
    moved = place([whole.positions], start=_MOVED).positions
    cached = _forward(family, whole.embeds, moved)
    tables = family.rotary.tables(moved)
    layout = family.layout
    ours = [rotate(key.reshape(-1, layout.num_kv_heads, layout.head_dim).transpose(0, 1), *tables) for key in raw]
    largest = max(1.0, *(float(key.abs().max()) for key in cached))
    return max(float((mine - theirs).abs().max()) for mine, theirs in zip(ours, cached, strict=True)) / largest


def _forward(family: Family, embeds: Tensor, positions: Tensor) -> list[Tensor]:
    """Keys (KV heads, T, D) that a plain forward of the text model leaves in its cache, layer by layer."""
    index = positions[:, None] if len(positions) > 1 else positions
    cache = family.decoder(inputs_embeds=embeds[None], position_ids=index, use_cache=True).past_key_values
    return [layer.keys[0] for layer in cache.layers]
