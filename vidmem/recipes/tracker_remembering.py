"""How the tracker's memory begins: it finds what looks alike in past frames, and brings back whether it was masked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_SHARPNESS = 1.4
"""Of queries and keys, which are the features themselves at first; sharper ones find less."""
_GAIN = 3.0
"""Of what says that a place was masked, against half of its feature, when both are brought back."""


@torch.no_grad()
def begin_remembering(model: Any) -> None:
    """Let the memory encoder keep the mask in channels of its own, and the memory attention compare features alone.

    As `sam2` draws them, both mix features, mask and place at random: attention then goes to what was masked, not to
    what looks alike, and what comes back hardly says which it was. Draws from torch's generator.
    """
    encoder = model.memory_encoder
    channels = encoder.pix_feat_proj.in_channels
    code = max(1, channels // 12)  # the last ones of a feature's channels give way to the mask
    told, seen = _directions(model, code)  # of memory: (code, D) and (F, D)
    look = nn.init.orthogonal_(torch.empty(len(seen), channels - code))  # what memory keeps of a feature

    nn.init.dirac_(encoder.pix_feat_proj.weight)
    encoder.pix_feat_proj.weight[channels - code :] = 0
    last = encoder.mask_downsampler.encoder[-1]
    last.weight[: channels - code] = 0
    if isinstance(encoder.out_proj, nn.Conv2d):
        encoder.out_proj.weight.copy_(torch.cat([seen.T @ look, told.T], dim=1)[..., None, None])
    biased = [encoder.pix_feat_proj, last, encoder.out_proj]
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        attention.q_proj.weight.copy_(_SHARPNESS * torch.eye(channels))
        attention.q_proj.weight[channels - code :] = 0
        nothing = torch.zeros_like(told)
        attention.k_proj.weight.copy_(_SHARPNESS * torch.cat([look.T @ seen, nothing]))
        attention.v_proj.weight.copy_(torch.cat([look.T @ seen / 2, _GAIN * told]))
        attention.out_proj.weight.copy_(torch.eye(channels))
        biased += [attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj]
    for part in biased:
        if getattr(part, "bias", None) is not None:
            nn.init.zeros_(part.bias)


def _directions(model: Any, code: int) -> tuple[Tensor, Tensor]:
    """Directions of memory, orthonormal rows: for the mask, and for features. Both keep off those that places take most
    of: the place of a memory is added to its key."""
    side = model.sam_image_embedding_size
    places = model.memory_encoder.position_encoding(torch.empty(1, 1, side, side))[0].flatten(1).T  # (HW, D)
    directions = torch.linalg.svd(places - places.mean(0), full_matrices=True).Vh
    free = directions[len(directions) // 6 :]
    return free[:code], free[code:]
