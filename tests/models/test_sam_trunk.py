"""The encoder that keeps what it says of places against the package's own, which makes or copies that each time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_sam import SMALL
from torch import Tensor

from vidmem.models.sam import sam_image_encoder

SIDE = SMALL.image_size


def encoders(seed: int = 0) -> tuple[Any, Any]:
    """Ours and the package's, with the same weights."""
    torch.manual_seed(seed)
    ours, theirs = (sam_image_encoder(SMALL, still=still).eval().requires_grad_(False) for still in (True, False))
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.1)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def pictures(side: int = SIDE) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(side))


def same(ours: Any, theirs: Any, pixels: Tensor) -> bool:
    here, there = ours(pixels), theirs(pixels)
    return all(
        torch.equal(left, right)
        for part in ("backbone_fpn", "vision_pos_enc")
        for left, right in zip(here[part], there[part], strict=True)
    )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_features_are_the_package_s_picture_after_picture(mode: Any) -> None:
    ours, theirs = encoders()
    with mode():
        assert all(same(ours, theirs, pictures(side)) for side in (SIDE, SIDE, 2 * SIDE, SIDE))


def test_positions_are_one_row_for_all_pictures() -> None:
    ours, _ = encoders()
    for _ in range(2):
        places = ours(pictures())["vision_pos_enc"]
        assert all(level.stride(0) == 0 for level in places)


def test_weights_that_change_are_seen() -> None:
    ours, theirs = encoders()
    ours(pictures())
    other = encoders(seed=1)[0].state_dict()
    for each in (ours, theirs):
        each.load_state_dict(other)
    assert same(ours, theirs, pictures())


def test_what_is_kept_under_inference_mode_serves_training_after_it() -> None:
    ours, theirs = encoders()
    with torch.inference_mode():
        ours(pictures())
    for each in (ours, theirs):
        each.requires_grad_(True)
        sum(level.square().sum() for level in each(pictures())["backbone_fpn"]).backward()
    assert torch.equal(ours.trunk.pos_embed.grad, theirs.trunk.pos_embed.grad)
    assert ours.trunk.pos_embed.grad.abs().sum() > 0
