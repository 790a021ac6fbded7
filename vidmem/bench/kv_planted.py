"""Planted things, looked for in what is left of a stream: is what a question asks for among the first 8 blocks?

Landmarks are made of whole frames, before anything is dropped, so what is asked here of the stored form is whether a
block with the picture is still there. Beside it stand memories of as many bytes that keep whole frames: every n-th, the
newest, and neighbours averaged as MovieChat does, once in bfloat16, as such systems hold them, and once in our 2 bits.
All are searched by the same landmarks, of what they kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from vidmem.bench.clips import unseen_seed
from vidmem.bench.kv_bytes import FRAMES_AT_ONCE, SMALLEST, WAYS, spans_of
from vidmem.bench.report import Figure, Say, at_least, at_most, beside
from vidmem.ingest.iterable import IterableSource
from vidmem.kv.block import Layout
from vidmem.kv.compress import Seen, compress, seen_of
from vidmem.kv.formats import Format
from vidmem.kv.heads import Heads, heads_of
from vidmem.kv.landmark_index import LandmarkIndex
from vidmem.kv.landmarks import grouped, head_keys
from vidmem.kv.quantise import num_bytes
from vidmem.memory.merging import plan_merges
from vidmem.models.preset import load_preset
from vidmem.pipelines.kv_ingest import window_tokens
from vidmem.pipelines.kv_recall import RANKED
from vidmem.pipelines.loading import Models
from vidmem.types import Span, format_time
from vidmem.world.answers import Question
from vidmem.world.needle import needle_questions, needle_script
from vidmem.world.video import frames

TOP_K = 8
_MERGED_TO = 2
"""Frames that MovieChat's code leaves of its short-term memory."""
FORMATS: dict[str, Format] = {"bf16": "none", "int2": "int2"}


@dataclass
class Watched:
    """What a stream leaves, frame by frame."""

    spans: list[Span] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    """Of the heads that look: (G, T, D) float16."""
    features: list[Tensor] = field(default_factory=list)
    """Mean of the picture's tokens, which MovieChat compares."""
    shown_by: list[int] = field(default_factory=list)
    """The frame whose picture is in this frame's stored block."""
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Shelf:
    """What can be found: rows of landmarks, each with what it stands for and when it was."""

    keys: Sequence[Tensor]
    block_of: Sequence[int]
    spans: Sequence[Span]
    """Of blocks."""


def kv_planted_figures(
    seed: int, *, hours: float = 1.0, needles: int = 30, preset: str = "tiny", say: Say
) -> dict[str, Figure]:
    """Watch one world with `needles` planted in it, at most one a minute, and look for each of them."""
    models = Models(load_preset(preset))
    kv, family = models.kv_language, models.kv_language.family
    heads = heads_of(family.layout, models.preset.kv.heads)
    script = needle_script(unseen_seed(seed, 300_000), hours * 3600, needles)
    say(f"planted things: watching {format_time(script.duration)}")
    watched = _watch(models, frames(script, fps=1), heads)
    questions = [
        question for stay in script.needles() for question in needle_questions(stay, hours=script.duration >= 3600)
    ]
    queries = [kv.queries(question.text, heads) for question in questions]

    def recall(shelf: Shelf) -> float:
        return _recall(shelf, heads, questions, queries)

    every_frame = range(len(watched.spans))
    whole = recall(Shelf(watched.keys, every_frame, watched.spans))
    ours = recall(Shelf(watched.keys, watched.shown_by, watched.spans))
    whole_bytes = _bytes_of_all(watched, family.layout, "none")
    rivals: dict[str, dict[str, float]] = {}
    for name, format in FORMATS.items():
        share = watched.stored_bytes / _bytes_of_all(watched, family.layout, format)
        num_kept = int(share * len(watched.spans))
        rivals[name] = {rival: recall(shelve(watched, num_kept)) for rival, shelve in _RIVALS.items()}
    unit = f"share of {len(questions)} questions in {format_time(script.duration)}"
    return {
        "kv_planted_bytes_to_bf16": at_most(watched.stored_bytes / whole_bytes, "of all in bfloat16", 1 / 20),
        "kv_planted_recall_to_keep_all": at_least(ours / max(whole, 1e-9), "ratio", 0.98),
        "kv_planted_recall_over_rivals": at_least(
            100 * (ours - max(rivals["bf16"].values())), "points above the best in bfloat16", 10.0
        ),
        "kv_planted_recall_over_rivals_int2": beside(
            100 * (ours - max(rivals["int2"].values())), "points above the best in our 2 bits"
        ),
        "kv_planted_recall_at_8": beside(ours, unit),
        "kv_planted_recall_at_8_keep_all": beside(whole, unit),
        **{
            f"kv_planted_recall_at_8_{rival}_{name}": beside(share, unit)
            for name, of_format in rivals.items()
            for rival, share in of_format.items()
        },
    }


