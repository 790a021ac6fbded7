"""Asking in kv mode, with a budget of 64 frames: right answers, the right frames, and how soon the first word comes.

One world is watched in pieces of ten minutes, by the hour and, where there is more, whole. What is planted in its first
hour is asked about in each of these videos, so that only their length differs.

The same questions go to four contexts of 64 frames: what the memory brings back (hybrid retrieval), the right frames
by an oracle, once run through the model afresh and once as their stored blocks, and frames spread evenly over the
video, run through the model for every question.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from statistics import mean, median
from typing import get_args

import numpy as np
import torch

from vidmem.bench.clips import SIZE, unseen_seed
from vidmem.bench.grading import Score
from vidmem.bench.needles import VIDEO_FPS
from vidmem.bench.report import Figure, Say, at_least, at_most, beside
from vidmem.index import Store
from vidmem.ingest import open_source
from vidmem.kv.asking import QuestionScores
from vidmem.kv.block import Layout
from vidmem.kv.context import Context as KvContext
from vidmem.kv.context import assemble
from vidmem.kv.representatives import Representatives
from vidmem.memory import MemoryConfig
from vidmem.models.language import Context, ContextFrame
from vidmem.models.preset import Preset, Retrieval, load_preset
from vidmem.pipelines import VideoMemory
from vidmem.pipelines.finding import RecallConfig
from vidmem.pipelines.kv_blocks import Form, OpenBlocks
from vidmem.pipelines.kv_recall import Inquiry
from vidmem.pipelines.loading import Models
from vidmem.pipelines.planning import Pick
from vidmem.pipelines.recall import Labels, Recall
from vidmem.pipelines.remembering import Memories
from vidmem.pipelines.timeline import Timelines
from vidmem.types import Span, format_time
from vidmem.world.answers import Kind, Question
from vidmem.world.needle import NeedleScript, moved, needle_questions, needle_script
from vidmem.world.script import Stay
from vidmem.world.video import encode, frames

NUM_FRAMES = 64
"""What a context may hold, whoever chooses."""
_OVER = 5.0
"""Seconds."""
KINDS: tuple[Kind, ...] = ("what", "when")
RETRIEVALS: tuple[Retrieval, ...] = get_args(Retrieval)


@dataclass
class AskRun:
    """What was measured of one or several videos. Seconds are to the first piece of an answer."""

    scores: dict[str, Score] = field(
        default_factory=lambda: {name: Score() for name in ("hybrid", "oracle", "oracle_blocks", "uniform")}
    )
    first_token: list[float] = field(default_factory=list)
    uniform_first_token: list[float] = field(default_factory=list)
    found: dict[Retrieval, list[float]] = field(default_factory=lambda: {name: [] for name in RETRIEVALS})
    """For each question that names no time, the share of the frames that show its answer that were brought back."""
    rekv_found: list[float] = field(default_factory=list)
    """The same, of internal retrieval with a mean key a frame."""
    uniform_found: list[float] = field(default_factory=list)
    """The same, expected of frames spread evenly from a random start."""

    def accuracy(self, name: str) -> float:
        return self.scores[name].share(KINDS)


def kv_ask_figures(
    folder: Path,
    seed: int,
    *,
    hours: float,
    needles: int = 30,
    short_seconds: float = 600.0,
    preset: str = "tiny",
    say: Say,
) -> dict[str, Figure]:
    """Measure on one world of `hours`, on its first hour where it is longer, and on that hour in pieces.

    Args:
        folder: empty. A video is removed once it was asked, its store stays.
        needles: things planted in the first hour, at most one a minute.
        short_seconds: length of a piece, whole minutes. Pieces in which nothing is planted are left out.
    """
    # A little over the hour, so that its times are written with hours however its end is rounded.
    ends = sorted({min(hours, 1.0) * 3600 + _OVER, hours * 3600 + _OVER})
    script = needle_script(unseen_seed(seed, 410_000), ends[-1], needles, within=ends[0])
    short, by_hours = AskRun(), [AskRun() for _ in ends]
    for index in range(round(ends[0] / short_seconds)):
        piece = Piece(script, Span(index * short_seconds, (index + 1) * short_seconds))
        if piece.needles():
            _watch_and_ask(folder / f"short-{index}", piece, preset, short, say)
    for run, end in zip(by_hours, ends, strict=True):
        searched = _watch_and_ask(folder / f"{end:.0f}", Piece(script, Span(0.0, end)), preset, run, say)
    long = by_hours[-1]
    figures = accuracy_figures(short, by_hours[0], long) | first_token_figures(long) | relevance_figures(long)
    return figures | byte_figures(*searched)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a world as a video of its own."""

    script: NeedleScript
    span: Span

    def encode(self, path: Path) -> None:
        pictures = frames(self.script, fps=VIDEO_FPS, size=SIZE, start=self.span.start, end=self.span.end)
        encode(path, pictures, fps=VIDEO_FPS, size=SIZE, duration=self.span.seconds)

    def needles(self) -> list[Stay]:
        """Of what is planted in the world, what lies in this part, at the part's own times."""
        there = [stay for stay in self.script.needles() if self.span.overlaps(stay.span)]
        return [moved(stay, -self.span.start) for stay in there]


