"""Families by the `model_type` of a checkpoint's configuration."""

from __future__ import annotations

from typing import Any

from vidmem.errors import BadInput
from vidmem.models.families.family import Family
from vidmem.models.families.llava_onevision import LlavaOneVision
from vidmem.models.families.qwen_vl import Qwen3Vl, Qwen25Vl
from vidmem.models.families.smolvlm import SmolVlm

FAMILIES: dict[str, type[Family]] = {
    family.model_type: family for family in (LlavaOneVision, SmolVlm, Qwen25Vl, Qwen3Vl)
}


def family_of(model: Any) -> type[Family]:
    """The adapter for a loaded model. Raises BadInput if none takes models of its kind."""
    kind = str(model.config.model_type)
    if kind not in FAMILIES:
        raise BadInput(
            f"KV memory has no adapter for {kind!r} models: use one of {', '.join(sorted(FAMILIES))}, or "
            'mode = "tokens".'
        )
    return FAMILIES[kind]
