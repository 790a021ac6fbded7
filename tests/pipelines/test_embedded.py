"""The embedded models on unseen worlds: the encoder's search and recall, and answers that are really generated."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from random_models import write_llava

import vidmem
from vidmem.models.language import VideoLanguageModel
from vidmem.models.preset import load_preset
from vidmem.pipelines import VideoMemory
from vidmem.types import format_time
from vidmem.world.answers import is_right
from vidmem.world.needle import NeedleScript, needle_questions, needle_script
from vidmem.world.questions import ask_many
from vidmem.world.render import Renderer
from vidmem.world.scene import Scene
from vidmem.world.script import Script, ScriptConfig
from vidmem.world.words import a, noun

UNSEEN = 7 * 10**12


def world(script: Script) -> Iterator[tuple[float, np.ndarray]]:
    renderer = Renderer(160, 90)
    for second in range(int(script.duration)):
        yield float(second), renderer.draw(script.chapter_at(second), float(second))


@pytest.fixture(scope="module")
def needles() -> NeedleScript:
    return needle_script(UNSEEN + 3, 180.0, 3)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, needles: NeedleScript) -> Iterator[VideoMemory]:
    """The embedded encoder beside a random language model of the same sizes: what recall finds needs no answers."""
    folder = tmp_path_factory.mktemp("encoder")
    write_llava(folder / "llava", image_size=112)
    tiny = load_preset("tiny")
    clip = (tiny.base / tiny.encoder.model).resolve()
    (folder / "p.toml").write_text(
        f'mode = "tokens"\ndevice = "cpu"\n[encoder]\nmodel = "{clip}"\n'
        f"relevance_floor = {tiny.encoder.relevance_floor}\n"
        '[language]\nmodel = "./llava"\nmax_new_tokens = 2\n[budget]\ncontext_tokens = 800\ngist_elements = 0\n'
    )
    with vidmem.open(folder / "a.vidmem", folder / "p.toml") as memory:
        memory.ingest(world(needles), progress=False)
        yield memory


def test_search_finds_each_thing_where_it_is(found: VideoMemory, needles: NeedleScript) -> None:
    for stay in needles.needles():
        best = found.search(a(stay.thing), k=1)[0]
        assert best.start < stay.span.end and stay.span.start < best.end


def test_every_hit_passes_the_floor(found: VideoMemory) -> None:
    hits = [hit for words in ("a dog", "night", "two cats") for hit in found.search(words, k=50, merge=False)]
    assert all(hit.score >= found.preset.encoder.relevance_floor for hit in hits)
    assert len(hits) < 3 * 50


def test_a_context_shows_how_each_thing_appeared(
    found: VideoMemory, needles: NeedleScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = []
    stream = VideoLanguageModel.stream
    monkeypatch.setattr(
        VideoLanguageModel,
        "stream",
        lambda self, context, *rest: (contexts.append(context), stream(self, context, *rest))[1],
    )
    for stay in needles.needles():
        answer = found.ask(f"When did the {noun(stay.thing)} appear?")
        labels = [frame.time_label for frame in contexts[-1].frames]
        first = math.ceil(stay.span.start)
        assert {format_time(first), format_time(max(0, first - 1))} <= set(labels)
        assert any(hit.start < stay.span.end and stay.span.start < hit.end for hit in answer.evidence)


@pytest.mark.skipif(bool(load_preset("tiny").missing()), reason="the embedded video-LLM is not here")
def test_embedded_models_answer_about_a_clip_and_about_needles(tmp_path: Path) -> None:
    right = total = 0
    with vidmem.open(tmp_path / "clip.vidmem") as memory:
        script = Script(ScriptConfig(seed=UNSEEN + 1, duration=24.0))
        memory.ingest(world(script), progress=False)
        for question in ask_many(Scene.of(script, list(range(24))), random.Random(5), 12):
            right += is_right(question, memory.ask(question.text).text)
            total += 1
    with vidmem.open(tmp_path / "needles.vidmem") as memory:
        hidden = needle_script(UNSEEN + 2, 120.0, 2)
        memory.ingest(world(hidden), progress=False)
        for stay in hidden.needles():
            for question in needle_questions(stay):
                right += is_right(question, memory.ask(question.text).text)
                total += 1
    # A guess is right once in fifty; how good the embedded model is, `vidmem bench world` says.
    assert total >= 14 and right >= 0.8 * total, f"{right} of {total} right"
