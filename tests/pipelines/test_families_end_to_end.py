"""Every family from a preset to an answer: random checkpoints on disk, a piece of the sample world, both modes.

Weights are random, so answers mean nothing. They are long enough to tell whether the model saw what it should have:
the same text as its stock classes generate, over the same pictures, in one plain forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from random_models import PIXELS, SIDES, write_family_preset
from stock_families import Stock
from test_embedded import world
from torch import Tensor

import vidmem
from vidmem.bench.random_families import FAMILIES
from vidmem.errors import BadInput, ModelMismatch
from vidmem.ingest import open_source
from vidmem.models.language import Context, VideoLanguageModel
from vidmem.pipelines import VideoMemory
from vidmem.pipelines.recall import Recall
from vidmem.types import View
from vidmem.world.script import Script, ScriptConfig

SECONDS = 12
QUESTIONS = ("When did the dog appear?", "What happened first?", "What was there at 0:07?")
SCRIPT = Script(ScriptConfig(seed=7 * 10**12 + 21, duration=float(SECONDS)))


@dataclass(frozen=True)
class Checkpoint:
    """A family's random model on disk, with presets beside it."""

    family: str
    folder: Path

    def preset(self, mode: str, **language: object) -> Path:
        return write_family_preset(self.folder, self.family, mode, **language)

    def stock(self) -> Stock:
        return Stock(self.folder / self.family, self.family)

    def images(self, pictures: list[tuple[float, np.ndarray]]) -> Tensor:
        """What the video-LLM sees of some pictures: uint8 (F, side, side, 3)."""
        side = SIDES.get(self.family, PIXELS)
        with open_source(iter(pictures)) as source:
            frames = source.frames(fps=1.0, views=(View(side, side),))
            return torch.from_numpy(np.stack([frame.views[0] for frame in frames]))


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    made = Checkpoint(request.param, tmp_path_factory.mktemp(request.param))
    made.preset("kv")
    return made


@pytest.fixture(scope="module")
def pictures() -> list[tuple[float, np.ndarray]]:
    return list(world(SCRIPT))


@pytest.fixture(scope="module")
def stock_answers(checkpoint: Checkpoint, pictures: list[tuple[float, np.ndarray]]) -> list[str]:
    stock, images = checkpoint.stock(), checkpoint.images(pictures)
    return [stock.answer(images, stock.times(SECONDS), question) for question in QUESTIONS]


