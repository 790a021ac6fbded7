"""The video-LLM of every family, loaded from a folder: what it is shown, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from random_models import PIXELS, SIDES, write_family
from stock_families import TOKENS_PER_FRAME, Stock

from vidmem.bench.random_families import FAMILIES
from vidmem.errors import BadInput, MissingModel
from vidmem.kv.block import Block
from vidmem.kv.context import ContextAttention
from vidmem.kv.tokens import join
from vidmem.models.chat import Chat
from vidmem.models.kv_language import KvLanguage
from vidmem.models.language import Context, ContextFrame, VideoLanguageModel
from vidmem.models.preset import LanguageConfig
from vidmem.types import Span

QUESTION = "When did the dog appear?"


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("families") / family, family)


@pytest.fixture(scope="module")
def language(family: str, folder: Path) -> VideoLanguageModel:
    return loaded(folder, family)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def loaded(folder: Path, family: str, **settings: object) -> VideoLanguageModel:
    config = {"image_newline": True, "max_new_tokens": 12, "side": SIDES.get(family, 0), **settings}
    return VideoLanguageModel.load(LanguageConfig(model=str(folder), **config))  # type: ignore[arg-type]


def noise(family: str, num: int, seed: int = 4) -> torch.Tensor:
    side = SIDES.get(family, PIXELS)
    return torch.randint(0, 256, (num, side, side, 3), dtype=torch.uint8, generator=torch.manual_seed(seed))


def context(language: VideoLanguageModel, images: torch.Tensor) -> Context:
    rows = language.encode_frames(images)
    return Context([ContextFrame(language.label(float(second)), row) for second, row in enumerate(rows)])


@torch.no_grad()
def test_both_modes_have_one_prompt_and_its_logits_are_those_of_one_stock_forward(
    family: str, folder: Path, language: VideoLanguageModel
) -> None:
    stock, images = Stock(folder, family), noise(family, 5)
    want = stock.logits(images, stock.times(5), QUESTION)
    assert float(want.std()) > 0.1
    given, kv, adapter = context(language, images), KvLanguage(language), language.family
    assert [frame.time_label for frame in given.frames] == stock.times(5)
    frames = [
        kv.frame(frame.time_label, frame.tokens, Span(second, second + 1)) for second, frame in enumerate(given.frames)
    ]
    after = [tail] if (tail := adapter.after_frames()) else []
    tail = join([*after, adapter.text(Chat(adapter.tokenizer).ids(QUESTION).closing)])
    attention = ContextAttention(kv.context(kv.remade(frames)), adapter.rotary, tail.positions)
    assert float((adapter.logits(adapter.run(tail, attention))[-1] - want).abs().max()) < 1e-4

    whole = join([adapter.text(language.opening_ids), *(frame.tokens for frame in frames), tail])
    prompt = language.assemble(given, QUESTION)
    assert len(prompt) == language.prompt_cost(QUESTION) + sum(language.frame_cost(time) for time in stock.times(5))
    for name in ("embeds", "positions", "is_visual", "deepstack"):
        mine, other = getattr(whole, name), getattr(prompt, name)
        assert mine is other is None or torch.equal(mine, other)
    assert (prompt.deepstack is not None) == (family == "qwen3_vl")
    assert "".join(language.stream(given, QUESTION)) == stock.answer(images, stock.times(5), QUESTION)


def test_prefill_in_parts_gives_the_same_answer(
    family: str, language: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = context(language, noise(family, 4))
    whole = "".join(language.stream(given, QUESTION))
    monkeypatch.setattr("vidmem.models.language._PREFILL_TOKENS", 7)
    assert "".join(language.stream(given, QUESTION)) == whole


def test_a_frames_tokens_do_not_depend_on_those_beside_it(family: str, language: VideoLanguageModel) -> None:
    images = noise(family, 19)
    rows = language.encode_frames(images)
    assert rows.shape == (19, TOKENS_PER_FRAME, language.token_dim)
    one_by_one = torch.cat([language.encode_frames(images[index : index + 1]) for index in range(19)])
    torch.testing.assert_close(rows, one_by_one, rtol=1e-5, atol=2e-5)
    assert language.encode_frames(images[:0]).shape == (0, *rows.shape[1:])
    with pytest.raises(ValueError, match="frames must be"):
        language.encode_frames(images[:, 1:])


def test_what_is_left_of_a_block_is_told_apart_by_its_places(family: str, language: VideoLanguageModel) -> None:
    kv = KvLanguage(language)
    (given,) = context(language, noise(family, 1)).frames
    frame = kv.frame(given.time_label, given.tokens, Span(0.0, 1.0))
    (block,) = kv.remade([frame])
    assert torch.equal(kv.seen(block, frame).is_visual, frame.tokens.is_visual)
    left = torch.arange(len(block))[::2]
    part = Block(block.keys[:, :, left], block.values[:, :, left], block.positions[:, left], block.span)
    assert torch.equal(kv.seen(part, frame).is_visual, frame.tokens.is_visual[left])


def test_hours_are_told_where_the_family_tells_them(family: str, language: VideoLanguageModel) -> None:
    told = [language.label(75.0), language.label(75.0, hours=True), language.label(3675.0, hours=True)]
    wanted = {"smolvlm": ["01:15", "01:15", "61:15"], "qwen3_vl": ["75.0 seconds", "75.0 seconds", "3675.0 seconds"]}
    assert told == wanted.get(family, ["01:15", "00:01:15", "01:01:15"])


def test_names_of_special_tokens_in_a_videos_name_are_only_text(language: VideoLanguageModel) -> None:
    label = language.label(7.0)
    plain, attack = (language.family.ids_around(f"{name} {label}") for name in ("a  b", "a <|im_end|> b"))
    assert language.family.tokenizer.eos_token_id not in attack[0]
    assert len(attack[0]) <= len(plain[0]) + 1


def test_without_time_marks_a_frame_is_shown_alone(family: str, folder: Path) -> None:
    unmarked = loaded(folder, family, time_marks=False)
    around = unmarked.family.around
    assert unmarked.frame_cost("00:07") == TOKENS_PER_FRAME + len(around.before) + len(around.after)


# -- refusals, one sentence each --


@pytest.mark.parametrize("kind", ["qwen2", "newer_than_transformers"])
def test_a_kind_of_model_without_an_adapter_is_refused(copied: Path, family: str, kind: str) -> None:
    (copied / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(MissingModel, match=f"a {kind} model .* llava_onevision, qwen2_5_vl, qwen3_vl or smolvlm"):
        loaded(copied, family)


@pytest.mark.parametrize("text", ["{", "[]", '{"hidden_size": 64}', '{"model_type": 3}'])
def test_a_configuration_that_says_no_kind_is_refused(copied: Path, family: str, text: str) -> None:
    (copied / "config.json").write_text(text)
    with pytest.raises(MissingModel, match=r"config.json is no model configuration \(.*\): put complete files"):
        loaded(copied, family)


def test_a_checkpoint_without_a_video_processor_is_refused(copied: Path, family: str) -> None:
    (copied / "video_preprocessor_config.json").unlink()
    (copied / "processor_config.json").write_text('{"processor_class": "SomeProcessor"}')
    with pytest.raises(MissingModel, match="no video processor .* use a checkpoint with video support"):
        loaded(copied, family)


def test_a_tokenizer_that_lacks_what_stands_beside_pictures_is_refused(copied: Path, family: str) -> None:
    around = VideoLanguageModel.load(LanguageConfig(model=str(copied), side=SIDES.get(family, 0))).family.around
    if not around.before:
        pytest.skip("nothing stands beside this family's pictures")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        text = (copied / file).read_text()
        (copied / file).write_text(text.replace(around.before[0], "<|other|>"))
    with pytest.raises(BadInput, match="has no <.*>, which stands beside every picture"):
        loaded(copied, family)


def test_mixed_dtypes_are_refused(folder: Path, family: str) -> None:
    language = loaded(folder, family)
    adapter, model = language.family, language.family.model
    next(model.model.children()).to(torch.bfloat16)
    with pytest.raises(BadInput, match="bfloat16 and float32"):
        type(adapter)(model, adapter.tokenizer, None, view=language.view)


def test_a_chat_template_in_a_file_of_the_processors_is_found(
    copied: Path, family: str, language: VideoLanguageModel
) -> None:
    template = copied / "chat_template.jinja"
    text = template.read_text()
    template.unlink()
    with pytest.raises(MissingModel, match="no chat template"):
        loaded(copied, family)
    (copied / "chat_template.json").write_text(json.dumps({"chat_template": text}))
    assert loaded(copied, family).opening_ids == language.opening_ids


def test_a_model_that_can_not_be_streamed_is_asked_in_tokens_mode(copied: Path, family: str) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["text_config"]["rope_parameters"] |= {"rope_type": "dynamic", "factor": 2.0}
    (copied / "config.json").write_text(json.dumps(config))
    language = loaded(copied, family)
    assert "".join(language.stream(context(language, noise(family, 2)), QUESTION))
    with pytest.raises(BadInput, match='use mode = "tokens"'):
        KvLanguage(language)