def _bytes_of_all(watched: Watched, layout: Layout, format: Format) -> int:
    return sum(num_bytes(format, layout, keys.shape[1], torch.bfloat16) for keys in watched.keys)


def _watch(models: Models, pictures: Iterable[tuple[float, np.ndarray]], heads: Heads) -> Watched:
    kv, language, family = models.kv_language, models.language, models.kv_language.family
    source = IterableSource(pictures)
    writer = kv.writer(window_tokens(models.preset))
    watched, before, way = Watched(), None, WAYS[SMALLEST]
    decoded = source.frames(fps=None, views=(language.view,))
    while part := list(islice(decoded, FRAMES_AT_ONCE)):
        images = torch.stack([torch.from_numpy(frame.views[0]) for frame in part])
        tokens = family.frames(images, spans_of([frame.pts_seconds for frame in part]))
        clip = seen_of(writer.write(tokens), tokens)
        _keep(watched, clip, heads, [frame.tokens.embeds[frame.tokens.is_visual].mean(0) for frame in tokens])
        stored = compress(clip, way.compression, before=before)
        sizes = (num_bytes(way.format, family.layout, len(block), torch.bfloat16) for block in stored.blocks)
        watched.stored_bytes += sum(sizes)
        first = len(watched.shown_by)
        watched.shown_by += [first + stored.block_index.index(block) for block in stored.block_index]
        before = clip[-1]
    return watched


def _keep(watched: Watched, clip: Sequence[Seen], heads: Heads, features: Sequence[Tensor]) -> None:
    watched.spans += [seen.block.span for seen in clip]
    watched.keys += [head_keys(seen.block, heads).half() for seen in clip]
    watched.features += features


def _evenly(watched: Watched, num_kept: int) -> Shelf:
    places = torch.linspace(0, len(watched.spans) - 1, num_kept).round().int().tolist()
    return _frames(watched, places)


def _newest(watched: Watched, num_kept: int) -> Shelf:
    return _frames(watched, range(len(watched.spans) - num_kept, len(watched.spans)))


def _frames(watched: Watched, places: Sequence[int]) -> Shelf:
    spans = [watched.spans[place] for place in places]
    return Shelf([watched.keys[place] for place in places], range(len(spans)), spans)


def _merged(watched: Watched, num_kept: int) -> Shelf:
    """As many neighbours at a time as leave that many averages."""
    at_once = round(_MERGED_TO * len(watched.spans) / num_kept)
    keys: list[Tensor] = []
    spans: list[Span] = []
    for first in range(0, len(watched.spans), at_once):
        part = slice(first, first + at_once)
        plan = plan_merges(torch.stack(watched.features[part]), _MERGED_TO)
        keys += plan.average(torch.stack(watched.keys[part]))
        merged = [watched.spans[part][begin:end] for begin, end in plan.groups]
        spans += [Span(group[0].start, group[-1].end) for group in merged]
    return Shelf(keys, range(len(spans)), spans)


_RIVALS: dict[str, Callable[[Watched, int], Shelf]] = {"uniform": _evenly, "fifo": _newest, "moviechat": _merged}


def _recall(shelf: Shelf, heads: Heads, questions: Sequence[Question], queries: Sequence[Sequence[Tensor]]) -> float:
    """Share of the questions for which one of the first `TOP_K` blocks was there while what is asked for was seen."""
    index = LandmarkIndex(heads, shelf.keys[0].shape[-1])
    for first, end, group in grouped(shelf.keys, heads):
        index.append(group, end - first)
    hits = 0
    for question, of_heads in zip(questions, queries, strict=True):
        blocks = dict.fromkeys(shelf.block_of[place] for place in index.ranking(of_heads, RANKED))
        hits += any(shelf.spans[block].overlaps(question.evidence) for block in islice(blocks, TOP_K))
    return hits / len(questions)