def accuracy_figures(short: AskRun, hour: AskRun, long: AskRun) -> dict[str, Figure]:
    """`hour` and `long` are the same where no more than an hour was watched."""
    asked = sum(long.scores["hybrid"].asked[kind] for kind in KINDS)
    hybrid, oracle, uniform = (100 * long.accuracy(name) for name in ("hybrid", "oracle", "uniform"))
    unit = f"share of {asked} questions what and when"
    figures = {f"kv_needles_{name}": beside(long.accuracy(name), unit) for name in long.scores}
    return figures | {
        "kv_needles_below_oracle": at_most(oracle - hybrid, "points", 2.0),
        "kv_needles_above_uniform": at_least(hybrid - uniform, "points", 25.0),
        "kv_needles_10min": beside(short.accuracy("hybrid"), "share of the same questions in videos of ten minutes"),
        "kv_needles_1h": beside(hour.accuracy("hybrid"), "share of the same questions in the first hour"),
        "kv_needles_fall_from_10min": at_most(100 * short.accuracy("hybrid") - hybrid, "points", 3.0),
    }


def first_token_figures(run: AskRun) -> dict[str, Figure]:
    ours, theirs = median(run.first_token), median(run.uniform_first_token)
    return {
        "kv_first_token_to_uniform": at_least(theirs / ours, "times sooner than 64 frames encoded anew", 5.0),
        "kv_first_token": beside(ours, "s (median of second and later questions)"),
        "kv_first_token_uniform": beside(theirs, "s (median)"),
    }


def relevance_figures(run: AskRun) -> dict[str, Figure]:
    uniform, found = mean(run.uniform_found), {name: mean(shares) for name, shares in run.found.items()}
    unit = f"share of the frames asked about, of {NUM_FRAMES} frames"
    figures = {f"kv_relevant_frames_{name}": beside(share, unit) for name, share in found.items()}
    return figures | {
        "kv_relevant_frames_uniform": beside(uniform, f"{unit}, expected"),
        "kv_relevant_frames_to_uniform": at_least(found["hybrid"] / uniform, "times uniform's", 10.0),
        "kv_relevant_frames_rekv": beside(mean(run.rekv_found), f"{unit}, by one mean key a frame"),
        "kv_relevant_frames_over_rekv": at_least(100 * (found["hybrid"] - mean(run.rekv_found)), "points", 0.0),
    }


def byte_figures(landmark_bytes: float, layout: Layout, num_heads: int, embedding_dim: int) -> dict[str, Figure]:
    """What is searched, for each frame: landmarks and an embedding in float16, against ReKV's mean keys in float16,
    which repeat KV heads for their query heads."""
    rekv = 2 * layout.num_layers * num_heads * layout.head_dim
    ours = landmark_bytes + 2 * embedding_dim
    return {
        "kv_representative_bytes_to_rekv": at_most(ours / rekv, "of one mean key a frame and query head", 0.25),
        "kv_representative_bytes": beside(ours, "bytes a frame, the embedding's among them"),
        "kv_landmark_bytes": beside(landmark_bytes, "bytes a frame, without the embedding's"),
    }


# -- one video --


