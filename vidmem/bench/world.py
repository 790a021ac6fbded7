"""`vidmem bench world`: how well the embedded models answer about worlds that they have not seen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidmem import demo
from vidmem.bench.language import LATEST, ClipScores, ask_clips
from vidmem.bench.needles import NeedleRun, hide_and_seek
from vidmem.bench.report import Figure, Say, at_least, at_most, beside, report
from vidmem.bench.retrieval import recall_at_1
from vidmem.models.encoder import FrameEncoder
from vidmem.models.language import VideoLanguageModel
from vidmem.models.preset import load_preset
from vidmem.world.answers import Kind
from vidmem.world.script import THINGS

NEEDLE_KINDS: tuple[Kind, ...] = ("what", "when")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked. The defaults are what the figures of the documentation are made with."""

    questions: int = 500
    galleries: int = 3
    num_things: int = len(THINGS)
    short_seconds: float = 600.0
    short_videos: int = 3
    short_needles: int = 10
    long_seconds: float = 3605.0
    """A little over the hour, so that its times are written with hours however its end is rounded."""
    long_needles: int = 24
    demo_questions: int = demo.NUM_QUESTIONS


QUICK = Sizes(
    questions=12,
    galleries=1,
    num_things=8,
    short_seconds=60.0,
    short_videos=1,
    short_needles=1,
    long_seconds=120.0,
    long_needles=2,
    demo_questions=2,
)
"""Only to see that everything runs: the figures mean nothing."""


def run(
    seed: int = 0,
    *,
    questions: int | None = None,
    preset: str = "tiny",
    quick: bool = False,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Measure, which takes minutes, and give the JSON object of figures."""
    sizes = QUICK if quick else Sizes()
    questions = sizes.questions if questions is None else questions
    say = progress or (lambda line: None)
    config = load_preset(preset)
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="vidmem-bench-") as name:
        folder = Path(name)
        model = VideoLanguageModel.load(config.language, base=config.base)
        clips = ask_clips(model, folder, seed, questions=questions, say=say)
        figures |= clip_figures(clips)
        encoder = FrameEncoder.load(config.encoder, base=config.base)
        things = THINGS[:: max(1, len(THINGS) // sizes.num_things)]
        found = recall_at_1(encoder, folder, seed, galleries=sizes.galleries, things=things, say=say)
        figures["retrieval_recall_at_1"] = at_least(found, "share of queries", 0.95)
        del model, encoder
        short = hide_and_seek(
            folder,
            seed,
            duration=sizes.short_seconds,
            count=sizes.short_needles,
            videos=sizes.short_videos,
            preset=preset,
            say=say,
        )
        long = hide_and_seek(
            folder, seed, duration=sizes.long_seconds, count=sizes.long_needles, preset=preset, say=say
        )
        say("the demonstration")
        figures |= demo_figures(demo.run(folder, preset=preset, num_questions=sizes.demo_questions))
    figures |= needle_figures("10min", short, clips) | needle_figures("1h", long, clips) | latency_figures(long)
    return report(seed, figures)


def clip_figures(clips: ClipScores) -> dict[str, Figure]:
    """Accuracy over all questions and for each kind, and what can be had without looking properly."""
    by_kind = clips.all_frames.by_kind()
    unit = f"share of {clips.all_frames.total} questions"
    figures = {
        "clip_accuracy": at_least(clips.all_frames.share(), unit, 0.90),
        "clip_accuracy_worst_kind": at_least(min(by_kind.values()), "share of its questions", 0.80),
        "clip_accuracy_blind": beside(clips.blind.share(), unit),
        f"clip_accuracy_latest_{LATEST}_frames": beside(clips.latest.share(), unit),
    }
    for kind, share in sorted(by_kind.items()):
        name = f"clip_accuracy_{kind.replace(' ', '_')}"
        figures[name] = at_least(share, f"share of {clips.all_frames.asked[kind]} questions", 0.80)
    return figures


def needle_figures(name: str, run: NeedleRun, clips: ClipScores) -> dict[str, Figure]:
    """Answers what and when about needles, as a part of what the same kinds get on short clips."""
    clip_share, needle_share = clips.all_frames.share(NEEDLE_KINDS), run.score.share(NEEDLE_KINDS)
    ratio = needle_share / clip_share if clip_share else 0.0
    asked = sum(run.score.asked[kind] for kind in NEEDLE_KINDS)
    figures = {
        f"needle_{name}": at_least(ratio, "of the clip accuracy of what and when", 0.90),
        f"needle_{name}_accuracy": beside(needle_share, f"share of {asked} questions"),
    }
    for kind, share in sorted(run.score.by_kind().items()):
        figures[f"needle_{name}_{kind}"] = beside(share, f"share of {run.score.asked[kind]} questions")
    return figures


def demo_figures(events: Iterable[demo.Event]) -> dict[str, Figure]:
    """What `make demo` prints once all is installed. Always its own sample, whatever the seed."""
    document = demo.as_document(events)
    share = document["right"] / document["total"]
    return {
        "demo_answers_right": at_least(share, f"share of the {document['total']} printed answers", 0.80),
        "demo_seconds": beside(sum(document["timings"].values()), "s, without the install"),
    }


def latency_figures(run: NeedleRun) -> dict[str, Figure]:
    """Of asks to the store of the long video."""
    worst = max(run.first_token)
    return {
        "first_token_1h": at_most(run.median_first_token(), "s (median)", 1.5),
        "first_token_1h_worst": beside(worst, "s"),
        "recall_1h": at_most(run.median_recall(), "s (median)", 0.05),
    }
