"""`vidmem bench heads`: which heads of a video-LLM look for what a question names, found on planted things.

For each head by itself: for how many of the questions one of the first 8 blocks that its landmarks bring back shows
what is asked for. The best are what `heads` in a preset's `[kv]` should name.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch

from vidmem.bench.clips import unseen_seed
from vidmem.bench.kv_bytes import FRAMES_AT_ONCE, spans_of
from vidmem.bench.kv_planted import TOP_K
from vidmem.bench.report import Say, beside, report
from vidmem.ingest.iterable import IterableSource
from vidmem.kv.heads import Heads
from vidmem.kv.landmark_index import LandmarkIndex
from vidmem.kv.landmarks import head_keys, landmarks
from vidmem.models.preset import load_preset
from vidmem.pipelines.kv_ingest import window_tokens
from vidmem.pipelines.loading import Models
from vidmem.types import Span, format_time
from vidmem.world.needle import NeedleScript, needle_questions, needle_script
from vidmem.world.video import frames


def run(
    seed: int = 0,
    *,
    preset: str = "tiny",
    seconds: float = 1200.0,
    needles: int = 20,
    quick: bool = False,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Watch a world of `seconds` with `needles` planted in it, and give the JSON object of figures, the best first."""
    say = progress or (lambda line: None)
    models = Models(load_preset(preset))
    script = needle_script(unseen_seed(seed, 500_000), 120.0 if quick else seconds, 2 if quick else needles)
    layout = models.kv_language.family.layout
    heads = tuple((layer, head) for layer in range(layout.num_layers) for head in range(layout.num_kv_heads))
    say(f"heads: watching {format_time(script.duration)} with {len(heads)} heads")
    spans, indexes = _watch(models, script, heads)
    shares = _shares(models, script, heads, spans, indexes)
    best = max(shares, key=lambda head: shares[head])
    say(f"heads: the best by itself is written as `heads = [{list(best)}]` in a preset's [kv]")
    order = sorted(shares, key=lambda head: -shares[head])
    unit = f"share of the questions with one of {TOP_K} blocks that shows it"
    return report(seed, {f"head_{layer}_{head}": beside(shares[layer, head], unit) for layer, head in order})


def _watch(models: Models, script: NeedleScript, heads: Heads) -> tuple[list[Span], list[LandmarkIndex]]:
    kv, family = models.kv_language, models.kv_language.family
    writer, spans = kv.writer(window_tokens(models.preset)), list[Span]()
    indexes = [LandmarkIndex((head,), family.layout.head_dim) for head in heads]
    decoded = IterableSource(frames(script, fps=1)).frames(fps=None, views=(models.language.view,))
    while part := list(islice(decoded, FRAMES_AT_ONCE)):
        images = torch.stack([torch.from_numpy(frame.views[0]) for frame in part])
        new = spans_of([frame.pts_seconds for frame in part])
        keys = [head_keys(block, heads) for block in writer.write(family.frames(images, new))]
        for place, index in enumerate(indexes):
            index.append(landmarks([of_block[place : place + 1] for of_block in keys], index.heads), len(keys))
        spans += new
    return spans, indexes


def _shares(
    models: Models, script: NeedleScript, heads: Heads, spans: list[Span], indexes: list[LandmarkIndex]
) -> dict[tuple[int, ...], float]:
    hits = dict.fromkeys(heads, 0)
    questions = [question for stay in script.needles() for question in needle_questions(stay)]
    for question in questions:
        queries = models.kv_language.queries(question.text, heads)
        for head, of_head, index in zip(heads, queries, indexes, strict=True):
            found = index.ranking([of_head], TOP_K)
            hits[head] += any(spans[place].overlaps(question.evidence) for place in found)
    return {head: count / len(questions) for head, count in hits.items()}
