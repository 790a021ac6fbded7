"""SmolVLM and SmolVLM2: a Llama text model with plain RoPE; a video is a list of pictures with times in the text."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vidmem.kv.tokens import Tokens
from vidmem.models.families.family import Family, Surround
from vidmem.types import View


class SmolVlm(Family):
    """Frames in the processor's own form, without its intro, which states a length that no stream knows."""

    model_type: ClassVar[str] = "smolvlm"
    around: ClassVar[Surround] = Surround(("<fake_token_around_image>", "<global-img>"), ("<fake_token_around_image>",))

    @property
    def tokens_per_picture(self) -> int:
        config = self.model.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        return int(side**2 // config.scale_factor**2)

    def _check_view(self, view: View | None) -> View:
        return self.only_square(view, self.model.config.vision_config.image_size)

    def see(self, pixels: Tensor) -> Tensor:
        # Pixels that are 0 throughout (mid-grey) count as padding and the picture would be left out without a word.
        blank = (pixels == 0).flatten(1).all(dim=1)
        pixels = pixels.masked_fill(blank[:, None, None, None], 1e-6)
        # One tensor for all pictures, or one for each, as transformers' versions have it.
        features = torch.cat(list(self.model.get_image_features(pixels[None]).pooler_output))
        return features.view(len(pixels), self.tokens_per_picture, -1)

    def label(self, seconds: float, *, hours: bool = False) -> str:
        # The processor knows no hours: minutes go on counting.
        return "{:02d}:{:02d}".format(*divmod(int(seconds), 60))

    def mark(self, label: str) -> str:
        return f"\nFrame from {label}:"

    def closing(self) -> Tokens:
        return self.text(self.ids("\n\n"))
