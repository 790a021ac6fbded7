"""The frame encoder: an open_clip model that puts frames and words into one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidmem.errors import MissingModel
from vidmem.models.folders import ENCODER_FILES, find_model, repository_of
from vidmem.models.preset import EncoderConfig
from vidmem.types import View

_FRAMES_AT_ONCE = 16
_PRECISION = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class FrameEncoder:
    """An open_clip model with its own normalisation, on one device.

    Frames arrive at `view`'s size, so that only normalisation is left of the model's preprocessing. Where a model was
    trained on centre crops, the whole frame is squashed instead: an archive's answer must not depend on what lies in
    the middle.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, revision: str, text_template: str = "{}") -> None:
        self.name, self.revision, self.text_template = name, revision, text_template
        self._model, self._tokenizer = model.eval().requires_grad_(False), tokenizer
        preprocess = model.visual.preprocess_cfg
        size = preprocess["size"]
        height, width = (size, size) if isinstance(size, int) else size
        self.view = View(width, height)
        weight = next(model.parameters())
        self._device, self._dtype = weight.device, weight.dtype
        self._mean = torch.tensor(preprocess["mean"], device=weight.device).view(1, 3, 1, 1)
        self._std = torch.tensor(preprocess["std"], device=weight.device).view(1, 3, 1, 1)
        self.scale = float(model.logit_scale.exp())
        """Nats that a cosine of 1 stood for in training."""
        self.dim = int(self.encode_text(["a"]).shape[1])

    @classmethod
    def load(
        cls,
        config: EncoderConfig,
        *,
        base: Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> FrameEncoder:
        """Load from a folder or from the local cache of the hub.

        Raises:
            MissingModel: files are not there, or don't fit each other.
            ModelMismatch: they are of another revision.
            BadInput: open_clip knows no such name.
        """
        import open_clip

        name = repository_of(config.model, config.pretrained) if config.pretrained else config.model
        folder = find_model(name, ENCODER_FILES, revision=config.revision, base=base)
        source = f"local-dir:{folder.path}"
        try:
            model = open_clip.create_model(source, precision=_PRECISION[dtype], device=device)
            tokenizer = open_clip.get_tokenizer(source)
        except (ValueError, RuntimeError, KeyError, OSError, AssertionError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MissingModel(
                f"the encoder in {folder.path} can't be loaded ({reason}): put complete files there."
            ) from error
        shown = config.model if not config.pretrained else f"{config.model}/{config.pretrained}"
        return cls(model, tokenizer, name=shown, revision=folder.revision, text_template=config.text_template)

    def encode_frames(self, images: np.ndarray | Tensor) -> Tensor:
        """Embed uint8 RGB images (F, H, W, 3) of `view`'s size: (F, C) float32, unit length, on the model's device."""
        pixels = torch.as_tensor(images).to(self._device)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (self.view.height, self.view.width, 3):
            wanted = (self.view.height, self.view.width, 3)
            raise ValueError(f"frames must be (F, {', '.join(map(str, wanted))}), got {tuple(pixels.shape)}")
        if len(pixels) == 0:
            return torch.empty(0, self.dim, device=self._device)
        return torch.cat([self._encode(part) for part in pixels.split(_FRAMES_AT_ONCE)])

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        normal = (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
        features = self._model.encode_image(normal.to(self._dtype))
        return torch.nn.functional.normalize(features.float(), dim=-1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed words, put into `text_template`: (n, C) float32 of unit length, on the model's device."""
        ids = self._tokenizer([self.text_template.format(text) for text in texts])
        with torch.no_grad():
            features = self._model.encode_text(ids.to(self._device))
        return torch.nn.functional.normalize(features.float(), dim=-1)
