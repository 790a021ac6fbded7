"""`vidmem bench policies`: every policy of memory on one encoded world, with the same room, asked the same questions.

The world is encoded once. Each policy's memory takes its frames clip by clip, has room for `MEMORY_FRAMES` frames'
tokens, working memory included, and is asked at the end: what it holds of the moments that a question names, what its
own read gives most to, and their neighbours go before the video-LLM. There is no index and no archive: what the memory
let go of can't be found. Policies that do otherwise than their references' code stand beside the coded forms.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from vidmem.bench.clips import unseen_seed
from vidmem.bench.coded_policies import CODED, coded_memory
from vidmem.bench.grading import Score
from vidmem.bench.policy_speed import SHAPE, policy_speed_figures
from vidmem.bench.report import Figure, Say, beside, report
from vidmem.ingest.iterable import IterableSource
from vidmem.memory import Elements, Memory, MemoryConfig, policy_names
from vidmem.memory.resolution import finest, resample
from vidmem.models.language import Context, ContextFrame
from vidmem.models.preset import load_preset
from vidmem.pipelines.loading import Models
from vidmem.pipelines.question import Asked, read_question
from vidmem.types import format_time
from vidmem.world.answers import Kind, Question
from vidmem.world.needle import needle_script
from vidmem.world.questions import LOCAL_MAKERS, ask_many
from vidmem.world.scene import Scene
from vidmem.world.truth import sampled_times
from vidmem.world.video import frames

MEMORY_FRAMES = 256
"""Room of a memory, in whole frames: 32 working ones and the rest for long-term memory."""
WORKING = 32, 16
"""Most and fewest frames of working memory."""
CONTEXT_FRAMES = 64
"""Whole frames that a context has room for."""
MINUTES = (1, 10, 60)
QUESTIONS = 100
_QUESTIONS_ABOUT_A_MINUTE = 12
"""Nearly all policies hold a minute whole."""
CODED_MINUTES = (10, 60)
"""Lengths at which the coded forms are measured: a minute fits into a memory, whatever its policy."""
KINDS: tuple[Kind, ...] = ("what", "when", "order", "how many")
_CLIP_FRAMES = 8
_AT_ONCE = 32
_MASS = 0.95
"""Of a query's affinity, what goes before the video-LLM."""
_REACH = 2
"""Neighbours on either side that come with what was found."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A world as the models see it, a frame a second."""

    keys: Tensor
    """(N, C)."""
    tokens: Tensor
    """(N, P, D)."""
    spans: Tensor
    """(N, 2) float64."""

    def part(self, places: slice) -> Elements:
        return Elements.fresh(self.keys[places], self.tokens[places], self.spans[places])


@dataclass
class PolicyRun:
    """What one policy did with one length of video."""

    score: Score = field(default_factory=Score)
    num_bytes: int = 0
    """Of long-term and working memory in the end."""
    write_seconds: float = 0.0
    read_seconds: list[float] = field(default_factory=list)
    num_frames: int = 0


def run(
    seed: int = 0, *, preset: str = "tiny", questions: int = QUESTIONS, quick: bool = False, progress: Say | None = None
) -> dict[str, Any]:
    """Measure, which takes minutes, and give the JSON object of figures."""
    say = progress or (lambda line: None)
    minutes, coded, questions = ((1,), (1,), 2) if quick else (MINUTES, CODED_MINUTES, questions)
    speed = policy_speed_figures(seed, shape=(256, 4, 8) if quick else SHAPE, say=say)
    policies = policy_figures(seed, minutes=minutes, coded_minutes=coded, questions=questions, preset=preset, say=say)
    return report(seed, speed | policies)


def policy_figures(
    seed: int,
    *,
    minutes: Sequence[int] = MINUTES,
    coded_minutes: Sequence[int] = CODED_MINUTES,
    questions: int = QUESTIONS,
    options: Mapping[str, Mapping[str, object]] | None = None,
    preset: str = "tiny",
    say: Say,
) -> dict[str, Figure]:
    """Figures of all policies at each length, `policy_NAME_MINUTESmin_WHAT`; of a coded form NAME is `NAME:coded`.

    Args:
        coded_minutes: those of the lengths at which the coded forms are measured too.
        options: policies by name with what differs from their defaults. None: all, with their defaults.
    """
    models, longest = Models(load_preset(preset)), 60.0 * max(minutes)
    script = needle_script(unseen_seed(seed, 600_000), longest, max(1, round(longest / 120)))
    say(f"policies: encoding {format_time(longest)}")
    encoded = encode_world(models, frames(script, fps=1))
    figures: dict[str, Figure] = {}
    for length in minutes:
        seconds = 60.0 * length
        scene = Scene.of(script, sampled_times(seconds))
        num_asked = min(questions, _QUESTIONS_ABOUT_A_MINUTE) if length == 1 else questions
        asked = ask_many(scene, random.Random(f"{seed}:{length}"), num_asked, KINDS, LOCAL_MAKERS)
        for name, own in (options or {name: {} for name in policy_names()}).items():
            config = memory_config(name, own)
            memories = {name: Memory(config)}
            if name in CODED and length in coded_minutes:
                memories[f"{name}:coded"] = coded_memory(config)
            for form, memory in memories.items():
                say(f"policies: {form}, {length} min, {len(asked)} questions")
                measured = watch_and_ask(models, memory, encoded, asked, seconds)
                figures |= {f"policy_{form}_{length}min_{what}": figure for what, figure in _figures(measured).items()}
    return figures


