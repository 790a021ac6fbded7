"""Qwen2.5-VL and Qwen3-VL: M-RoPE on three axes; two frames make a picture of any size, between vision marks."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv.copies import lift
from vidmem.kv.rope import grid_positions
from vidmem.kv.tokens import Tokens
from vidmem.models.families.family import Family, Surround
from vidmem.models.towers import encode, prepare
from vidmem.types import View

_DEFAULT_SIDE = 448


class Qwen25Vl(Family):
    """Every temporal patch is a segment of its own behind a time mark, as Qwen3-VL has it.

    Stock Qwen2.5-VL makes one segment of a whole video, whose time axis counts on while rows and columns start again.
    Blocks that can stand anywhere need a place each; within one the model sees what it sees for a video of two frames.

    A sampled frame is a block of its own (decision 8), so it is shown twice (`encode`), as the processors of these
    models fill a temporal patch with a still image.
    """

    model_type: ClassVar[str] = "qwen2_5_vl"
    frames_per_block: ClassVar[int] = 2
    num_axes: ClassVar[int] = 3
    around: ClassVar[Surround] = Surround(("<|vision_start|>",), ("<|vision_end|>",))

    def __init__(self, model: Any, *args: Any, **options: Any) -> None:
        prepare(model.model.visual)
        super().__init__(model, *args, **options)

    @property
    def _grid(self) -> tuple[int, int]:
        """Patches in height and width."""
        side = self.model.config.vision_config.patch_size
        return self.view.height // side, self.view.width // side

    @property
    def tokens_per_picture(self) -> int:
        height, width = self._grid
        return int(height * width // self.model.config.vision_config.spatial_merge_size**2)

    def _check_view(self, view: View | None) -> View:
        vision = self.model.config.vision_config
        unit = vision.patch_size * vision.spatial_merge_size
        view = view or View(_DEFAULT_SIDE, _DEFAULT_SIDE)
        if view.width % unit or view.height % unit or not view.width * view.height:
            fitting = max(unit, unit * round(view.width / unit))
            raise BadInput(
                f"{self.model_type} sees pictures whose sides are multiples of {unit}, not {view.width} x "
                f"{view.height}: say `side = {fitting}` under [language] in the preset."
            )
        return view

    @cached_property
    def pattern(self) -> Tensor:
        merge = self.model.config.vision_config.spatial_merge_size
        height, width = self._grid
        return grid_positions(height // merge, width // merge)

    def see(self, pixels: Tensor) -> Tensor:
        num_pictures = len(pixels) // self.frames_per_block
        features = encode(self.model, self._patches(pixels), num_pictures, *self._grid)
        rows = torch.cat([torch.cat(list(features.pooler_output)), *self._deepstack(features)], dim=-1)
        return rows.view(num_pictures, self.tokens_per_picture, self.token_dim)

    def _deepstack(self, features: Any) -> list[Tensor]:
        """What the first layers add to the tokens of all pictures, level by level."""
        return []

    def _patches(self, pixels: Tensor) -> Tensor:
        """Cut frames (F, 3, H, W) into the tower's patches (N, 3 * 2 * side * side), merge group by merge group.

        The order is that of transformers' `Qwen2VLVideoProcessor`, which would choose a picture size of its own.
        """
        vision = self.model.config.vision_config
        side, merge = vision.patch_size, vision.spatial_merge_size
        height, width = self._grid
        times = len(pixels) // self.frames_per_block
        cut = pixels.view(
            times, self.frames_per_block, 3, height // merge, merge, side, width // merge, merge, side
        )  # fmt: skip
        return cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(times * height * width, -1)


class Qwen3Vl(Qwen25Vl):
    """Qwen2.5-VL's pictures with interleaved axes, the model's own time marks, and DeepStack rows."""

    model_type: ClassVar[str] = "qwen3_vl"
    interleaved: ClassVar[bool] = True

    @property
    def num_deepstack(self) -> int:
        return len(self.model.config.vision_config.deepstack_visual_indexes)

    def _deepstack(self, features: Any) -> list[Tensor]:
        # One tensor a level, or one for each video of it, as transformers' versions have it.
        return [level if isinstance(level, Tensor) else torch.cat(level) for level in features.deepstack_features]

    def label(self, seconds: float, *, hours: bool = False) -> str:
        return f"{seconds:.1f} seconds"

    def mark(self, label: str) -> str:
        return f"<{label}>"

    def visual(self, tokens: Tokens) -> dict[str, Any]:
        if tokens.deepstack is None:
            return {}
        # The model would look for the places of a mask on the device, and wait for it in each of these layers. The rows
        # go to the batch's only sequence as a whole instead, with zeros where text stands.
        places = lift(tokens.is_visual.nonzero().squeeze(1), tokens.embeds.device)
        rows = tokens.deepstack.new_zeros(len(tokens.deepstack), *tokens.embeds.shape)
        rows[:, places] = tokens.deepstack
        return {"visual_pos_masks": places.new_zeros(1), "deepstack_visual_embeds": list(rows)}
