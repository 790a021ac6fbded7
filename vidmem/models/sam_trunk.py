"""Hiera as `sam2` has it, but for what it works out anew for each frame though it is always the same."""

from __future__ import annotations

import torch
from sam2.modeling.backbones.hieradet import Hiera
from torch import Tensor


class StillHiera(Hiera):
    """Keeps the embedding of places while its weights are frozen: stretching it was 6 % of a tiny encoder's time."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._kept: tuple[object, Tensor] | None = None

    def _get_pos_embed(self, hw: tuple[int, int]) -> Tensor:
        """(1, H, W, C) for features of that height and width."""
        parts = (self.pos_embed, self.pos_embed_window)
        if any(part.requires_grad for part in parts):
            return super()._get_pos_embed(hw)
        of = (tuple(hw), *((id(part), part._version, part.device, part.dtype) for part in parts))
        if self._kept is None or self._kept[0] != of:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = (of, super()._get_pos_embed(hw))
        return self._kept[1]
