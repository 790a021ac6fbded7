"""The form of a report, and the counting behind it, with a stub that knows the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import metadata
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from vidmem.bench.clips import seen_clips, unseen_script
from vidmem.bench.footage import moving_footage
from vidmem.bench.grading import Score
from vidmem.bench.ingest import ingest_apart
from vidmem.bench.language import ask_clips
from vidmem.bench.needles import NeedleRun
from vidmem.bench.report import at_least, at_most, beside, report, unmeasured
from vidmem.bench.world import clip_figures, demo_figures, latency_figures, needle_figures
from vidmem.demo import Done
from vidmem.errors import VidmemError
from vidmem.models.language import Context
from vidmem.types import Span, View, format_time
from vidmem.world.answers import Facts, Question
from vidmem.world.render import Renderer
from vidmem.world.script import Script, ScriptConfig


def question(kind: str, thing: str) -> Question:
    return Question(kind, "What was it?", f"A {thing} was it.", Facts(thing=thing), Span(0, 1))


def test_a_report_is_one_json_object_with_targets() -> None:
    made = report(
        7, {"good": at_least(0.91234567, "share", 0.9), "bad": at_most(2.0, "s", 1.5), "more": beside(3, "s")}
    )
    read = json.loads(json.dumps(made))
    assert set(read) == {"machine", "version", "seed", "figures"}
    assert read["figures"]["good"] == {"value": 0.912346, "unit": "share", "target": 0.9, "holds": True}
    assert read["figures"]["bad"]["holds"] is False
    assert read["figures"]["more"]["target"] is None


def test_a_report_is_made_where_vidmem_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of its folder, as on a rented machine, and with what such a machine could not measure."""
    monkeypatch.setattr(metadata.Distribution, "discover", lambda **context: iter(()))
    made = report(1, {"memory": unmeasured("GB: needs a GPU")})
    assert made["version"] is None
    assert made["figures"]["memory"] == {"value": None, "unit": "GB: needs a GPU", "target": None, "holds": True}


def test_a_score_counts_by_kind() -> None:
    score = Score()
    assert score.add(question("what", "dog"), "A dog was it.")
    assert not score.add(question("what", "dog"), "A cat was it.")
    assert score.add(question("order", "key"), "The key came first.")
    assert score.by_kind() == {"what": 0.5, "order": 1.0}
    assert score.share() == pytest.approx(2 / 3)
    assert score.share(["order", "when"]) == 1.0
    assert Score().share() == 0.0


def test_clips_are_decoded_at_one_frame_a_second_and_look_like_their_script(tmp_path: Path) -> None:
    [clip] = islice(seen_clips(tmp_path, 0, (View(64, 36),)), 1)
    assert clip.times == pytest.approx([float(k) for k in range(len(clip.times))], abs=1e-6)
    assert 8 <= clip.script.duration <= 32 and len(clip.times) == int(np.ceil(clip.script.duration))
    assert clip.views[0].shape == (len(clip.times), 36, 64, 3)
    assert len(clip.questions) >= 6
    for time, picture in zip(clip.times, clip.views[0], strict=True):
        drawn = Renderer(64, 36).frame(clip.script, time)
        assert np.abs(picture.astype(int) - drawn).mean() < 15


def test_other_seeds_make_other_clips_that_training_has_not_seen() -> None:
    scripts = [unseen_script(seed, index) for seed in (0, 1) for index in (0, 1)]
    assert len({script.config.seed for script in scripts}) == 4
    assert all(script.config.seed >= 2**31 for script in scripts)


class Knowing:
    """Answers right if it is shown more than four frames, else not at all."""

    view = View(32, 18)

    def __init__(self, folder: Path) -> None:
        self.answers = {q.text: q.answer for clip in islice(seen_clips(folder, 0, ()), 1) for q in clip.questions}

    def encode_frames(self, images: np.ndarray) -> torch.Tensor:
        return torch.zeros(len(images), 1, 4)

    def label(self, seconds: float) -> str:
        return format_time(seconds)

    def stream(self, context: Context, text: str) -> Iterator[str]:
        yield self.answers[text] if len(context.frames) > 4 else "Perhaps."


def test_one_who_knows_scores_full_with_all_frames_only(tmp_path: Path) -> None:
    said: list[str] = []
    scores = ask_clips(Knowing(tmp_path), tmp_path, 0, questions=5, say=said.append)
    assert scores.all_frames.total == scores.blind.total == scores.latest.total == 5
    figures = clip_figures(scores)
    assert figures["clip_accuracy"].value == 1.0 and figures["clip_accuracy"].holds
    assert figures["clip_accuracy_blind"].value < 1.0
    assert said == ["clips: 5 of 5 right"]
    run = NeedleRun(first_token=[0.2, 0.4, 3.0], recall=[0.01, 0.02, 0.2])
    run.score.add(question("what", "dog"), "A dog was it.")
    run.score.add(question("where", "dog"), "A cat was it.")
    assert needle_figures("1h", run, scores)["needle_1h_accuracy"].value == 1.0
    assert latency_figures(run)["first_token_1h"].holds and latency_figures(run)["recall_1h"].value == 0.02


def test_the_demonstration_is_held_to_eight_in_ten() -> None:
    timings = {"open": 1.0, "ingest": 2.0, "answers": 3.0}
    figures = demo_figures([Done(right=9, total=12, state=None, timings=timings)])
    assert (figures["demo_answers_right"].value, figures["demo_answers_right"].holds) == (0.75, False)
    assert demo_figures([Done(right=10, total=12, state=None, timings=timings)])["demo_answers_right"].holds
    assert figures["demo_seconds"].value == 6.0


def test_footage_never_stands_still() -> None:
    pictures = [
        picture for _, picture in moving_footage(Script(ScriptConfig(seed=1, duration=1.0)), fps=5, size=(96, 54))
    ]
    assert len(pictures) == 5
    for before, after in zip(pictures, pictures[1:], strict=False):
        assert (before != after).mean() > 0.5


def test_an_ingest_apart_that_fails_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(VidmemError, match=r"^none\.mp4 could not be ingested .*none\.mp4") as raised:
        ingest_apart(tmp_path / "none.mp4", "tiny", lambda line: None)
    assert "\n" not in str(raised.value) and "Traceback" not in str(raised.value)
