"""What the image encoder learns beside its masks: what each pixel shows, of all things that the world knows.

Masks say which pixels belong together in one picture. That a thing is the same a second later, elsewhere, larger and
turned, they hardly say, and memory, which is made of the coarsest level, has to know.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidmem.recipes.tracker_grouping import all_levels
from vidmem.world.script import THINGS

NUM_NAMES = len(THINGS) + 1
"""0 is what is no thing."""
_BACKGROUND_WEIGHT = 0.1
_STRIDE = 4
"""Pixels of a picture along a side of one of the finest level."""


class Naming(nn.Module):
    """Names for the pixels of the finest level, out of all levels of an image encoder with `channels`; and for those of
    the coarsest, out of that one alone. What it learnt is thrown away."""

    def __init__(self, channels: int, levels: int = 3) -> None:
        super().__init__()
        self.fine = nn.ModuleList(nn.Conv2d(channels, NUM_NAMES, 1) for _ in range(levels))
        self.coarse = nn.Conv2d(channels, NUM_NAMES, 1)

    def loss(self, levels: list[Tensor], names: Tensor) -> Tensor:
        """How badly levels (B, C, H, W), the finest first, tell what pixels show: `names` (B, S, S), 0 or 1 + a thing's
        index."""
        middle = _STRIDE // 2
        at_fine = functional.one_hot(names[:, middle::_STRIDE, middle::_STRIDE].long(), NUM_NAMES)
        at_fine = at_fine.permute(0, 3, 1, 2).float()
        height, width = levels[-1].shape[-2:]
        at_coarse = functional.adaptive_avg_pool2d(at_fine, (height, width))
        return self._off(all_levels(self.fine, levels), at_fine) + self._off(self.coarse(levels[-1]), at_coarse)

    def _off(self, told: Tensor, shares: Tensor) -> Tensor:
        """Cross-entropy against what part of each pixel each name has; things weigh more than what is none."""
        weights = torch.ones(NUM_NAMES, 1, 1, device=shares.device)
        weights[0] = _BACKGROUND_WEIGHT
        wanted = shares * weights
        return -(wanted * functional.log_softmax(told.float(), dim=1)).sum() / wanted.sum()
