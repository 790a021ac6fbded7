"""Qwen's vision towers over many pictures of one size, without a loop over them and without waiting for the device.

A tower takes its pictures as one sequence that falls into segments which attend to themselves alone: pictures, and in
most layers of Qwen2.5-VL windows of 8 x 8 patches. Where FlashAttention's own package is missing, transformers loops
over the segments, layer by layer, and reads their lengths off the device each time: 16 pictures of 448 x 448 are 7,172
calls of attention. Pictures of one size fall into segments of one length, which go through attention as one batch.

What transformers would compute from the grid on the device is computed on the host, once for each number of pictures,
and handed over under the names that `transformers.vision_utils` takes it by.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "vidmem_tower"
_KEYWORD = "segments"


@dataclass(frozen=True, slots=True)
class Segments:
    """How the patches of a call fall apart."""

    picture: int
    """Patches of a picture."""
    window: int
    """Patches of a window, in the layers that have them."""
    windowed: frozenset[int]
    """Of the attention modules with windows: their `id`."""

    def length(self, module: nn.Module) -> int:
        return self.window if id(module) in self.windowed else self.picture


@dataclass(frozen=True, slots=True)
class _Grid:
    """Pictures of one size in patches, as a tower sees them."""

    num_pictures: int
    height: int
    width: int

    @property
    def thw(self) -> Tensor:
        """As transformers has it, in host memory: every picture is a video of one temporal patch."""
        return torch.tensor([[1, self.height, self.width]] * self.num_pictures)

    @property
    def num_patches(self) -> int:
        return self.num_pictures * self.height * self.width


def prepare(tower: Any) -> None:
    """Let `encode` take over a tower's attention where it runs it, unless the tower has an own kernel."""
    from transformers import AttentionInterface

    if tower.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, _attention)
        tower.set_attn_implementation(NAME)


def encode(model: Any, patches: Tensor, num_pictures: int, height: int, width: int) -> Any:
    """`get_video_features` of pictures of height x width patches, each a video of its own: the same, faster.

    Args:
        patches: (pictures * height * width, numbers of a patch), merge group by merge group.
    """
    tower, grid = model.model.visual, _Grid(num_pictures, height, width)
    shape = _Shape.of(tower)
    segments = _segments(tower, shape, grid)
    if tower.config._attn_implementation != NAME or segments is None:
        return model.get_video_features(patches, grid.thw.to(patches.device))
    # To transformers it is one segment; the attention function knows better.
    whole = torch.tensor([0, grid.num_patches], dtype=torch.int32)
    given = {"cu_seqlens": whole, **_places(shape, grid, patches.device), _KEYWORD: segments}
    if segments.windowed:
        given["cu_window_seqlens"] = whole
    return model.get_video_features(patches, grid.thw, **given)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a tower's places depend on, besides its pictures."""

    merge: int
    patch: int
    window: int | None
    """Pixels along a side of a window; None in towers without windows."""
    table_side: int | None
    """Of the square table of learned positions; None in towers without one."""
    mode: str
    align_corners: bool

    @classmethod
    def of(cls, tower: Any) -> _Shape:
        config = tower.config
        return cls(
            merge=int(config.spatial_merge_size),
            patch=int(config.patch_size),
            window=int(config.window_size) if hasattr(config, "fullatt_block_indexes") else None,
            table_side=getattr(tower, "num_grid_per_side", None),
            mode=getattr(tower, "interpolation_mode", "bilinear"),
            align_corners=getattr(tower, "interpolation_align_corners", True),
        )


def _segments(tower: Any, shape: _Shape, grid: _Grid) -> Segments | None:
    """None where windows would differ in length."""
    picture = grid.height * grid.width
    if shape.window is None:
        return Segments(picture, picture, frozenset())
    side = shape.window // shape.merge // shape.patch * shape.merge  # in patches
    if grid.height % side or grid.width % side:
        return None
    whole = tower.config.fullatt_block_indexes
    windowed = (block.attn for index, block in enumerate(tower.blocks) if index not in whole)
    return Segments(picture, side * side, frozenset(map(id, windowed)))


@lru_cache(maxsize=16)
def _places(shape: _Shape, grid: _Grid, device: torch.device) -> dict[str, Tensor]:
    """What a tower makes of its grid, on the device."""
    from transformers import vision_utils

    places = {"position_ids": vision_utils.get_vision_position_ids(grid.thw, shape.merge)}
    if shape.window is not None:
        order, _ = vision_utils.get_vision_window_index(grid.thw, shape.merge, shape.window, shape.patch)
        places["window_index"] = order
    if shape.table_side is not None:
        indices, weights = vision_utils.get_vision_interpolation_indices_and_weights(
            grid.thw,
            shape.table_side,
            mode=shape.mode,
            align_corners=shape.align_corners,
            spatial_merge_size=shape.merge,
        )
        places |= {"interp_indices": indices, "interp_weights": weights}
    return {name: tensor.to(device) for name, tensor in places.items()}


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Segments | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of (1, H, N, D) within each segment: (1, N, H, D)."""
    if segments is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    length = segments.length(module)
    queries, keys, values = (states[0].unflatten(1, (-1, length)).transpose(0, 1) for states in (query, key, value))
    out = functional.scaled_dot_product_attention(queries, keys, values, scale=scaling)  # (segments, H, length, D)
    return out.transpose(1, 2).flatten(0, 1)[None], None