def _watch_and_ask(path: Path, piece: Piece, preset: str, run: AskRun, say: Say) -> tuple[float, Layout, int, int]:
    """Render, ingest and ask; what `byte_figures` needs."""
    video = path.with_suffix(".mp4")
    length = format_time(piece.span.seconds)
    say(f"kv mode: rendering {length}")
    piece.encode(video)
    models = Models(kv_preset(preset, piece.span.seconds))
    config = MemoryConfig(**models.preset.memory)
    store = Store.open(path.with_suffix(".vidmem"), models.identity(None, config.policy))
    with VideoMemory(store, models, config) as memory:
        say(f"kv mode: ingesting {length}")
        memory.ingest(video, progress=False)
        asked = _Asked(store, models, config)
        try:
            pictures = asked.uniform_pictures(video)
            for stay in piece.needles():
                for question in needle_questions(stay, hours=piece.span.seconds >= 3600):
                    asked.ask(question, pictures, run)
            landmark_bytes = asked.landmark_bytes()
        finally:
            asked.close()
    video.unlink()
    right = run.scores["hybrid"].right.total()
    say(f"kv mode in {length}: {right} of {run.scores['hybrid'].total} right so far")
    family = models.kv_language.family
    return landmark_bytes, family.layout, int(family.decoder.config.num_attention_heads), models.encoder.dim


def kv_preset(name: str, duration: float) -> Preset:
    """A preset in kv mode, whose contexts hold as many tokens as 64 frames of so long a video with their times."""
    preset = replace(load_preset(name), mode="kv")
    language = Models(preset).language
    cost = language.frame_cost(language.label(duration, hours=duration >= 3600))
    return replace(preset, budget=replace(preset.budget, context_tokens=NUM_FRAMES * cost))


