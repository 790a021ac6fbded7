"""Families by the `model_type` of a checkpoint's configuration."""

from __future__ import annotations

from vidmem.errors import MissingModel
from vidmem.models.families.family import Family
from vidmem.models.families.llava_onevision import LlavaOneVision
from vidmem.models.families.qwen_vl import Qwen3Vl, Qwen25Vl
from vidmem.models.families.smolvlm import SmolVlm

FAMILIES: dict[str, type[Family]] = {
    family.model_type: family for family in (LlavaOneVision, SmolVlm, Qwen25Vl, Qwen3Vl)
}


def family_of(model_type: str, origin: object) -> type[Family]:
    """The adapter for checkpoints of a kind; `origin` is where this one is. Raises MissingModel if there is none."""
    if model_type not in FAMILIES:
        *others, last = sorted(FAMILIES)
        raise MissingModel(
            f"{origin} holds a {model_type} model and vidmem has no adapter for that: use a checkpoint of "
            f"{', '.join(others)} or {last}."
        )
    return FAMILIES[model_type]
