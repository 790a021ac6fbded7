"""Parts of `sam2` as it has them, but for what they work out, or copy, anew for each frame though it is the same."""

from __future__ import annotations

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.position_encoding import PositionEmbeddingSine
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


class StillPositions(PositionEmbeddingSine):
    """Gives the places that it keeps as they are: copies of them, of which the tracker reads one in four, were 4 % of a
    tiny tracker's time."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) for features of that height and width, one row for all B: not to be written to."""
        side = (x.shape[-2], x.shape[-1])
        if side not in self.cache:
            with torch.inference_mode(False):
                super().forward(x[:1])
        return self.cache[side].to(x.device)[None].expand(len(x), -1, -1, -1)