def memory_config(name: str, options: Mapping[str, object]) -> MemoryConfig:
    """The same room for every policy; `latest` is its newest frames and nothing else."""
    working_max, working_min = (4, 4) if name == "latest" else WORKING
    return MemoryConfig(
        working_max_frames=working_max,
        working_min_frames=working_min,
        max_elements=MEMORY_FRAMES - working_max,
        policy=name,
        policy_options=options,
    )


def encode_world(models: Models, pictures: Iterator[tuple[float, Any]]) -> Encoded:
    """Encode all frames once, as an ingest does."""
    encoder, language = models.encoder, models.language
    decoded = IterableSource(pictures).frames(fps=None, views=(encoder.view, language.view))
    keys, tokens, starts = [], [], []
    while part := list(islice(decoded, _AT_ONCE)):
        seen, shown = (torch.stack([torch.from_numpy(frame.views[view]) for frame in part]) for view in (0, 1))
        keys.append(encoder.encode_frames(seen).cpu())
        tokens.append(language.encode_frames(shown).float().cpu())
        starts += [frame.pts_seconds for frame in part]
    begun = torch.tensor(starts, dtype=torch.float64)
    return Encoded(torch.cat(keys), torch.cat(tokens), torch.stack([begun, begun + 1.0], dim=1))


def watch_and_ask(
    models: Models, memory: Memory, encoded: Encoded, questions: Sequence[Question], seconds: float
) -> PolicyRun:
    """Write the first `seconds` of a world to an empty memory and ask it."""
    measured = PolicyRun(num_frames=int(seconds))
    begun = time.perf_counter()
    for first in range(0, int(seconds), _CLIP_FRAMES):
        memory.write(encoded.part(slice(first, min(first + _CLIP_FRAMES, int(seconds)))))
    measured.write_seconds = time.perf_counter() - begun
    measured.num_bytes = memory.state().working.num_bytes + memory.state().long_term.num_bytes
    language = models.language
    for question in questions:
        asked = read_question(question.text, seconds)
        queries = models.encoder.encode_text(asked.phrases or (question.text,)).cpu()
        begun = time.perf_counter()
        readout = memory.read(queries)
        measured.read_seconds.append(time.perf_counter() - begun)
        found = memory.elements_at(chosen(readout.affinity, readout.span_seconds, asked, seconds))
        context = _context(found, models, hours=seconds >= 3600)
        measured.score.add(question, "".join(language.stream(context, question.text)))
    return measured


def chosen(affinity: Tensor, span_seconds: Tensor, asked: Asked, seconds: float) -> Tensor:
    """Places of the elements that go before the video-LLM, the most important first: all of a short memory.

    Args:
        affinity: (N, Q) of the question's phrases.
        span_seconds: (N, 2).
        seconds: length of what was watched.
    """
    by_time = span_seconds[:, 0].argsort(stable=True)
    rank = by_time.argsort()
    if seconds <= CONTEXT_FRAMES:
        return by_time
    middle = span_seconds.mean(1)
    wanted = [int((middle - moment).abs().argmin()) for moment in asked.moments]
    wanted += [int(((span.start + span.end) / 2 - middle).abs().argmin()) for span in asked.ranges]
    if asked.phrases:
        for column in affinity.T:
            order = column.argsort(descending=True, stable=True)
            needed = int((column[order].cumsum(0) < _MASS).sum()) + 1
            wanted += order[: min(needed, CONTEXT_FRAMES)].tolist()
    around = [0, *(sign * step for step in range(1, _REACH + 1) for sign in (-1, 1))]
    places = [int(rank[place]) + step for step in around for place in dict.fromkeys(wanted)]
    return by_time[[place for place in dict.fromkeys(places) if 0 <= place < len(by_time)]]


def _context(found: Sequence[Elements], models: Models, *, hours: bool) -> Context:
    """Elements in the order of time, `CONTEXT_FRAMES` of the first ones, each with the tokens that the model knows."""
    language = models.language
    room, taken = CONTEXT_FRAMES * language.frame_cost(language.label(0.0, hours=hours)), []
    for element in finest(found):
        start = float(element.span_seconds[0, 0])
        label = language.label(start, hours=hours)
        room -= language.frame_cost(label)
        if room < 0:
            break
        taken.append((start, ContextFrame(label, resample(element.value, language.tokens_per_frame)[0])))
    return Context([frame for _, frame in sorted(taken, key=lambda entry: entry[0])])


def _figures(measured: PolicyRun) -> dict[str, Figure]:
    score, unit = measured.score, f"share of {measured.score.total} questions"
    figures = {"accuracy": beside(score.share(), unit)}
    for kind, share in sorted(score.by_kind().items()):
        figures[kind.replace(" ", "_")] = beside(share, f"share of {score.asked[kind]} questions")
    read = sorted(measured.read_seconds)[len(measured.read_seconds) // 2] if measured.read_seconds else 0.0
    return figures | {
        "bytes": beside(measured.num_bytes, "bytes of long-term and working memory"),
        "write": beside(1e3 * measured.write_seconds / measured.num_frames, "ms a frame"),
        "read": beside(1e3 * read, "ms (median)"),
    }
