"""A small random SAM 2 that looks at its memory, and a clip for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vidmem.models.sam import build_sam
from vidmem.models.sam_config import (
    BaseConfig,
    MemoryAttentionConfig,
    MemoryEncoderConfig,
    SamConfig,
    StabilityConfig,
    TrunkConfig,
)

HEIGHT, WIDTH = 60, 90


def small_config(*, stability: bool = False, **base: Any) -> SamConfig:
    return SamConfig(
        image_size=64,
        d_model=32,
        trunk=TrunkConfig(
            embed_dim=8, stages=(1, 1, 2, 1), window_spec=(4, 4, 4, 2), global_att_blocks=(3,),
            window_pos_embed_bkg_spatial_size=(4, 4),
        ),
        memory_attention=MemoryAttentionConfig(num_layers=2, dim_feedforward=64),
        memory_encoder=MemoryEncoderConfig(out_dim=16, num_layers=1),
        stability=StabilityConfig(dynamic_multimask_via_stability=stability),
        base=BaseConfig(**base),
    )  # fmt: skip


def lively_sam(config: SamConfig, *, seed: int = 0, absent_below: float | None = None) -> Any:
    """Random weights, enlarged where memory comes in: without that a random SAM 2 hardly looks at it.

    Args:
        absent_below: object scores are spread, and moved so that this one becomes 0; None leaves all above 0.
    """
    torch.manual_seed(seed)
    model = build_sam(config).eval().requires_grad_(False)
    for layer in model.memory_attention.layers:
        for part in ("q_proj", "k_proj", "v_proj"):
            getattr(layer.cross_attn_image, part).weight.mul_(4)
    model.maskmem_tpos_enc.mul_(50)
    model.memory_encoder.out_proj.weight.mul_(3)
    for layer in model.memory_encoder.fuser.layers:
        layer.gamma.fill_(0.5)
    if absent_below is not None:
        head = model.sam_mask_decoder.pred_obj_score_head.layers[-1]
        head.weight.mul_(50)
        head.bias.mul_(50).sub_(50 * absent_below)
    return model


def moving_clip(num_frames: int, *, seed: int = 0) -> list[np.ndarray]:
    """A red and a blue box that move over noise, uint8 RGB."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(num_frames):
        frame = (rng.random((HEIGHT, WIDTH, 3)) * 60).astype(np.uint8)
        right = 20 + index % 40
        frame[10:30, right : right + 25] = 200, 40, 40
        frame[30:50, max(0, 60 - index) : 80 - index % 70] = 20, 60, 220
        frames.append(frame)
    return frames
