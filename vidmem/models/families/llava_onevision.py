"""LLaVA-OneVision: a Qwen2 text model with plain RoPE; every frame is 1 time mark and a square of tokens."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vidmem.kv.rope import text_positions
from vidmem.kv.tokens import Tokens
from vidmem.models.families.family import Family
from vidmem.types import View


class LlavaOneVision(Family):
    """Frames squashed to the tower's square, each preceded by `[MM:SS]` as the embedded model was taught."""

    model_type: ClassVar[str] = "llava_onevision"

    @property
    def tokens_per_picture(self) -> int:
        vision = self.model.config.vision_config
        side = -(-(vision.image_size // vision.patch_size) // 2)
        return side * side

    def _check_view(self, view: View | None) -> View:
        return self.only_square(view, self.model.config.vision_config.image_size)

    def see(self, pixels: Tensor) -> Tensor:
        features = self.model.get_video_features(pixels[None]).pooler_output[0]
        # Behind the last frame, transformers' newer versions put the newline row: a stream has no last frame.
        visual: Tensor = features[: len(pixels) * self.tokens_per_picture]
        return visual.view(len(pixels), self.tokens_per_picture, -1)

    def closing(self) -> Tokens:
        newline = self.model.model.image_newline[None].to(self.dtype)
        return Tokens(newline, text_positions(1, 1), torch.ones(1, dtype=torch.bool))
