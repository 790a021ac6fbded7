"""What the memory costs an ingest in kv mode, beside the model's own run over the frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vidmem.bench.kv_stream import CLIP_FRAMES, frames_of, noise_clip
from vidmem.bench.report import Figure, Say, at_most, beside
from vidmem.index import FrameRows, NewClip, Store, VideoRow
from vidmem.kv.compress import Seen
from vidmem.memory import MemoryConfig
from vidmem.models.preset import load_preset
from vidmem.pipelines.kv_ingest import BlockStream, window_tokens
from vidmem.pipelines.loading import Models
from vidmem.pipelines.writing import CLIPS_TOGETHER, PATIENCE_SECONDS, committing
from vidmem.types import Span, VideoId

_CLIPS_IN_TURN = 32
"""An ingest has hundreds of clips and waits once, at its end; with turns of 8 a third of the overhead was that wait."""
_NAME = VideoId("noise")
_THUMBNAIL = bytes(4096)
"""As many bytes as a thumbnail of the sample world has."""


@dataclass(frozen=True, slots=True)
class WriteTimes:
    """Seconds of all counted clips."""

    alone: float
    with_memory: float
    num_frames: int


def kv_write_figures(
    folder: Path, seed: int, *, num_clips: int = 128, warm_up: int = 16, preset: str = "tiny", say: Say
) -> dict[str, Figure]:
    """Ingest clips of noise whose frames count as encoded, and in turns run the model over the same and keep nothing.

    The model runs in the same window on both sides, 32 clips at a time. Clips are committed while the next ones are
    run, as in an ingest; the last ones of 32 are waited for. The memory's part is all else: packing, tiers, segments
    forced to disk, landmarks, and the store's catalogue, index, tokens and thumbnails.

    Args:
        folder: empty; what is written stays there.
        warm_up: clips before them that are not counted, until the window is full.
    """
    say(f"writing {num_clips} clips with and without a memory")
    times = _write(folder, seed, num_clips, warm_up, Models(replace(load_preset(preset), mode="kv")))
    return {
        "kv_write_overhead": at_most(times.with_memory / times.alone - 1, "of the prefill's time", 0.15),
        "kv_write_prefill": beside(1e3 * times.alone / times.num_frames, "ms a frame"),
        "kv_write_with_memory": beside(1e3 * times.with_memory / times.num_frames, "ms a frame"),
    }


def _write(folder: Path, seed: int, num_clips: int, warm_up: int, models: Models) -> WriteTimes:
    language, chance = models.kv_language, torch.Generator().manual_seed(seed)
    identity = models.identity(None, MemoryConfig(**models.preset.memory).policy)
    alone = language.writer(window_tokens(models.preset))
    seconds: dict[str, list[float]] = {"alone": [], "with_memory": []}
    with Store.open(folder / "write.vidmem", identity) as store:
        video = store.begin_video(VideoRow(_NAME, _NAME, "", "noise", "noise"))
        with BlockStream(store, video, language, models.preset, hours=False) as stream:

            def prefill(part: Sequence[_NoiseClip]) -> None:
                for clip in part:
                    alone.write(frames_of(language, clip.rows.tokens, clip.spans))

            def remember(part: Sequence[_NoiseClip]) -> None:
                commit = partial(_commit, store, stream)
                with committing(commit, together=CLIPS_TOGETHER, patience_seconds=PATIENCE_SECONDS) as behind:
                    for clip in part:
                        behind.give(_Prefilled(clip, stream.prefill(clip.rows.tokens, clip.spans)))

            ways = {"alone": prefill, "with_memory": remember}
            for way in ways.values():
                way([_noise(models, place, chance) for place in range(warm_up)])
            for first in range(warm_up, warm_up + num_clips, _CLIPS_IN_TURN):
                places = range(first, min(first + _CLIPS_IN_TURN, warm_up + num_clips))
                part = [_noise(models, place, chance) for place in places]
                for name in sorted(ways, reverse=bool(first // _CLIPS_IN_TURN % 2)):
                    seconds[name].append(_seconds(partial(ways[name], part)))
    return WriteTimes(sum(seconds["alone"]), sum(seconds["with_memory"]), num_clips * CLIP_FRAMES)


@dataclass(frozen=True, slots=True, eq=False)
class _NoiseClip:
    spans: np.ndarray
    rows: FrameRows


def _noise(models: Models, place: int, chance: torch.Generator) -> _NoiseClip:
    tokens, spans = noise_clip(models, place, chance)
    noise = torch.randn(CLIP_FRAMES, models.encoder.dim, generator=chance)
    embeddings = torch.nn.functional.normalize(noise, dim=1).numpy()
    return _NoiseClip(spans, FrameRows(spans[:, 0], embeddings, tokens.half(), [_THUMBNAIL] * CLIP_FRAMES))


@dataclass(frozen=True, slots=True, eq=False)
class _Prefilled:
    clip: _NoiseClip
    seen: Sequence[Seen]


def _commit(store: Store, stream: BlockStream, prefilled: Sequence[_Prefilled]) -> None:
    stored = stream.keep([one.seen for one in prefilled])
    clips = [
        NewClip(Span(*one.clip.spans[[0, -1], [0, 1]].tolist()), one.clip.rows, blocks)
        for one, blocks in zip(prefilled, stored, strict=True)
    ]
    store.append_clips(_NAME, clips)


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
