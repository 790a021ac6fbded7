"""What storing KV in fewer bytes costs: answers about clips, and planted things found, for each way of storing.

Every way stores the same blocks, made by one run of the model over the whole clip or, for planted things, through a
window. Bytes are those of the payloads' tensors, codes with their scales, against bfloat16; the records around them (64
bytes and the positions) and the representatives, which do not depend on the way, are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from vidmem.bench.clips import SeenClip, seen_clips, unseen_seed
from vidmem.bench.grading import Score
from vidmem.bench.report import Figure, Say, at_least, at_most, beside
from vidmem.ingest.iterable import IterableSource
from vidmem.kv.asking import QuestionScores
from vidmem.kv.block import Block
from vidmem.kv.compress import Compression, Seen, compress
from vidmem.kv.consolidate import consolidate
from vidmem.kv.context import assemble
from vidmem.kv.formats import Format
from vidmem.kv.packing import pack, unpack
from vidmem.kv.recall import ranking
from vidmem.kv.representatives import Representatives
from vidmem.kv.tokens import FrameTokens
from vidmem.kv.usage import CountedModel, Used
from vidmem.kv.writer import StreamWriter
from vidmem.models.chat import Chat
from vidmem.models.families.family import Family
from vidmem.models.kv_language import KvLanguage
from vidmem.models.language import VideoLanguageModel
from vidmem.models.preset import load_preset
from vidmem.types import Frame, Span, View, format_time
from vidmem.world.answers import Question
from vidmem.world.needle import needle_questions, needle_script
from vidmem.world.video import frames

FRAMES_AT_ONCE = 8
"""Frames that are written, and compressed, together: a clip of the ingest."""
GIST_TOKENS = 4
"""Tokens of gist for each frame that left working memory."""
GIST_SHARPNESS = 4.0
TOP_K = 8
TOKEN_LAYER = 1
"""The layer whose single keys are asked: of the embedded model's, the one that finds most (0.65 of its needles, the
layer before 0.47, the next 0.20)."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of storing a stream's blocks."""

    format: Format = "none"
    compression: Compression = Compression(keep_ratio=1.0)
    every: int = 1
    """Of so many frames one is stored, whole."""


WAYS = {
    "keep_all": Way(),
    "int8": Way("int8"),
    "int4": Way("int4"),
    "int2": Way("int2"),
    "kivi2": Way("kivi2"),
    "keep_1_2": Way(compression=Compression(1 / 2)),
    "keep_1_4": Way(compression=Compression(1 / 4)),
    "keep_1_8": Way(compression=Compression(1 / 8)),
    "keep_1_8_spread": Way(compression=Compression(1 / 8, spread=1.0)),
    "keep_1_4_int2": Way("int2", Compression(1 / 4)),
    "keep_1_4_kivi2": Way("kivi2", Compression(1 / 4)),
    "absorb_1_5_kivi2": Way("kivi2", Compression(1 / 5, absorb=True)),
    "uniform_1_3_int2": Way("int2", every=3),
}
SMALLEST = "absorb_1_5_kivi2"
"""The way that is held to 1/20 of bfloat16."""
EQUAL_BYTES = "uniform_1_3_int2"
"""What takes about as many bytes without looking."""


@dataclass
class WayFigures:
    """What was measured of one way."""

    answers: Score = field(default_factory=Score)
    num_bytes: int = 0
    num_frames: int = 0
    found: dict[str, list[bool]] = field(default_factory=lambda: {"mean_key": [], "token_keys": []})
    """For each question about a planted thing, whether one of the first `TOP_K` blocks shows what it asks for."""

    @property
    def bytes_per_frame(self) -> float:
        return self.num_bytes / self.num_frames

    def recall(self, by: str) -> float:
        return sum(self.found[by]) / max(1, len(self.found[by]))


def kv_bytes_figures(
    folder: Path,
    seed: int,
    *,
    questions: int = 100,
    needle_seconds: float = 1200.0,
    needles: int = 20,
    window_tokens: int = 2048,
    ways: dict[str, Way] = WAYS,
    preset: str = "tiny",
    say: Say,
) -> dict[str, Figure]:
    """Measure all ways: figures named after them, and those that have targets.

    Args:
        folder: for one rendered clip at a time.
        questions: about clips of 8 to 32 s, all of whose blocks are in the context.
        needles: things planted in `needle_seconds` of world, at most one a minute.
        ways: `keep_all`, `int2`, `SMALLEST` and `EQUAL_BYTES` must be among them.
    """
    config = load_preset(preset)
    language = VideoLanguageModel.load(config.language, base=config.base)
    kv = KvLanguage(language)
    measured = {name: WayFigures() for name in ways}
    gists = {name: Score() for name in _GISTS}
    _ask_clips(kv, language.view, folder, seed, questions, ways, measured, gists, say)
    _find_needles(kv, language.view, seed, needle_seconds, needles, window_tokens, ways, measured, say)
    return _figures(kv.family, measured, gists)


