"""What storing KV in fewer bytes costs: answers about clips, for each way of storing.

Every way stores the same blocks, made by one run of the model over the whole clip. Bytes are those of the payloads'
tensors, codes with their scales, against bfloat16; the records around them (64 bytes and positions) are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from vidmem.bench.clips import SeenClip, seen_clips
from vidmem.bench.grading import Score
from vidmem.bench.report import Figure, Say, at_most, beside
from vidmem.kv.block import Block
from vidmem.kv.compress import Compression, Seen, compress, seen_of
from vidmem.kv.consolidate import consolidate
from vidmem.kv.context import assemble
from vidmem.kv.formats import Format
from vidmem.kv.packing import pack, unpack
from vidmem.kv.tokens import FrameTokens
from vidmem.kv.usage import CountedModel, Used
from vidmem.kv.writer import StreamWriter
from vidmem.models.chat import Chat
from vidmem.models.families.family import Family
from vidmem.models.kv_language import KvLanguage
from vidmem.models.language import VideoLanguageModel
from vidmem.models.preset import load_preset
from vidmem.types import Span, View
from vidmem.world.answers import Question

FRAMES_AT_ONCE = 8
"""Frames that are written, and compressed, together: a clip of the ingest."""
GIST_TOKENS = 4
"""Tokens of gist for each frame that left working memory."""
GIST_SHARPNESS = 4.0


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
    "absorb_1_6_kivi2": Way("kivi2", Compression(1 / 6, absorb=True)),
    "uniform_1_3_int2": Way("int2", every=3),
    "uniform_1_20": Way(every=20),
}
SMALLEST = "absorb_1_6_kivi2"
"""The way that is held to 1/20 of bfloat16."""


@dataclass
class WayFigures:
    """What was measured of one way."""

    answers: Score = field(default_factory=Score)
    num_bytes: int = 0
    num_frames: int = 0

    @property
    def bytes_per_frame(self) -> float:
        return self.num_bytes / self.num_frames


def kv_bytes_figures(
    folder: Path,
    seed: int,
    *,
    questions: int = 100,
    ways: dict[str, Way] = WAYS,
    preset: str = "tiny",
    say: Say,
) -> dict[str, Figure]:
    """Measure all ways: figures named after them, and those that have targets.

    Args:
        folder: for one rendered clip at a time.
        questions: about clips of 8 to 32 s, all of whose blocks are in the context.
        ways: `keep_all`, `int2` and `SMALLEST` must be among them.
    """
    config = load_preset(preset)
    language = VideoLanguageModel.load(config.language, base=config.base)
    kv = KvLanguage(language)
    measured = {name: WayFigures() for name in ways}
    gists = {name: Score() for name in _GISTS}
    _ask_clips(kv, language.view, folder, seed, questions, ways, measured, gists, say)
    return _figures(measured, gists)


# -- storing --


def _write(writer: StreamWriter, tokens: Sequence[FrameTokens]) -> list[Seen]:
    return seen_of(writer.write(tokens), tokens)


def _store(clip: Sequence[Seen], way: Way, before: Seen | None, first: int, family: Family) -> tuple[list[Block], int]:
    """A clip's blocks as they come back, and the bytes that they took. `first` is its first frame's number."""
    kept = [seen for number, seen in enumerate(clip, start=first) if number % way.every == 0]
    payloads = [pack(_in_half(block), way.format) for block in compress(kept, way.compression, before=before).blocks]
    num_bytes = sum(tensor.numel() * tensor.itemsize for payload in payloads for tensor in payload.tensors.values())
    return [unpack(payload, family.layout, family.dtype) for payload in payloads], num_bytes


def _in_half(block: Block) -> Block:
    """As an accelerator has it, whatever the model runs in here."""
    return Block(block.keys.bfloat16(), block.values.bfloat16(), block.positions, block.span)


def spans_of(times: Sequence[float]) -> list[Span]:
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
    tokens = family.frames(torch.as_tensor(clip.views[0]), spans_of(clip.times))
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


# -- figures --


def _figures(measured: dict[str, WayFigures], gists: dict[str, Score]) -> dict[str, Figure]:
    whole, smallest = measured["keep_all"], measured[SMALLEST]
    figures: dict[str, Figure] = {}
    for name, way in measured.items():
        figures[f"kv_{name}_bytes_per_frame"] = beside(way.bytes_per_frame, "bytes")
        figures[f"kv_{name}_accuracy"] = beside(way.answers.share(), "share of answers")
    for name, score in gists.items():
        figures[f"kv_older_half_{name}_accuracy"] = beside(score.share(), "share of answers")
    two_bit = measured["int2"]
    figures["kv_2bit_to_fp16"] = at_most(two_bit.bytes_per_frame / whole.bytes_per_frame, "share of bytes", 1 / 6)
    figures["kv_2bit_points_lost"] = at_most(_points_lost(two_bit, whole), "points", 2.0)
    figures["kv_stored_to_bf16"] = at_most(smallest.bytes_per_frame / whole.bytes_per_frame, "share of bytes", 1 / 20)
    figures["kv_stored_points_lost"] = beside(_points_lost(smallest, whole), "points")
    figures["kv_gist_gain"] = beside(100 * (gists["gist"].share() - gists["none"].share()), "points")
    return figures


def _points_lost(way: WayFigures, whole: WayFigures) -> float:
    return 100 * (whole.answers.share() - way.answers.share())
