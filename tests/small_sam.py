"""A SAM 2 that is trained and followed with in a moment: its sizes."""

from __future__ import annotations

from vidmem.models.sam_config import (
    BaseConfig,
    MemoryAttentionConfig,
    MemoryEncoderConfig,
    NeckConfig,
    SamConfig,
    TrunkConfig,
)

SMALL = SamConfig(
    image_size=64,
    d_model=32,
    trunk=TrunkConfig(
        embed_dim=16, stages=(1, 1, 2), window_spec=(8, 4, 2), global_att_blocks=(3,),
        window_pos_embed_bkg_spatial_size=(4, 4),
    ),
    neck=NeckConfig(fpn_top_down_levels=(2,), scalp=0),
    memory_attention=MemoryAttentionConfig(num_layers=1, dim_feedforward=64, dropout=0.0),
    memory_encoder=MemoryEncoderConfig(out_dim=16, num_layers=1, layer_scale_init_value=0.1),
    base=BaseConfig(max_cond_frames_in_attn=4),
)  # fmt: skip
