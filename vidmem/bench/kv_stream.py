"""Streaming in kv mode: what a process holds on the accelerator and in RAM while hours go by."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidmem.bench.report import Figure, Say, at_most, beside
from vidmem.kv.heads import heads_of
from vidmem.kv.landmark_index import LandmarkIndex
from vidmem.kv.landmarks import head_keys
from vidmem.kv.landmarks import landmarks as landmarks_of
from vidmem.kv.packing import pack
from vidmem.kv.payload import body_bytes, fields_of
from vidmem.kv.records import BlockId
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.kv.tokens import FrameTokens
from vidmem.models.kv_language import KvLanguage
from vidmem.models.preset import load_preset
from vidmem.pipelines.kv_ingest import window_tokens
from vidmem.pipelines.loading import Models
from vidmem.types import Span

CLIP_FRAMES = 8
_WARM_UP = 1 / 4
"""Part of the stream after which nothing may grow."""
_TIER_PART = 1 / 16
"""Part of the stream's blocks that a tier takes, so that both are full before the warm-up is over."""
_CLIPS_A_QUESTION = 8
_MOST_FETCHED = 64
_FEWEST_CLIPS = 64
"""So that the window is full before the warm-up is over."""


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes at one moment of a stream."""

    counted: int
    """The writer's window, the landmarks, the accelerator's tier and RAM's."""
    resident: int
    """Of the whole process, as the kernel has it."""


def kv_stream_figures(
    folder: Path, seed: int, *, hours: float = 1.0, preset: str = "tiny", say: Say
) -> dict[str, Figure]:
    """Stream frames of noise, 512 at least, and every 64 bring up to 64 random ones back, as a question does.

    Args:
        folder: empty, with room for the stream's blocks, which stay there.
    """
    num_clips = max(_FEWEST_CLIPS, int(hours * 3600) // CLIP_FRAMES)
    say(f"streaming {num_clips * CLIP_FRAMES} frames")
    chosen = load_preset(preset)
    begun = time.perf_counter()
    held = _stream(folder, seed, num_clips, Models(chosen))
    seconds = time.perf_counter() - begun
    after = held[int(len(held) * _WARM_UP) :]
    length = f"after the first quarter of {num_clips * CLIP_FRAMES / 3600:.2g} h"
    return {
        "kv_stream_bytes_growth": at_most(_range([one.counted for one in after]), f"of the least, {length}", 0.02),
        "kv_stream_resident_growth": at_most(_range([one.resident for one in after]), f"of the least, {length}", 0.02),
        "kv_stream_bytes": beside(max(one.counted for one in after) / 1e6, "MB on the accelerator and in RAM"),
        "kv_stream_resident": beside(max(one.resident for one in after) / 1e6, "MB of the process"),
        "kv_stream_speed": beside(num_clips * CLIP_FRAMES / seconds, "frames a second, encoded before"),
    }


def _range(values: list[int]) -> float:
    return max(values) / min(values) - 1


def _stream(folder: Path, seed: int, num_clips: int, models: Models) -> list[Held]:
    language, preset = models.kv_language, models.preset
    chance, places = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    layout = language.family.layout
    heads = heads_of(layout, preset.kv.heads)
    writer, landmarks = language.writer(window_tokens(preset)), LandmarkIndex(heads, layout.head_dim)
    room_blocks = int(num_clips * CLIP_FRAMES * _TIER_PART)
    num_fetched, room = min(_MOST_FETCHED, room_blocks // 2), room_blocks * _block_bytes(models)
    tiers = Tiers(SegmentLog(folder), language.family.device, TierConfig(room, room))
    held = []
    try:
        for clip in range(num_clips):
            tokens, spans = noise_clip(models, clip, chance)
            blocks = writer.write(frames_of(language, tokens, spans))
            for block in blocks:
                tiers.put(pack(block, preset.kv.format))
            landmarks.append(landmarks_of([head_keys(block, heads) for block in blocks], heads), len(blocks))
            num_blocks = tiers.flush().num_blocks
            if clip % _CLIPS_A_QUESTION == 0:
                wanted = places.choice(num_blocks, min(num_fetched, num_blocks), replace=False)
                with tiers.fetch([BlockId(int(place)) for place in wanted]):
                    pass
            accelerator, ram, _ = tiers.state()
            reserved = accelerator.num_reserved_bytes + ram.num_reserved_bytes
            held.append(Held(writer.num_bytes + landmarks.num_bytes + reserved, resident_bytes()))
    finally:
        tiers.close()
    return held


def resident_bytes() -> int:
    """Resident size of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _block_bytes(models: Models) -> int:
    tokens, spans = noise_clip(models, 0, torch.Generator().manual_seed(0))
    (block,) = models.kv_language.remade(frames_of(models.kv_language, tokens[:1], spans[:1]))
    return body_bytes(fields_of(pack(block, models.preset.kv.format).tensors))


def noise_clip(models: Models, clip: int, chance: torch.Generator) -> tuple[Tensor, np.ndarray]:
    """A clip of frames at one a second, as they are once encoded: tokens (F, P, D) and spans (F, 2)."""
    language = models.language
    tokens = torch.randn(CLIP_FRAMES, language.tokens_per_frame, language.token_dim, generator=chance)
    starts = np.arange(clip * CLIP_FRAMES, (clip + 1) * CLIP_FRAMES, dtype=np.float64)
    return tokens, np.stack([starts, starts + 1], axis=1)


def frames_of(language: KvLanguage, tokens: Tensor, spans: np.ndarray) -> list[FrameTokens]:
    """A clip as the video-LLM is fed it, with times before its frames."""
    return [
        language.frame(language.family.label(start), row, Span(start, end))
        for row, (start, end) in zip(tokens, spans.tolist(), strict=True)
    ]
