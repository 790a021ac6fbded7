"""What a preset's settings cost: bytes on disk, room in memory, tokens of a question."""

from __future__ import annotations

from dataclasses import dataclass

from vidmem.kv.quantise import num_bytes
from vidmem.memory import MemoryConfig
from vidmem.models.preset import Preset
from vidmem.pipelines.kv_blocks import Form
from vidmem.pipelines.loading import Models

_TOKEN_BYTES = 2
"""Tokens are kept as 16 bits a channel."""
_MINUTE = 60.0
"""Any time: marks of all times are about as long."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one hour of video, watched at some frames a second, and of one question."""

    kv_bytes: int
    """On disk: keys and values; 0 in tokens mode."""
    token_bytes: int
    """On disk: the frames' tokens."""
    memory_bytes: int
    """In RAM, however long the video: the three stores, full."""
    question_tokens: int
    """Of video, at most, that one question is answered with."""

    @property
    def disk_bytes(self) -> int:
        return self.kv_bytes + self.token_bytes


def costs(models: Models, preset: Preset, *, fps: float = 1.0) -> Costs:
    """What a preset costs with models that it shares with others. Loads the video-LLM.

    Args:
        fps: frames looked at in a second.

    Raises:
        MissingModel: the models are not here.
        BadInput: [memory] of the preset says what none can.
    """
    language, num_frames = models.language, round(3600 * fps)
    frame_bytes = language.tokens_per_frame * language.token_dim * _TOKEN_BYTES
    kv_bytes = 0
    if preset.mode == "kv":
        form = Form.of(models.kv_language.family)
        mark_tokens = language.frame_cost(language.label(_MINUTE)) - language.tokens_per_frame
        kept = max(1, round(language.tokens_per_frame * preset.kv.keep_ratio) + mark_tokens)
        kv_bytes = num_frames * num_bytes(preset.kv.format, form.layout, kept, form.dtype)
    memory = MemoryConfig(**preset.memory)
    held = round(memory.sensory_seconds * fps) + memory.working_max_frames + memory.max_elements
    return Costs(kv_bytes, num_frames * frame_bytes, held * 2 * frame_bytes, preset.budget.context_tokens)