@pytest.fixture(scope="module")
def watched(
    checkpoint: Checkpoint, pictures: list[tuple[float, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VideoMemory]:
    """A store in kv mode that saw the whole video in one go."""
    with vidmem.open(tmp_path_factory.mktemp("watched") / "a.vidmem", checkpoint.preset("kv")) as memory:
        memory.ingest(iter(pictures), progress=False)
        yield memory


def saved(folder: Path, pictures: list[tuple[float, np.ndarray]]) -> Path:
    folder.mkdir()
    for seconds, picture in pictures:
        Image.fromarray(picture).save(folder / f"{int(seconds):03d}.png")
    return folder


def interrupt(done: float, total: float | None) -> None:
    if done >= 8:
        raise KeyboardInterrupt


def answers(memory: VideoMemory) -> list[str]:
    return [memory.ask(question).text for question in QUESTIONS]


def test_stored_frames_are_answered_about_as_by_one_stock_generate(
    watched: VideoMemory, stock_answers: list[str]
) -> None:
    assert answers(watched) == [text.strip() for text in stock_answers]
    assert len(set(stock_answers)) > 1
    with watched.ask_stream(QUESTIONS[0]) as stream:
        assert stream.evidence
        assert "".join(stream) == stock_answers[0]
    hits = watched.search("a dog", k=3)
    assert hits and all(0 <= hit.start < hit.end <= SECONDS for hit in hits)


@pytest.mark.usefixtures("one_by_one")
def test_an_ingest_that_was_cut_short_goes_on_and_is_answered_about_the_same(
    tmp_path: Path,
    checkpoint: Checkpoint,
    pictures: list[tuple[float, np.ndarray]],
    stock_answers: list[str],
) -> None:
    folder = saved(tmp_path / "frames", pictures)
    preset = checkpoint.preset("kv")
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory, pytest.raises(KeyboardInterrupt):
        memory.ingest(folder, progress=interrupt)
    with vidmem.open(tmp_path / "a.vidmem") as memory:
        assert memory.videos()[0].num_frames == 8
        report = memory.ingest(folder, progress=False)
        assert report.resumed_from == 8 and report.frames == SECONDS - 8
        assert answers(memory) == [text.strip() for text in stock_answers]


@pytest.mark.usefixtures("one_by_one")
def test_compressed_blocks_go_on_behind_a_break(
    tmp_path: Path, checkpoint: Checkpoint, pictures: list[tuple[float, np.ndarray]]
) -> None:
    preset = checkpoint.folder / "compressed.toml"
    preset.write_text(checkpoint.preset("kv").read_text() + "keep_ratio = 0.4\n")
    folder = saved(tmp_path / "frames", pictures)
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory, pytest.raises(KeyboardInterrupt):
        memory.ingest(folder, progress=interrupt)
    with vidmem.open(tmp_path / "a.vidmem") as memory:
        memory.ingest(folder, progress=False)
        assert memory._blocks is not None
        sizes = memory._blocks.of(memory.videos()[0]).block_tokens
        language = memory._models.language
        assert len(sizes) == SECONDS and sum(sizes[8:]) < 4 * language.frame_cost(language.label(8.0))
        with memory.ask_stream("What happened first?") as stream:
            list(stream)  # random weights may well say nothing but the end
            assert stream.evidence


def test_tokens_mode_says_the_same(
    tmp_path: Path, checkpoint: Checkpoint, pictures: list[tuple[float, np.ndarray]], stock_answers: list[str]
) -> None:
    with vidmem.open(tmp_path / "a.vidmem", checkpoint.preset("tokens")) as memory:
        memory.ingest(iter(pictures), progress=False)
        assert answers(memory) == [text.strip() for text in stock_answers]


def test_the_checkpoints_own_generation_settings_set_no_mode_apart(
    tmp_path: Path, checkpoint: Checkpoint, pictures: list[tuple[float, np.ndarray]], stock_answers: list[str]
) -> None:
    settings = checkpoint.folder / checkpoint.family / "generation_config.json"
    before = settings.read_text()
    try:
        settings.write_text('{"do_sample": true, "temperature": 0.7, "top_k": 5, "repetition_penalty": 3.0}')
        with vidmem.open(tmp_path / "a.vidmem", checkpoint.preset("kv")) as memory:
            memory.ingest(iter(pictures), progress=False)
            assert answers(memory) == [text.strip() for text in stock_answers]
    finally:
        settings.write_text(before)


def test_frames_of_several_videos_are_marked_with_their_names(
    tmp_path: Path,
    checkpoint: Checkpoint,
    pictures: list[tuple[float, np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contexts: list[Context] = []
    stream = VideoLanguageModel.stream
    monkeypatch.setattr(
        VideoLanguageModel,
        "stream",
        lambda self, context, *rest: (contexts.append(context), stream(self, context, *rest))[1],
    )
    with vidmem.open(tmp_path / "a.vidmem", checkpoint.preset("kv")) as memory:
        for part in (pictures[:4], pictures[4:8]):
            memory.ingest(((seconds % 4, picture) for seconds, picture in part), progress=False)
        names = [video.name for video in memory.videos()]
        said = memory.ask("What happened first?").text
    (context,) = contexts
    stock = checkpoint.stock()
    times = [f"{name} {time}" for name in names for time in stock.times(4)]
    assert [frame.time_label for frame in context.frames] == times
    assert said == stock.answer(checkpoint.images(pictures)[:8], times, "What happened first?").strip()


def test_blocks_that_are_gone_are_made_again_from_tokens_alone(
    tmp_path: Path, checkpoint: Checkpoint, pictures: list[tuple[float, np.ndarray]], stock_answers: list[str]
) -> None:
    with vidmem.open(tmp_path / "a.vidmem", checkpoint.preset("kv")) as memory:
        memory.ingest(iter(pictures), progress=False)
    for file in (tmp_path / "a.vidmem").glob("kv/*/*"):
        file.unlink()
    with vidmem.open(tmp_path / "a.vidmem", read_only=True) as memory:
        assert answers(memory) == [text.strip() for text in stock_answers]
        assert "00:00-its end" in memory.notices[0]


@pytest.mark.parametrize(("mode", "policy"), [("kv", "moviechat"), ("tokens", "moviechat"), ("tokens", "pyramid")])
def test_what_does_not_fit_is_chosen_and_joined_by_long_term_memory(
    tmp_path: Path,
    checkpoint: Checkpoint,
    pictures: list[tuple[float, np.ndarray]],
    mode: str,
    policy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gists: list[list] = []
    gist = Recall._gist
    monkeypatch.setattr(Recall, "_gist", lambda *given: (gists.append(gist(*given)), gists[-1])[1])
    text = checkpoint.preset(mode).read_text().replace("context_tokens = 900", "context_tokens = 90")
    small = checkpoint.folder / f"small-{mode}-{policy}.toml"
    small.write_text(text + f'[memory]\npolicy = "{policy}"\nworking_max_frames = 4\nworking_min_frames = 2\n')
    with vidmem.open(tmp_path / "a.vidmem", small) as memory:
        memory.ingest(iter(pictures), progress=False)
        assert memory.ask("Was there a dog?").evidence
    assert len(gists[0]) > 0


# -- refusals, one sentence each --


def test_a_picture_size_that_the_model_can_not_see_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    wrong = checkpoint.preset("kv", side=60)
    with pytest.raises(BadInput, match=r"60 x 60.*(side = 56|side = 64|leave `side` out)"):
        vidmem.open(tmp_path / "a.vidmem", wrong)


def test_a_store_takes_pictures_of_one_size(tmp_path: Path, checkpoint: Checkpoint) -> None:
    side = SIDES.get(checkpoint.family, PIXELS)
    vidmem.open(tmp_path / "a.vidmem", checkpoint.preset("kv", side=side)).close()
    vidmem.open(tmp_path / "a.vidmem").close()
    checkpoint.preset("kv", side=2 * side)  # the same file
    with pytest.raises(
        ModelMismatch, match=rf"revision '\w+ at {side} x {side}', not '\w+ at {2 * side} x {2 * side}'"
    ):
        vidmem.open(tmp_path / "a.vidmem")


def test_a_context_longer_than_the_model_takes_is_refused(
    tmp_path: Path, checkpoint: Checkpoint, pictures: list[tuple[float, np.ndarray]]
) -> None:
    short = checkpoint.preset("kv", max_context_tokens=500)
    with vidmem.open(tmp_path / "a.vidmem", short) as memory:
        with pytest.raises(BadInput, match="a window of 900 tokens is longer than the 500 that the model takes"):
            memory.ingest(iter(pictures), progress=False)


def test_a_question_that_leaves_no_room_is_refused(watched: VideoMemory) -> None:
    with pytest.raises(BadInput, match="the model takes 4096: shorten the question"):
        watched.ask("why " * 5000)