class _Asked:
    """The only video of an open store, asked in all ways."""

    def __init__(self, store: Store, models: Models, memory_config: MemoryConfig) -> None:
        self._models, self._store = models, store
        timelines = Timelines(store)
        (video,) = self._videos = store.videos()
        self._line = timelines.of(video)
        self._labels = Labels([self._line], models.language.label, named=False)
        memories = Memories(store, memory_config, timelines)
        config = RecallConfig.of(models.preset)
        self._blocks = {
            name: OpenBlocks(
                store, replace(models.preset.kv, retrieval=name), lambda: Form.of(models.kv_language.family)
            )
            for name in RETRIEVALS
        }
        self._recalls = {
            name: _NotingRecall(store, models, timelines, memories, config, blocks)
            for name, blocks in self._blocks.items()
        }
        self._is_first = True

    def close(self) -> None:
        for blocks in self._blocks.values():
            blocks.close()

    def uniform_pictures(self, video: Path) -> np.ndarray:
        """What the video-LLM sees of 64 frames spread evenly: uint8 (F, H, W, 3)."""
        wanted = {float(self._line.pts_seconds[place]) for place in self._uniform()}
        with open_source(video) as source:
            seen = source.frames(fps=1.0, views=(self._models.language.view,))
            return np.stack([frame.views[0] for frame in seen if frame.pts_seconds in wanted])

    def ask(self, question: Question, pictures: np.ndarray, run: AskRun) -> None:
        """Put one question to every context. Only what and when are answered; only what names no time is looked for."""
        if question.kind in KINDS:
            if self._is_first:  # it loads models and opens files, on both sides
                self._is_first = False
                for begin in (self._hybrid, self._uniform_answer(pictures)):
                    _timed(begin, question.text)
            self._answer(question, pictures, run)
        if question.kind != "what":
            self._look(question, run)

    def _answer(self, question: Question, pictures: np.ndarray, run: AskRun) -> None:
        text, seconds = _timed(self._hybrid, question.text)
        run.scores["hybrid"].add(question, text)
        run.first_token.append(seconds)
        text, seconds = _timed(self._uniform_answer(pictures), question.text)
        run.scores["uniform"].add(question, text)
        run.uniform_first_token.append(seconds)
        places = self._around(question.evidence)
        text, _ = _timed(lambda words: self._models.language.stream(self._afresh(places), words), question.text)
        run.scores["oracle"].add(question, text)
        text, _ = _timed(lambda words: self._models.kv_language.stream(self._stored(places), words), question.text)
        run.scores["oracle_blocks"].add(question, text)

    def _look(self, question: Question, run: AskRun) -> None:
        line = self._line
        shown = {place for place in range(len(line)) if line.span_of(place).overlaps(question.evidence)}
        most = min(len(shown), NUM_FRAMES)
        for name, recall in self._recalls.items():
            recall.recall(question.text, self._videos)
            run.found[name].append(min(1.0, len(shown.intersection(recall.picked)) / most))
        run.rekv_found.append(len(shown.intersection(self._by_mean_keys(question.text))) / most)
        run.uniform_found.append(min(1.0, NUM_FRAMES / len(line)) * len(shown) / most)

    def _by_mean_keys(self, question: str) -> list[int]:
        """The frames that ReKV's internal retrieval ranks first, all layers' rankings fused."""
        family, opening = self._models.kv_language.family, self._models.kv_language.opening
        tokens = family.text(family.ids(question))
        asking = QuestionScores(assemble(opening), self._mean_keys, family.rotary, tokens.positions)
        family.run(tokens, asking)
        return asking.ranking()[:NUM_FRAMES]

    @cached_property
    def _mean_keys(self) -> Representatives:
        held, blocks = Representatives(self._models.kv_language.family.layout), self._blocks["hybrid"]
        for first in range(0, len(self._line), NUM_FRAMES):
            wanted = self._line.block_ids[first : first + NUM_FRAMES].tolist()
            found = blocks.of(self._line.video).fetch(dict.fromkeys(wanted))
            for block_id in wanted:
                held.append(found[block_id])
        return held

    def landmark_bytes(self) -> float:
        """Bytes of landmarks a frame."""
        return self._blocks["hybrid"].of(self._line.video).landmarks(self._line).num_bytes / len(self._line)

    def _hybrid(self, question: str) -> Iterator[str]:
        recalled = self._recalls["hybrid"].recall(question, self._videos)
        assert isinstance(recalled.context, KvContext), "a question about one video is answered from its blocks"
        return self._models.kv_language.stream(recalled.context, question)

    def _uniform_answer(self, pictures: np.ndarray) -> Callable[[str], Iterator[str]]:
        """What people do without a memory: encode the frames and run them through the model for each question."""
        language = self._models.language

        def answer(question: str) -> Iterator[str]:
            tokens = language.encode_frames(pictures)
            return language.stream(self._context(self._uniform(), tokens), question)

        return answer

    def _afresh(self, places: Sequence[int]) -> Context:
        rows = self._store.load_tokens([self._line.frame_ids[place] for place in places])
        return self._context(places, rows)

    def _stored(self, places: Sequence[int]) -> KvContext:
        wanted = dict.fromkeys(self._line.block_ids[list(places)].tolist())
        blocks = self._blocks["hybrid"].of(self._line.video).fetch(wanted)
        return self._models.kv_language.context(list(blocks.values()))

    def _context(self, places: Sequence[int], rows: Iterable[torch.Tensor]) -> Context:
        labels = [self._labels.of(Pick(0, place)) for place in places]
        return Context([ContextFrame(label, row) for label, row in zip(labels, rows, strict=True)])

    def _uniform(self) -> list[int]:
        count = min(NUM_FRAMES, len(self._line))
        return np.linspace(0, len(self._line) - 1, count).round().astype(int).tolist()

    def _around(self, evidence: Span) -> range:
        """The places of 64 frames in a row with the evidence in their middle, or as near to it as the video allows."""
        count = min(NUM_FRAMES, len(self._line))
        middle = int(np.searchsorted(self._line.pts_seconds, (evidence.start + evidence.end) / 2))
        first = min(max(0, middle - count // 2), len(self._line) - count)
        return range(first, first + count)


def _timed(begin: Callable[[str], Iterator[str]], question: str) -> tuple[str, float]:
    """An answer, and the seconds to its first piece."""
    begun, pieces, first = time.perf_counter(), [], 0.0
    for piece in begin(question):
        first = first or time.perf_counter() - begun
        pieces.append(piece)
    return "".join(pieces), first or time.perf_counter() - begun


@dataclass(frozen=True, slots=True, eq=False)
class _Noting(Inquiry):
    """Also writes down which frames are brought back."""

    picked: list[int] = field(default_factory=list)

    def context(self, picks: Sequence[Pick], gist: Sequence[tuple[float, ContextFrame]]) -> KvContext:
        self.picked[:] = [place for pick in picks for place in self.line.places_in(self.block_of(pick))]
        return Inquiry.context(self, picks, gist)


class _NotingRecall(Recall):
    """`picked` holds the places of the frames that the latest question brought back."""

    def __init__(self, *args: object, **settings: object) -> None:
        super().__init__(*args, **settings)  # type: ignore[arg-type]
        self.picked: list[int] = []

    def _inquiry(self, *args: object) -> Inquiry | None:
        inquiry = super()._inquiry(*args)  # type: ignore[arg-type]
        if inquiry is None:
            return None
        return _Noting(**{part.name: getattr(inquiry, part.name) for part in fields(Inquiry)}, picked=self.picked)
