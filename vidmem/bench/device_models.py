"""Models of public sizes with random weights, made on the device that runs them: speed does not depend on weights.

The sizes are those of the checkpoints' public configurations on the Hugging Face hub (`config.json` of
`llava-hf/llava-onevision-qwen2-7b-ov-hf`, `Qwen/Qwen2.5-VL-7B-Instruct` and `Qwen/Qwen3-VL-8B-Instruct`). The
tokenizer is the small one of `random_families`, whose ids all lie in the real vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from vidmem.bench.random_families import random_model, token_id, tokenizer
from vidmem.models.families.family import Family
from vidmem.models.families.registry import FAMILIES
from vidmem.types import View

QWEN2_7B: dict[str, Any] = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "max_position_embeddings": 32768,
}  # fmt: skip
QWEN3_8B: dict[str, Any] = {
    "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262144,
}  # fmt: skip
SIGLIP_SO400M: dict[str, Any] = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26, "num_attention_heads": 16,
    "image_size": 384, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
QWEN2_5_VL_TOWER: dict[str, Any] = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
    "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112, "patch_size": 14,
}  # fmt: skip
QWEN3_VL_TOWER: dict[str, Any] = {
    "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "out_hidden_size": 4096,
    "num_position_embeddings": 2304, "deepstack_visual_indexes": [8, 16, 24], "patch_size": 16,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Size:
    """One public model: its family, its configuration, and the pictures it is shown."""

    family: str
    config: Callable[[], Any]
    view: View | None
    """None is the model's own: LLaVA-OneVision's tower sees 384 x 384 alone."""
    small_view: View | None
    """Of the small model of its family."""


def _ids() -> dict[str, Any]:
    words = tokenizer()
    return {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}


def _llava_onevision_7b() -> Any:
    from transformers import LlavaOnevisionConfig, Qwen2Config, SiglipVisionConfig

    rope = {"rope_type": "default", "rope_theta": 1e6}
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**SIGLIP_SO400M),
        text_config=Qwen2Config(**QWEN2_7B, **_ids(), vocab_size=152000, rope_parameters=rope),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[384, 384]],
        image_token_index=token_id("<image>"),
        video_token_index=token_id("<video>"),
    )


def _vision_ids() -> dict[str, Any]:
    names = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    marks = {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    return {f"{name}_token_id": token_id(token) for name, token in (names | marks).items()}


def _qwen2_5_vl_7b() -> Any:
    from transformers import Qwen2_5_VLConfig

    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    text = {**QWEN2_7B, **_ids(), "vocab_size": 152064, "rope_parameters": rope}
    return Qwen2_5_VLConfig(vision_config=QWEN2_5_VL_TOWER, text_config=text, **_vision_ids())


def _qwen3_vl_8b() -> Any:
    from transformers import Qwen3VLConfig

    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    text = {**QWEN3_8B, **_ids(), "vocab_size": 151936, "rope_parameters": rope}
    return Qwen3VLConfig(vision_config=QWEN3_VL_TOWER, text_config=text, **_vision_ids())


SIZES = {
    "llava-onevision-7b": Size("llava_onevision", _llava_onevision_7b, None, None),
    "qwen2.5-vl-7b": Size("qwen2_5_vl", _qwen2_5_vl_7b, View(448, 448), View(112, 112)),
    "qwen3-vl-8b": Size("qwen3_vl", _qwen3_vl_8b, View(448, 448), View(128, 128)),
}


@dataclass(frozen=True, slots=True)
class _Pixels:
    """What an adapter reads of a video processor."""

    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)


def build(name: str, device: torch.device, dtype: torch.dtype, *, small: bool = False) -> Family:
    """The adapter of one of `SIZES` with random weights; `small` takes the small model of the same family instead."""
    size = SIZES[name]
    model = _small(size, device, dtype) if small else random_weights(size.config(), device, dtype)
    view = size.small_view if small else size.view
    family = FAMILIES[size.family](model, tokenizer(), _Pixels(), view=view)
    family.let_stream()
    return family


def _small(size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    return deepcopy(random_model(size.family)).to(device, dtype)


def random_weights(config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A model of this configuration, its weights drawn where they stay: 8 billion never pass through the host."""
    from transformers import AutoModelForImageTextToText

    with device:
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    return model.eval().requires_grad_(False)
