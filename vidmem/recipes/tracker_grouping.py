"""What the image encoder learns before anything points: which pixels belong together.

A decoder over features that say nothing learns nothing for thousands of steps. So features first become embeddings:
near each other within an object, far from all others. What makes them so is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidmem.recipes.tracker_loss import dice_loss

_WIDTH = 32
_CROSS_WEIGHT = 5.0
_LEAST_OF_COARSE = 0.3
"""Part of a pixel of the coarsest level that an object must cover to have it: it may cover none whole."""
_NEAR = 4.0
"""The logit of two pixels with one embedding, before it is learned."""


class Grouping(nn.Module):
    """One embedding a pixel of the finest level, out of all levels of an image encoder with `channels`."""

    def __init__(self, channels: int, levels: int = 3) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for _ in range(levels))
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.coarse = nn.Conv2d(channels, _WIDTH, 1)
        self.ask = nn.Linear(channels, _WIDTH)
        """Makes an embedding of a mask decoder's token: see `vidmem.recipes.tracker_pointing`."""
        self.near = nn.Parameter(torch.tensor(_NEAR))

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Levels (B, C, H, W), the finest first, as (B, D, H, W) of the finest."""
        return all_levels(self.heads, levels)

    def loss(self, levels: list[Tensor], masks: Tensor) -> Tensor:
        """Of B images with K objects each, bool (B, K, S, S): one pixel of each object, drawn from torch's global
        generator, should be near all of the object's and no others. So it should be by the coarsest level alone, which
        memory is made of."""
        fine, coarse = self(levels), self.coarse(levels[-1])
        return self._loss(fine, masks, least=0.5) + self._loss(coarse, masks, least=_LEAST_OF_COARSE)

    def _loss(self, embedded: Tensor, masks: Tensor, *, least: float) -> Tensor:
        share = shares(masks, embedded)
        drawn = (share * torch.rand_like(share)).argmax(-1)  # (B, K)
        asked = embedded.flatten(2).gather(2, drawn[:, None].expand(-1, _WIDTH, -1)).transpose(1, 2)
        return self.apart(asked, embedded, share > least)

    def apart(self, asked: Tensor, embedded: Tensor, wanted: Tensor) -> Tensor:
        """How far Q embeddings (B, Q, D) are from being near what they ask for, and nothing else.

        Args:
            embedded: (B, D, H, W), of pixels.
            wanted: bool (B, Q, H * W), what is asked for.
        """
        logits = self.near - torch.cdist(asked, embedded.flatten(2).transpose(1, 2)) ** 2 * self.log_scale.exp()
        cross = functional.binary_cross_entropy_with_logits(logits, wanted.float())
        return dice_loss(logits, wanted.float()).mean() + _CROSS_WEIGHT * cross


def all_levels(heads: Iterable[nn.Module], levels: list[Tensor]) -> Tensor:
    """What a head makes of each level, the finest first, at the finest one's size: their sum."""
    made = (head(level) for head, level in zip(heads, levels, strict=True))
    size = levels[0].shape[-2:]
    return torch.stack([functional.interpolate(one, size=size, mode="bilinear") for one in made]).sum(0)


def shares(masks: Tensor, embedded: Tensor) -> Tensor:
    """What part of each pixel of embeddings (B, D, H, W) masks (B, K, S, S) cover: (B, K, H * W)."""
    height, width = embedded.shape[-2:]
    return functional.adaptive_avg_pool2d(masks.float(), (height, width)).flatten(2)
