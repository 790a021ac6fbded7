"""How the tracker's memory begins: it finds what looks alike in past frames, and brings back whether it was masked."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_SHARPNESS = 1.4
"""Of queries and keys, which are the features themselves at first: the same feature then gets most of the attention."""


@torch.no_grad()
def begin_remembering(model: Any) -> None:
    """Let the memory encoder keep features beside masks, and the memory attention compare and bring back features.

    As `sam2` draws them, both mix features at random, and nothing is brought back that a mask could be made of.
    """
    encoder = model.memory_encoder
    nn.init.dirac_(encoder.pix_feat_proj.weight)
    nn.init.zeros_(encoder.pix_feat_proj.bias)
    channels = encoder.pix_feat_proj.in_channels
    kept = torch.eye(channels)  # (C', C): what is kept of a feature
    if isinstance(encoder.out_proj, nn.Conv2d):
        kept = nn.init.orthogonal_(torch.empty(encoder.out_proj.out_channels, channels))
        encoder.out_proj.weight.copy_(kept[..., None, None])
        nn.init.zeros_(encoder.out_proj.bias)  # type: ignore[arg-type]
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        attention.q_proj.weight.copy_(_SHARPNESS * torch.eye(channels))
        attention.k_proj.weight.copy_(_SHARPNESS * kept.T)
        attention.v_proj.weight.copy_(kept.T)
        attention.out_proj.weight.copy_(torch.eye(channels))
        for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            part.bias.zero_()