# -- storing --


def _write(writer: StreamWriter, tokens: Sequence[FrameTokens]) -> list[Seen]:
    return [Seen(block, frame.tokens.is_visual) for block, frame in zip(writer.write(tokens), tokens, strict=True)]


def _store(clip: Sequence[Seen], way: Way, before: Seen | None, first: int, family: Family) -> tuple[list[Block], int]:
    """A clip's blocks as they come back, and the bytes that they took. `first` is its first frame's number."""
    kept = [seen for number, seen in enumerate(clip, start=first) if number % way.every == 0]
    payloads = [pack(_in_half(block), way.format) for block in compress(kept, way.compression, before=before).blocks]
    num_bytes = sum(tensor.numel() * tensor.itemsize for payload in payloads for tensor in payload.tensors.values())
    return [unpack(payload, family.layout, family.dtype) for payload in payloads], num_bytes


def _in_half(block: Block) -> Block:
    """As an accelerator has it, whatever the model runs in here."""
    return Block(block.keys.bfloat16(), block.values.bfloat16(), block.positions, block.span)


def _spans(times: Sequence[float]) -> list[Span]:
    return [Span(start, end) for start, end in zip(times, [*times[1:], times[-1] + 1.0], strict=True)]


# -- answers about clips --


def _ask_clips(
    kv: KvLanguage,
    view: View,
    folder: Path,
    seed: int,
    questions: int,
    ways: dict[str, Way],
    measured: dict[str, WayFigures],
    gists: dict[str, Score],
    say: Say,
) -> None:
    asked = 0
    for clip in seen_clips(folder, seed, (view,)):
        chosen = clip.questions[: questions - asked]
        opening, seen, used = _counted_stream(kv, clip)
        for name, way in ways.items():
            blocks = _stored_stream(kv.family, seen, way, measured[name])
            _ask(kv, chosen, opening, blocks, measured[name].answers)
        half = len(seen) // 2
        older = [question for question in chosen if question.evidence.start < seen[half].block.span.start]
        for name, gist in _GISTS.items():
            blocks = [*gist(used[:half]), *(part.block for part in seen[half:])]
            _ask(kv, older, opening, blocks, gists[name])
        asked += len(chosen)
        say(f"ways of storing: {asked} of {questions} questions")
        if asked >= questions:
            return


