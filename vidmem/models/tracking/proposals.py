"""What there is on a frame, without anybody pointing at it: a grid of clicks, and of their masks the good ones.

Source: SAM (Kirillov et al., ICCV 2023), section 5 and appendix B. The `sam2` package's own generator of masks takes
only models of 1024 pixels, and encodes the frame anew, with crops of it; here the tracker's features are used again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.memory.tracking.novelty import distinct
from vidmem.models.tracking.network import Features, Network
from vidmem.models.tracking.present import Size
from vidmem.models.tracking.results import PixelBox, at_frame_size, pixel_boxes

_STABLE_WITHIN = 1.0
"""Logits on either side of 0 between which a stable mask hardly changes, as in SAM."""


@dataclass(frozen=True, slots=True)
class ProposalConfig:
    """Where to click, and which masks are good enough. Raises BadInput on values that nothing could come of."""

    grid: int = 12
    """Clicks along a side of the frame. What is smaller than the distance between two may be missed."""
    clicks_at_once: int = 16
    """Clicks that are decoded together, which bounds the memory: at 1024 pixels in float32 each takes about 26 MB."""
    min_iou: float = 0.7
    """Predicted IoU of a good mask. SAM asks for 0.88 of everything there is; memory needs what is worth following."""
    min_stability: float = 0.9
    """IoU of the mask cut a little higher with the mask cut a little lower."""
    min_share: float = 0.002
    """Part of the frame that is more than a speck."""
    max_share: float = 0.5
    """Part of the frame from which on it is background."""
    max_iou: float = 0.7
    """Overlap above which two masks are of one thing."""

    def __post_init__(self) -> None:
        if min(self.grid, self.clicks_at_once) < 1:
            raise BadInput(f"proposals need clicks: grid = {self.grid}, clicks_at_once = {self.clicks_at_once}.")
        if not 0 <= self.min_share < self.max_share <= 1:
            raise BadInput(
                f"proposals need 0 <= min_share < max_share <= 1, not {self.min_share} and {self.max_share}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Something on a frame. Tensors are on the model's device."""

    low_res_logits: Tensor
    """Float32 (h, w) at a quarter of the network's square; above 0 is the thing."""
    mask: Tensor
    """Bool (H, W) at the frame's own size, not empty."""
    box: PixelBox
    """Around the mask."""
    score: float
    """How well the network thinks that the mask fits: predicted IoU."""


@dataclass(frozen=True, slots=True, eq=False)
class _Masks:
    """Low-resolution logits (n, h, w) and their scores (n,)."""

    logits: Tensor
    scores: Tensor


def propose(
    network: Network, features: Features, frame_size: Size, config: ProposalConfig, *, present_above: float
) -> list[Proposal]:
    """What a grid of single clicks finds on a frame, the best first; see `Tracker.propose`."""
    attended = network.without_memory(features)
    found = [
        _good(_clicked(network, features, attended, places, present_above=present_above), config)
        for places in _grid(config.grid, network).split(config.clicks_at_once)
    ]
    logits, scores = torch.cat([part.logits for part in found]), torch.cat([part.scores for part in found])
    kept = distinct(logits > 0, scores, max_iou=config.max_iou)
    # One after the other: at the frame's size, logits of all masks together may take a GB.
    made = (
        _proposal(low_res, score, frame_size)
        for low_res, score in zip(logits[kept], scores[kept].tolist(), strict=True)
    )
    return [proposal for proposal in made if proposal is not None]


def _grid(side: int, network: Network) -> Tensor:
    """The middles of equal parts of the network's square: (side * side, 2), x and y in its pixels."""
    middles = (torch.arange(side, device=network.device) + 0.5) * (network.square / side)
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)


def _clicked(network: Network, features: Features, attended: Tensor, places: Tensor, *, present_above: float) -> _Masks:
    """The best mask of each of B clicks (B, 2)."""
    count = len(places)
    decoded = network.decode(
        features,
        attended.expand(count, -1, -1, -1),
        present_above=present_above,
        points=(places[:, None], torch.ones(count, 1, dtype=torch.int32, device=places.device)),
        initial=True,
    )
    best = decoded.ious.argmax(dim=1)
    click = torch.arange(count, device=places.device)
    return _Masks(decoded.masks[click, best], decoded.ious[click, best])


def _good(masks: _Masks, config: ProposalConfig) -> _Masks:
    share = _area_above(masks.logits, 0.0) / masks.logits[0].numel()
    # An empty mask is stable, but no thing.
    stability = _area_above(masks.logits, _STABLE_WITHIN) / _area_above(masks.logits, -_STABLE_WITHIN).clamp(min=1)
    good = (
        (masks.scores >= config.min_iou)
        & (stability >= config.min_stability)
        & (share >= config.min_share)
        & (share <= config.max_share)
    )
    return _Masks(masks.logits[good], masks.scores[good])


def _area_above(logits: Tensor, cut: float) -> Tensor:
    return (logits > cut).flatten(1).sum(dim=1).float()


def _proposal(low_res: Tensor, score: float, frame_size: Size) -> Proposal | None:
    """None if the mask vanishes at the frame's size."""
    mask = at_frame_size(low_res[None, None], frame_size, overlap=True)
    (box,) = pixel_boxes(mask)
    return None if box is None else Proposal(low_res, mask[0], box, score)
