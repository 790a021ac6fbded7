"""Qwen's vision towers over a batch of pictures, against transformers' own way."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from vidmem.bench.device_models import SIZES, random_weights
from vidmem.bench.device_rates import counted_operations
from vidmem.bench.random_families import random_model
from vidmem.models import towers

FAMILIES = ("qwen2_5_vl", "qwen3_vl")


def noise(model: Any, num_pictures: int, height: int, width: int) -> Tensor:
    config = model.config.vision_config
    numbers = 3 * config.temporal_patch_size * config.patch_size**2
    return torch.randn(num_pictures * height * width, numbers, generator=torch.manual_seed(0))


def deepstack(features: Any) -> list[Tensor]:
    levels = getattr(features, "deepstack_features", None) or []
    return [level if isinstance(level, Tensor) else torch.cat(level) for level in levels]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("num_pictures", "height", "width"), [(1, 4, 4), (3, 8, 4), (5, 8, 8)])
def test_a_batch_of_pictures_is_what_transformers_makes_of_it(
    family: str, num_pictures: int, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, model = random_model(family), deepcopy(random_model(family))
    stock = deepcopy(stock)
    stock.model.visual.set_attn_implementation("sdpa")
    towers.prepare(model.model.visual)
    patches = noise(model, num_pictures, height, width)
    grid = torch.tensor([[1, height, width]] * num_pictures)
    with torch.no_grad():
        right = stock.get_video_features(patches, grid)
        calls = []
        attend = torch.nn.functional.scaled_dot_product_attention
        monkeypatch.setattr(
            torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or attend(*a, **k)
        )
        ours = towers.encode(model, patches, num_pictures, height, width)
    assert len(calls) == len(model.model.visual.blocks)  # one call a layer, however many segments
    for mine, theirs in zip(ours.pooler_output, right.pooler_output, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    for mine, theirs in zip(deepstack(ours), deepstack(right), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_windows_of_different_sizes_go_the_stock_way() -> None:
    model = deepcopy(random_model("qwen2_5_vl"))
    towers.prepare(model.model.visual)
    patches, grid = noise(model, 2, 4, 6), torch.tensor([[1, 4, 6]] * 2)
    with torch.no_grad():
        ours = towers.encode(model, patches, 2, 4, 6)
        right = model.get_video_features(patches, grid)
    assert all(map(torch.equal, ours.pooler_output, right.pooler_output))


def test_a_tower_with_a_kernel_of_its_own_keeps_it() -> None:
    model = deepcopy(random_model("qwen3_vl"))
    model.model.visual.set_attn_implementation("eager")
    towers.prepare(model.model.visual)
    assert model.model.visual.config._attn_implementation == "eager"


@pytest.mark.parametrize(("name", "teraflops"), [("qwen2.5-vl-7b", 0.66), ("qwen3-vl-8b", 0.39)])
def test_a_tower_of_full_size_never_asks_its_device_for_a_number(name: str, teraflops: float) -> None:
    """The meta device has none to give: whatever waits for a GPU fails here.

    Operations are those of research/performance.md, which leaves out the 0.03 of Qwen3-VL's four mergers.
    """
    model = random_weights(SIZES[name].config(), torch.device("meta"), torch.bfloat16)
    towers.prepare(model.model.visual)
    side = 448 // model.config.vision_config.patch_size
    patches = noise(model, 1, side, side).repeat(3, 1).to("meta", torch.bfloat16)
    with torch.no_grad():
        operations = counted_operations(lambda: towers.encode(model, patches, 3, side, side))
    assert operations / (3 * 2) / 1e12 == pytest.approx(teraflops, rel=0.03)
