"""How the mask decoder begins: it looks where a prompt points, and is told what it should see there.

Left to masks alone, the decoder learns one mask for all prompts: what tells prompts apart is a small part of its
tokens at first, useless yet, and training removes it before it can become useful (after 40 steps a mask token differed
between the objects of an image by 0.01 of its length, after 200 by 0.002). So where the decoder starts, its
attention looks at the prompt's place and passes on what is there, and no constant drowns that; and its tokens are
asked for the embedding that the object's pixels were given (`Grouping`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vidmem.recipes.tracker_grouping import Grouping, shares
from vidmem.recipes.tracker_naming import Naming

_SHARPNESS = 1.7
"""Of random projections that queries and keys share: a prompt's place then gets 0.4 of its attention, of 100 places."""
_SMALL = 0.05
"""What is left of learned constants that `sam2` draws at unit variance, as large as what is said by a prompt."""


@torch.no_grad()
def begin_pointing(model: Any, grouping: Grouping, naming: Naming, pixels: Tensor) -> None:
    """Make the decoder of an encoder that was taught by `grouping` ready to learn. Draws from torch's generator.

    The encoder's levels get a mean of 0 and a mean square of 1 over the images (B, 3, S, S); `grouping` and `naming`
    follow.
    """
    levels = list(model.image_encoder(pixels)["backbone_fpn"])
    heads: list[Any] = list(grouping.heads)
    followers: list[list[Any]] = [list(of_level) for of_level in zip(heads, naming.fine, strict=True)]
    followers[-1].append(naming.coarse)
    for level, neck, of_level in zip(levels, reversed(model.image_encoder.neck.convs), followers, strict=True):
        mean = level.mean((0, 2, 3))
        size = (level - mean[:, None, None]).square().mean().sqrt()
        for head in of_level:
            head.bias += head.weight[:, :, 0, 0] @ mean
            head.weight *= size
        neck.conv.weight /= size
        neck.conv.bias.copy_((neck.conv.bias - mean) / size)
    grouping.ask.weight *= _SMALL
    grouping.ask.bias.copy_(torch.stack([head.bias for head in heads]).sum(0))  # the mean of all pixels
    decoder, prompts = model.sam_mask_decoder, model.sam_prompt_encoder
    constants = (decoder.iou_token, decoder.mask_tokens, decoder.obj_score_token, prompts.no_mask_embed)
    for constant in (*constants, prompts.not_a_point_embed, *prompts.point_embeddings):
        constant.weight *= _SMALL
    layers = decoder.transformer.layers
    for layer in layers:
        _pass_on(layer.self_attn)
    across = [
        attention
        for layer in layers
        for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token)
    ]
    for attention in (*across, decoder.transformer.final_attn_token_to_image):
        _pass_on(attention)
        nn.init.normal_(attention.q_proj.weight, std=_SHARPNESS * attention.q_proj.in_features**-0.5)
        attention.k_proj.weight.copy_(attention.q_proj.weight)


def _pass_on(attention: Any) -> None:
    """Let an attention give back what it looked at, or the part of it that goes through its channels."""
    nn.init.orthogonal_(attention.v_proj.weight)
    attention.out_proj.weight.copy_(attention.v_proj.weight.T)
    for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        part.bias.zero_()


class Overheard:
    """What a model's image encoder and its mask decoder's transformer give while `listening`."""

    def __init__(self) -> None:
        self.levels: list[Tensor] = []
        """Of the last run of the encoder, (B, C, H, W) each, the finest first."""
        self.tokens: list[Tensor] = []
        """Of each run of the decoder, (N, M, C): those of its M masks."""


@contextmanager
def listening(model: Any) -> Iterator[Overheard]:
    heard, decoder = Overheard(), model.sam_mask_decoder
    first = 2 if decoder.pred_obj_scores else 1

    def levels(_: Any, __: Any, out: dict[str, list[Tensor]]) -> None:
        heard.levels = list(out["backbone_fpn"])  # `sam2` replaces members of the list that it returned

    def tokens(_: Any, __: Any, out: tuple[Tensor, Tensor]) -> None:
        heard.tokens.append(out[0][:, first : first + decoder.num_mask_tokens])

    handles = [model.image_encoder.register_forward_hook(levels), decoder.transformer.register_forward_hook(tokens)]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def asked_loss(grouping: Grouping, heard: Overheard, masks: Tensor) -> Tensor:
    """How far the tokens of B images with K objects, bool (B, K, S, S), are from asking for those objects' pixels."""
    embedded = grouping([level.float() for level in heard.levels])
    wanted = shares(masks, embedded) > 0.5  # (B, K, P)
    losses = []
    for tokens in heard.tokens:
        asked = grouping.ask(tokens.float()).reshape(len(masks), -1, embedded.shape[1])  # (B, K * M, D)
        losses.append(grouping.apart(asked, embedded, wanted.repeat_interleave(tokens.shape[1], dim=1)))
    return torch.stack(losses).mean()