def _counted_stream(kv: KvLanguage, clip: SeenClip) -> tuple[Block, list[Seen], list[Used]]:
    """A clip written whole, and what its frames attended to in those of earlier writes."""
    family = kv.family
    model = CountedModel(family, family.rotary)
    writer = StreamWriter(model, family.layout, family.rotary, family.text(Chat(family.tokenizer).ids("").opening))
    model.watched = [Used.fresh(writer.opening)]
    tokens = family.frames(torch.as_tensor(clip.views[0]), _spans(clip.times))
    seen: list[Seen] = []
    for first in range(0, len(tokens), FRAMES_AT_ONCE // 2):
        new = _write(writer, tokens[first : first + FRAMES_AT_ONCE // 2])
        seen += new
        model.watched += [Used.fresh(one.block) for one in new]
    return writer.opening, seen, model.watched[1:]


def _stored_stream(family: Family, seen: Sequence[Seen], way: Way, into: WayFigures) -> list[Block]:
    blocks: list[Block] = []
    for first in range(0, len(seen), FRAMES_AT_ONCE):
        clip, before = seen[first : first + FRAMES_AT_ONCE], seen[first - 1] if first else None
        stored, num_bytes = _store(clip, way, before, first, family)
        blocks += stored
        into.num_bytes += num_bytes
    into.num_frames += len(seen)
    return blocks


def _ask(kv: KvLanguage, questions: Sequence[Question], opening: Block, blocks: Sequence[Block], score: Score) -> None:
    context = assemble(opening, working=blocks)
    for question in questions:
        score.add(question, "".join(kv.stream(context, question.text)))


def _consolidated(sharpness: float) -> Callable[[Sequence[Used]], list[Block]]:
    return lambda used: [consolidate(used, GIST_TOKENS * len(used), sharpness=sharpness).block]


_GISTS: dict[str, Callable[[Sequence[Used]], list[Block]]] = {
    "all": lambda used: [part.block for part in used],
    "none": lambda used: [],
    "gist": _consolidated(GIST_SHARPNESS),
    "gist_not_potentiated": _consolidated(math.inf),
    "uniform": lambda used: [part.block for part in used[:: max(1, round(len(used[0].block) / GIST_TOKENS))]],
}
"""What is left of the older half of a clip when questions about it are asked."""


# -- planted things --


@dataclass
class _Shelf:
    """What is searched of one way's blocks."""

    representatives: Representatives
    spans: list[Span] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    """Of `TOKEN_LAYER`: (KV heads, T, D) of each block."""

    def add(self, block: Block) -> None:
        self.representatives.append(block)
        self.spans.append(block.span)
        self.keys.append(block.keys[TOKEN_LAYER])

    def token_scores(self, query: Tensor) -> Tensor:
        """For each block what its best token gets of each of the question's queries (H, T, D), the mean: (N,)."""
        grouped = query.unflatten(0, (self.keys[0].shape[0], -1))
        products = (grouped @ torch.cat(self.keys, dim=1)[:, None].mT).flatten(0, 2)
        owner = torch.arange(len(self.keys)).repeat_interleave(torch.tensor(self.representatives.block_tokens))
        best = products.new_empty(len(products), len(self.keys))
        best.scatter_reduce_(1, owner.expand_as(products), products, "amax", include_self=False)
        return best.mean(0)


class _Asking(QuestionScores):
    """Also holds the queries of `TOKEN_LAYER`."""

    query: Tensor

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        if layer_index == TOKEN_LAYER:
            self.query = query
        return super().attend(layer_index, query, key, value, scale=scale)


def _find_needles(
    kv: KvLanguage,
    view: View,
    seed: int,
    duration: float,
    count: int,
    window_tokens: int,
    ways: dict[str, Way],
    measured: dict[str, WayFigures],
    say: Say,
) -> None:
    family = kv.family
    script = needle_script(unseen_seed(seed, 300_000), duration, count)
    source = IterableSource(frames(script, fps=1))
    writer = kv.writer(window_tokens)
    shelves = {name: _Shelf(Representatives(family.layout)) for name in ways}
    before: Seen | None = None
    first = 0
    decoded: Iterator[Frame] = source.frames(fps=None, views=(view,))
    while part := list(islice(decoded, FRAMES_AT_ONCE)):
        images = torch.stack([torch.from_numpy(frame.views[0]) for frame in part])
        clip = _write(writer, family.frames(images, _spans([frame.pts_seconds for frame in part])))
        for name, way in ways.items():
            for block in _store(clip, way, before, first, family)[0]:
                shelves[name].add(block)
        before, first = clip[-1], first + len(part)
    say(f"ways of storing: {count} things planted in {format_time(duration)}")
    questions = [question for stay in script.needles() for question in needle_questions(stay)]
    for name, shelf in shelves.items():
        for question in questions:
            for by, top in _top_blocks(kv, shelf, question.text).items():
                hit = any(shelf.spans[place].overlaps(question.evidence) for place in top)
                measured[name].found[by].append(hit)


def _top_blocks(kv: KvLanguage, shelf: _Shelf, question: str) -> dict[str, list[int]]:
    family = kv.family
    tokens = family.text(family.ids(question))
    asking = _Asking(assemble(kv.opening), shelf.representatives, family.rotary, tokens.positions)
    family.run(tokens, asking)
    return {
        "mean_key": asking.ranking()[:TOP_K],
        "token_keys": ranking(shelf.token_scores(asking.query), TOP_K),
    }


# -- figures --


def _figures(family: Family, measured: dict[str, WayFigures], gists: dict[str, Score]) -> dict[str, Figure]:
    whole, smallest, equal = measured["keep_all"], measured[SMALLEST], measured[EQUAL_BYTES]
    figures: dict[str, Figure] = {}
    for name, way in measured.items():
        figures[f"kv_{name}_bytes_per_frame"] = beside(way.bytes_per_frame, "bytes")
        figures[f"kv_{name}_accuracy"] = beside(way.answers.share(), "share of answers")
        for by in way.found:
            figures[f"kv_{name}_recall_at_8_by_{by}"] = beside(way.recall(by), "share of questions")
    for name, score in gists.items():
        figures[f"kv_older_half_{name}_accuracy"] = beside(score.share(), "share of answers")
    two_bit = measured["int2"]
    figures["kv_2bit_to_fp16"] = at_most(two_bit.bytes_per_frame / whole.bytes_per_frame, "share of bytes", 1 / 6)
    figures["kv_2bit_points_lost"] = at_most(_points_lost(two_bit, whole), "points", 2.0)
    figures["kv_stored_to_bf16"] = at_most(smallest.bytes_per_frame / whole.bytes_per_frame, "share of bytes", 1 / 20)
    figures["kv_stored_points_lost"] = beside(_points_lost(smallest, whole), "points")
    for by in whole.found:
        share = smallest.recall(by) / max(whole.recall(by), 1e-9)
        figures[f"kv_stored_recall_to_keep_all_by_{by}"] = at_least(share, "ratio", 0.98)
        gain = 100 * (smallest.recall(by) - equal.recall(by))
        figures[f"kv_stored_recall_over_uniform_by_{by}"] = at_least(gain, "points", 10.0)
    figures["kv_gist_gain"] = beside(100 * (gists["gist"].share() - gists["none"].share()), "points")
    return figures


def _points_lost(way: WayFigures, whole: WayFigures) -> float:
    return 100 * (whole.answers.share() - way.answers.share())
