"""What the image encoder learns before anything points: which pixels belong together.

A decoder over features that say nothing learns nothing for thousands of steps. So features first become embeddings:
near each other within an object, far from all others. What makes them so is thrown away.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidmem.recipes.tracker_loss import dice_loss

_WIDTH = 32
_CROSS_WEIGHT = 5.0
_NEAR = 4.0
"""The logit of two pixels with one embedding, before it is learned."""


class Grouping(nn.Module):
    """One embedding a pixel of the finest level, out of all levels of an image encoder with `channels`."""

    def __init__(self, channels: int, levels: int = 3) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for _ in range(levels))
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.ask = nn.Linear(channels, _WIDTH)
        """Makes an embedding of a mask decoder's token: see `vidmem.recipes.tracker_pointing`."""
        self.near = nn.Parameter(torch.tensor(_NEAR))

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Levels (B, C, H, W), the finest first, as (B, D, H, W) of the finest."""
        size = levels[0].shape[-2:]
        made = (head(level) for head, level in zip(self.heads, levels, strict=True))
        return torch.stack([functional.interpolate(one, size=size, mode="bilinear") for one in made]).sum(0)

    def loss(self, encoder: Any, pixels: Tensor, masks: Tensor) -> Tensor:
        """Of B images with K objects each, bool (B, K, S, S): one pixel of each object, drawn from torch's global
        generator, should be near all of the object's and no others."""
        embedded = self(encoder(pixels)["backbone_fpn"])
        share = functional.adaptive_avg_pool2d(masks.float(), embedded.shape[-2:]).flatten(2)  # (B, K, P)
        drawn = (share * torch.rand_like(share)).argmax(-1)  # (B, K)
        asked = embedded.flatten(2).gather(2, drawn[:, None].expand(-1, _WIDTH, -1)).transpose(1, 2)
        return self.apart(asked, embedded, share)

    def apart(self, asked: Tensor, embedded: Tensor, share: Tensor) -> Tensor:
        """How far Q embeddings (B, Q, D) are from being near what they ask for, and nothing else.

        Args:
            embedded: (B, D, H, W), of pixels.
            share: (B, Q, H * W), of each pixel that belongs to what is asked for.
        """
        logits = self.near - torch.cdist(asked, embedded.flatten(2).transpose(1, 2)) ** 2 * self.log_scale.exp()
        wanted = (share > 0.5).float()
        cross = functional.binary_cross_entropy_with_logits(logits, wanted)
        return dice_loss(logits, wanted).mean() + _CROSS_WEIGHT * cross
