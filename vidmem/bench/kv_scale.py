"""Bringing blocks back out of 1, 10 and 100 hours: what a question costs before its context is assembled.

Landmarks are noise, and embeddings noise around a direction for each minute, for the frames of a scene are alike. There
are as many as the hours have frames. The search over embeddings, the pass of the question through the video-LLM, the
choice, the segments on disk and the tiers are the real ones. The segments hold a few hundred blocks, and a frame's
block is one of them: what is fetched is read from disk, for the kernel's pages of the files are dropped before each
question and the tiers are new.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vidmem.bench.cold import drop_pages
from vidmem.bench.report import Figure, Say, at_most, beside
from vidmem.index.catalogue import IndexRows
from vidmem.index.vectors import VectorIndex
from vidmem.kv.block import Block, Layout
from vidmem.kv.heads import Heads, heads_of
from vidmem.kv.landmark_index import LandmarkIndex
from vidmem.kv.landmarks import GROUP_FRAMES, NUM_LANDMARKS, Landmarks
from vidmem.kv.packing import pack
from vidmem.kv.records import Position
from vidmem.kv.rope import text_positions
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.models.kv_language import KvLanguage
from vidmem.models.preset import KvConfig, load_preset
from vidmem.pipelines.kv_blocks import Form, fetch
from vidmem.pipelines.kv_recall import ADDED, RANKED, down_ranking, hybrid
from vidmem.pipelines.loading import Models
from vidmem.types import Span

NUM_FRAMES = 64
"""Brought back by each question."""
FRAMES_AN_HOUR = 3600
_QUESTION = "When did the dog appear?"
_VIDEO = "simulated"
_CLIP_FRAMES = 8
_AT_ONCE = 3600


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """What a long video's recall looks at."""

    index: VectorIndex
    landmarks: LandmarkIndex
    block_tokens: Sequence[int]
    clip_ids: Sequence[int]


def kv_scale_figures(
    folder: Path,
    seed: int,
    *,
    hours: tuple[float, float, float] = (1.0, 10.0, 100.0),
    rounds: int = 9,
    num_stored: int = 512,
    preset: str = "tiny",
    say: Say,
) -> dict[str, Figure]:
    """Medians over `rounds` questions at each of three lengths; figures are named after 1, 10 and 100 hours.

    Args:
        folder: empty; what is written stays there.
        num_stored: blocks on disk.
    """
    models = Models(load_preset(preset))
    language, dim, config = models.kv_language, models.encoder.dim, models.preset.kv
    form = Form.of(language.family)
    chance = torch.Generator().manual_seed(seed)
    tokens = models.language.frame_cost("00:00")
    position = _store_blocks(folder, form, tokens, num_stored, config, chance)
    seconds = []
    for length in hours:
        say(f"recall of blocks out of {length:g} h")
        simulated = _simulate(int(length * FRAMES_AN_HOUR), form, config, dim, tokens, chance)
        taken = []
        for _ in range(rounds + 1):
            query = _unit(1, dim, chance)[0]
            taken.append(_recall_seconds(folder, position, simulated, language, form, query, config))
        seconds.append(statistics.median(taken[1:]))  # the first was the memory's first use
        del simulated
    short, middle, long = seconds
    return {
        "kv_recall_growth": at_most(long / short, "times from 1 h to 100 h", 2.0),
        "kv_recall_10h": at_most(1e3 * middle, "ms (median)", 50.0),
        "kv_recall_1h": beside(1e3 * short, "ms (median)"),
        "kv_recall_100h": beside(1e3 * long, "ms (median)"),
    }


def _store_blocks(
    folder: Path, form: Form, tokens: int, count: int, config: KvConfig, chance: torch.Generator
) -> Position:
    layout = form.layout
    shape = layout.num_layers, layout.num_kv_heads, tokens, layout.head_dim
    budget = 2 * config.accelerator_bytes // 4
    tiers = Tiers(SegmentLog(folder), "cpu", TierConfig(budget, budget))
    try:
        for number in range(count):
            keys, values = (torch.randn(shape, generator=chance) for _ in range(2))
            block = Block(keys, values, text_positions(tokens, layout.num_axes), Span(number, number + 1))
            tiers.put(pack(block, config.format))
        return tiers.flush()
    finally:
        tiers.close()


