"""What a segmentation network hands to XMem's memory: keys, recurrent (sensory) state, object probabilities.

Pure functions; the weights are the network's.

Source: XMem (Cheng and Schwing, ECCV 2022), sections 3.1, 3.2 and supplement, and its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Convolution(NamedTuple):
    """Weights (out, in, k, k), k odd, and bias (out,) of a convolution that keeps height and width."""

    weight: Tensor
    bias: Tensor

    def apply(self, image: Tensor) -> Tensor:
        return functional.conv2d(image, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


@dataclass(frozen=True, slots=True, eq=False)
class FrameKeys:
    """What one frame's features become in memory: all (B, channels, H, W)."""

    key: Tensor
    shrinkage: Tensor
    """One channel, at least 1. Belongs to the side of memory."""
    selection: Tensor
    """As many channels as `key`, in (0, 1). Belongs to the side of the query."""


def project_keys(features: Tensor, key: Convolution, shrinkage: Convolution, selection: Convolution) -> FrameKeys:
    """Turn image features (B, channels, H, W) at stride 16 into key, shrinkage and selection."""
    return FrameKeys(
        key=key.apply(features),
        shrinkage=shrinkage.apply(features).square() + 1,
        selection=selection.apply(features).sigmoid(),
    )


def fuse_scales(scales: Sequence[Tensor], convolutions: Sequence[Convolution]) -> Tensor:
    """Bring decoder features to the coarsest scale and add them up: the input of the normal sensory update.

    Args:
        scales: (objects, channels, H, W), the coarsest first; the others are larger by a whole factor and are
            averaged down over areas.
        convolutions: one for each scale, with one number of output channels.
    """
    size = scales[0].shape[-2:]
    parts = [
        convolution.apply(functional.interpolate(scale, size=size, mode="area"))
        for scale, convolution in zip(scales, convolutions, strict=True)
    ]
    return torch.stack(parts).sum(dim=0)


def update_sensory(state: Tensor, change: Tensor, transform: Convolution) -> Tensor:
    """Next recurrent state (objects, hidden, H, W) from the last one and an input (objects, channels, H, W).

    Not a standard GRU: one convolution gives both gates and the candidate, which sees the ungated state, and the forget
    gate acts on what is carried over alone: `h' = f h (1 - u) + u c`. The normal update feeds `fuse_scales`, the deep
    update the value just encoded.

    Args:
        transform: from input and state, in this order, to three times the hidden channels.
    """
    forget, update, candidate = transform.apply(torch.cat([change, state], dim=1)).chunk(3, dim=1)
    update = update.sigmoid()
    return forget.sigmoid() * state * (1 - update) + update * candidate.tanh()


@dataclass(frozen=True, slots=True, eq=False)
class Aggregation:
    """Probabilities of background (index 0) and objects that sum to 1, and the logits they come from."""

    logits: Tensor
    probability: Tensor


def aggregate_objects(probability: Tensor, *, dim: int = 1) -> Aggregation:
    """Make independent foreground probabilities of n objects along `dim` into one distribution over n + 1."""
    background = (1 - probability).prod(dim=dim, keepdim=True)
    clamped = torch.cat([background, probability], dim=dim).clamp(1e-7, 1 - 1e-7)
    logits = (clamped / (1 - clamped)).log()
    return Aggregation(logits, logits.softmax(dim=dim))


class Padding(NamedTuple):
    """Rows and columns of zeros on each side of an image, in the order `torch.nn.functional.pad` takes them."""

    left: int
    right: int
    top: int
    bottom: int


def padding_to_stride(height: int, width: int, *, stride: int = 16) -> Padding:
    """What brings both sides to multiples of `stride`, the smaller half on the low side."""
    lacking_height, lacking_width = -height % stride, -width % stride
    left, top = lacking_width // 2, lacking_height // 2
    return Padding(left, lacking_width - left, top, lacking_height - top)