def _simulate(
    num_frames: int, form: Form, config: KvConfig, dim: int, tokens: int, chance: torch.Generator
) -> Simulated:
    layout, index = form.layout, VectorIndex(dim)
    held = LandmarkIndex(heads_of(layout, config.heads), layout.head_dim)
    for first in range(0, num_frames, _AT_ONCE):
        count = min(_AT_ONCE, num_frames - first)
        places = np.arange(first, first + count)
        spans = np.stack([places, places + 1], axis=1).astype(np.float64)
        index.add(IndexRows(places + 1, [_VIDEO] * count, spans, _scenes(count, dim, chance)))
    for first in range(0, num_frames, GROUP_FRAMES):
        held.append(_noise_landmarks(held.heads, layout, chance), min(GROUP_FRAMES, num_frames - first))
    return Simulated(index, held, [tokens] * num_frames, [place // _CLIP_FRAMES for place in range(num_frames)])


def _noise_landmarks(heads: Heads, layout: Layout, chance: torch.Generator) -> Landmarks:
    """Codes from 1 to 15, as keys have them."""
    shape = len(heads), layout.head_dim // 2, NUM_LANDMARKS
    low, high = torch.randint(1, 16, (2, *shape), generator=chance, dtype=torch.uint8)
    owners = torch.randint(0, GROUP_FRAMES, (len(heads), NUM_LANDMARKS), generator=chance, dtype=torch.uint8)
    return Landmarks(heads, torch.full((len(heads),), 0.5, dtype=torch.float16), owners, low | high << 4)


def _scenes(count: int, dim: int, chance: torch.Generator) -> np.ndarray:
    """Unit vectors (count, dim), a minute of them around one direction: neighbours have a cosine of 0.8."""
    directions = torch.from_numpy(_unit(-(-count // 60), dim, chance)).repeat_interleave(60, 0)[:count]
    noise = torch.randn(count, dim, generator=chance) * (0.5 / dim**0.5)
    return torch.nn.functional.normalize(directions + noise, dim=1).numpy()


def _unit(count: int, dim: int, chance: torch.Generator) -> np.ndarray:
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=chance), dim=1).numpy()


def _recall_seconds(
    folder: Path,
    position: Position,
    simulated: Simulated,
    language: KvLanguage,
    form: Form,
    query: np.ndarray,
    config: KvConfig,
) -> float:
    """Seconds from an embedded question to its blocks as the model takes them, ready for a context."""
    drop_pages(folder)
    log = SegmentLog(folder, position, read_only=True)
    tiers = Tiers(log, form.device, TierConfig(config.accelerator_bytes, config.ram_bytes))
    try:
        begun = time.perf_counter()
        chosen = _choose(simulated, language, query, config)
        blocks, lost = fetch(tiers, dict.fromkeys(place % log.num_blocks for place in chosen), form)
        seconds = time.perf_counter() - begun
    finally:
        tiers.close()
    assert lost is None and blocks, "all blocks are sound"
    return seconds


def _choose(simulated: Simulated, language: KvLanguage, query: np.ndarray, config: KvConfig) -> list[int]:
    """Places of the frames that hybrid retrieval brings back."""
    found = simulated.index.search(query, RANKED, video_ids=[_VIDEO])
    external = [int(frame_id) - 1 for frame_id in found.frame_ids]
    sizes, held = simulated.block_tokens, simulated.landmarks
    internal = held.ranking(language.queries(_QUESTION, held.heads), ADDED, range(len(sizes)))
    return down_ranking(hybrid(external, internal), sizes, NUM_FRAMES * sizes[0], config, simulated.clip_ids)
