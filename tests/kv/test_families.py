from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, AutoVideoProcessor, LlavaOnevisionForConditionalGeneration

from vidmem.bench.family_kit import QUESTION, UNEVEN, Case, case_of, copies
from vidmem.bench.random_families import FAMILIES, random_model, token_id, tokenizer
from vidmem.errors import BadInput, MissingModel
from vidmem.kv.asking import AllTaken, LayerRecall, QuestionQueries
from vidmem.kv.attention import Window
from vidmem.kv.context import ContextAttention, RamBlocks, align, assemble, assemble_layer
from vidmem.kv.heads import heads_of
from vidmem.kv.landmark_index import LandmarkIndex
from vidmem.kv.landmarks import head_keys, landmarks
from vidmem.kv.recall import Budget, choose, fuse, ranking, top_groups
from vidmem.kv.representatives import Representatives
from vidmem.kv.rope import place, rotate
from vidmem.kv.tokens import join
from vidmem.kv.writer import StreamWriter
from vidmem.models.chat import Chat
from vidmem.models.families.registry import FAMILIES as ADAPTERS
from vidmem.models.families.registry import family_of
from vidmem.models.kv_dialogue import Dialogue
from vidmem.models.language import Context as ContextFrames
from vidmem.models.language import ContextFrame, VideoLanguageModel
from vidmem.models.preset import load_preset
from vidmem.models.turns import follow_up_ids
from vidmem.types import Span, View, format_time


@pytest.fixture(params=FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    return case_of(request.param)


def test_streaming_with_every_block_is_one_plain_forward(case: Case) -> None:
    images, spans = case.footage(sum(UNEVEN))
    ids = case.chat.ids(QUESTION).closing
    want = case.stock_logits(images, spans, ids)
    assert float(want.std()) > 0.1  # a model that says the same of everything would prove nothing
    for clip_sizes in (UNEVEN, [1] * len(spans), [len(spans)]):
        writer = case.writer()
        store = case.stream(writer, images, spans, clip_sizes)
        got = case.question_logits(case.everything(writer, store), ids)
        assert float((got - want).abs().max()) < 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision_strays_no_further_than_the_stock_model_does(name: str) -> None:
    exact, half = case_of(name), case_of(name, torch.bfloat16)
    images, spans = exact.footage(sum(UNEVEN))
    ids = exact.chat.ids(QUESTION).closing
    want = exact.stock_logits(images, spans, ids)
    stock_error = float((half.stock_logits(images, spans, ids) - want).abs().max())
    writer = half.writer()
    store = half.stream(writer, images, spans, UNEVEN)
    assert {block.keys.dtype for block in (writer.opening, *store.fetch(range(len(store))))} == {torch.bfloat16}
    got = half.question_logits(half.everything(writer, store), ids)
    assert got.dtype == torch.bfloat16
    assert float((got - want).abs().max()) < 2 * stock_error


def test_answers_by_stock_generate_on_the_assembled_cache_are_the_stock_answers(case: Case) -> None:
    images, spans = case.footage(sum(UNEVEN), seed=1)
    ids = case.chat.ids(QUESTION).closing
    writer = case.writer()
    context = case.everything(writer, case.stream(writer, images, spans, UNEVEN))
    dialogue = Dialogue(case.family, context)
    streamed = list(dialogue.ask(ids, before=case.family.after_frames(), max_new_tokens=8))
    assert streamed == case.stock_answer(images, spans, ids, 8)
    assert len(set(streamed)) > 1


def test_keys_are_kept_before_rope(case: Case) -> None:
    images, spans = case.footage(3)
    hooked: list[list[Tensor]] = []
    hooks = []
    for layer in case.family.decoder.layers:
        kept: list[Tensor] = []
        hooked.append(kept)
        projection = getattr(layer.self_attn, "k_norm", None) or layer.self_attn.k_proj
        hooks.append(projection.register_forward_hook(lambda _module, _inputs, out, kept=kept: kept.append(out)))
    writer = case.writer()
    store = case.stream(writer, images, spans, [1, 2])
    for hook in hooks:
        hook.remove()
    layout = case.family.layout
    keys = torch.cat([block.keys for block in (writer.opening, *store.fetch(range(3)))], dim=2)
    for layer_index, parts in enumerate(hooked):
        raw = torch.cat([part.reshape(-1, layout.num_kv_heads, layout.head_dim) for part in parts]).transpose(0, 1)
        assert torch.equal(keys[layer_index], raw)


def test_a_question_leaves_no_trace_in_the_memory(case: Case) -> None:
    images, spans = case.footage(4, seed=2)
    per = case.family.frames_per_block
    ids = case.chat.ids(QUESTION).closing
    quiet = case.writer()
    undisturbed = case.stream(quiet, images, spans, [2, 2])
    writer = case.writer()
    store = case.stream(writer, images[: 2 * per], spans[:2], [2])
    before = copies([writer.opening, *store.fetch(range(2))])
    context = case.everything(writer, store)
    case.question_logits(context, ids)
    list(Dialogue(case.family, context).ask(ids, before=case.family.after_frames(), max_new_tokens=4))
    for (keys, values), block in zip(before, [writer.opening, *store.fetch(range(2))], strict=True):
        assert torch.equal(keys, block.keys) and torch.equal(values, block.values)
    for block, other in zip(
        writer.write(case.family.frames(images[2 * per :], spans[2:])), undisturbed.fetch([2, 3]), strict=True
    ):
        assert torch.equal(block.keys, other.keys) and torch.equal(block.values, other.values)


def test_turns_of_a_dialogue_are_one_forward(case: Case) -> None:
    images, spans = case.footage(3, seed=3)
    first = case.chat.ids(QUESTION).closing
    second = case.family.ids("<|im_start|>user\nAnd then?<|im_end|>\n<|im_start|>assistant\n")
    writer = case.writer()
    context = case.everything(writer, case.stream(writer, images, spans, [3]))
    dialogue = Dialogue(case.family, context)
    said = list(dialogue.ask(first, before=case.family.after_frames(), max_new_tokens=5))
    said_then = list(dialogue.ask(second, max_new_tokens=5))
    assert said == case.stock_answer(images, spans, first, 5)
    assert said_then == case.stock_answer(images, spans, [*first, *said, *second], 5)


def test_an_answer_cut_short_is_part_of_the_dialogue_as_far_as_it_went(case: Case) -> None:
    images, spans = case.footage(2, seed=4)
    first = case.chat.ids(QUESTION).closing
    writer = case.writer()
    context = case.everything(writer, case.stream(writer, images, spans, [2]))
    dialogue = Dialogue(case.family, context)
    answer = dialogue.ask(first, before=case.family.after_frames(), max_new_tokens=40)
    next(answer)
    answer.close()
    grown = dialogue.num_tokens - context.num_tokens - len(case.tail(first))
    said = case.stock_answer(images, spans, first, 40)[: grown + 1]
    then = list(dialogue.ask(first, max_new_tokens=4))
    assert then == case.stock_answer(images, spans, [*first, *said, *first], 4)


def test_stock_use_of_the_model_goes_on_while_vidmem_streams(case: Case) -> None:
    images, spans = case.footage(4, seed=5)
    ids = case.chat.ids(QUESTION).closing
    want, results = case.stock_logits(images, spans, ids), []
    alone = case.writer()
    context = case.everything(alone, case.stream(alone, images, spans, [1] * 4))

    def stream() -> None:
        writer = case.writer()
        store = case.stream(writer, images, spans, [1] * 4)
        results.append(case.everything(writer, store))

    thread = threading.Thread(target=stream)
    thread.start()
    while thread.is_alive():
        assert torch.equal(case.stock_logits(images, spans, ids), want)
    thread.join()
    for layer, other in zip(results[0].layers, context.layers, strict=True):
        assert torch.equal(layer.key, other.key) and torch.equal(layer.value, other.value)


def test_a_part_of_the_blocks_is_the_stock_model_with_the_others_hidden(case: Case) -> None:
    images, spans = case.footage(5, seed=6)
    ids = case.chat.ids(QUESTION).closing
    writer = case.writer()
    store = case.stream(writer, images, spans, [5])
    chosen = [1, 3, 4]
    got = case.question_logits(assemble(writer.opening, retrieved=store.fetch(chosen)), ids)
    assert float((got - _hidden_logits(case, images, spans, ids, chosen)).abs().max()) < 1e-4


def _hidden_logits(case: Case, images: Tensor, spans: list[Span], ids: list[int], chosen: list[int]) -> Tensor:
    """Stock forwards alone: everything once, then the cache without the other blocks, its keys turned by how far
    they move, then the question."""
    family, decoder = case.family, case.family.decoder
    frames = family.frames(images, spans)
    opening, tail = family.text(case.chat.ids("").opening), case.tail(ids)
    parts = [opening, *(frame.tokens for frame in frames)]
    whole = join(parts)
    index = whole.positions[:, None] if family.layout.num_axes == 3 else whole.positions
    plain = decoder(inputs_embeds=whole.embeds[None], position_ids=index, use_cache=True, **family.visual(whole))
    cache, bounds = plain.past_key_values, torch.tensor([0, *(len(part) for part in parts)]).cumsum(0).tolist()
    keep = [0, *(index + 1 for index in chosen)]
    tokens = torch.cat([torch.arange(bounds[part], bounds[part + 1]) for part in keep])
    placed = place([parts[part].positions for part in keep])
    # What a cached key lacks of its new place is a turn by the difference of the positions.
    turn = family.rotary.tables(placed.positions - whole.positions[:, tokens])
    for layer in cache.layers:
        layer.keys, layer.values = rotate(layer.keys[:, :, tokens], *turn), layer.values[:, :, tokens]
    where = place([tail.positions], start=placed.next).positions
    where = where[:, None] if family.layout.num_axes == 3 else where
    out = decoder(inputs_embeds=tail.embeds[None], position_ids=where, past_key_values=cache, use_cache=True)
    return family.logits(out.last_hidden_state[0])[-len(ids) :]


def test_layers_may_bring_back_different_blocks(case: Case) -> None:
    """Generating on layers of unequal lengths is the same as running all tokens again for each new one."""
    images, spans = case.footage(5, seed=7)
    ids = case.chat.ids(QUESTION).closing
    writer = case.writer()
    store = case.stream(writer, images, spans, [5])
    chosen = [[0, 2, 3], [4], [1, 2]]
    context = align([assemble_layer(writer.opening, store.fetch(part), i) for i, part in enumerate(chosen)])
    assert len({len(layer) for layer in context.layers}) == 3
    want: list[int] = []
    for _ in range(6):
        want.append(int(case.question_logits(context, [*ids, *want])[-1].argmax()))
    dialogue = Dialogue(case.family, context)
    assert list(dialogue.ask(ids, before=case.family.after_frames(), max_new_tokens=6)) == want


def test_a_question_recalls_for_itself_in_every_layer(case: Case) -> None:
    images, spans = case.footage(6, seed=8)
    family, question = case.family, case.family.text(case.family.ids(QUESTION))
    writer, representatives = case.writer(), Representatives(case.family.layout)
    store = case.stream(writer, images, spans, [6])
    for block in store.fetch(range(6)):
        representatives.append(block)

    def recall(top_k: int) -> tuple[LayerRecall, Tensor]:
        asking = LayerRecall(
            writer.opening, store, representatives, family.rotary, question.positions, partial(top_groups, top_k=top_k)
        )
        return asking, family.run(question, asking)

    everything, hidden = recall(6)
    plain = family.run(question, ContextAttention(case.everything(writer, store), family.rotary, question.positions))
    torch.testing.assert_close(hidden, plain, atol=2e-5, rtol=0)
    assert everything.chosen == [list(range(6))] * family.layout.num_layers
    some, _ = recall(2)
    best = [ranking(scores, 2) for scores in some.scores]
    assert some.chosen == [sorted(part) for part in best]
    assert some.context().num_tokens == len(writer.opening) + max(
        sum(len(store.fetch([index])[0]) for index in part) for part in best
    )


class _Recording(ContextAttention):
    """Also holds every layer's queries."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.queries: dict[int, Tensor] = {}

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        self.queries[layer_index] = query
        return super().attend(layer_index, query, key, value, scale=scale)


def test_queries_of_some_heads_are_those_of_a_whole_pass_which_ends_behind_the_last(case: Case) -> None:
    family, question = case.family, case.family.text(case.family.ids(QUESTION))
    context = assemble(case.writer().opening)
    recording = _Recording(context, family.rotary, question.positions)
    family.run(question, recording)
    last_head = family.layout.num_kv_heads - 1
    heads = ((1, last_head), (0, 0), (1, 0))
    asking = QuestionQueries(context, family.rotary, question.positions, heads)
    with pytest.raises(AllTaken):
        family.run(question, asking)
    assert family.layout.num_layers > 2
    for (layer, head), queries in zip(heads, asking.queries, strict=True):
        per = len(recording.queries[layer]) // family.layout.num_kv_heads
        wanted = recording.queries[layer][head * per : (head + 1) * per].flatten(0, 1)
        torch.testing.assert_close(queries, wanted, atol=1e-6, rtol=0)


def test_a_grey_picture_is_seen(case: Case) -> None:
    """SmolVLM takes pixels that are 0 throughout for padding."""
    images, spans = case.footage(2)
    images[: case.family.frames_per_block] = 0
    want = case.family.tokens_per_picture
    family = case.family
    pixels = torch.zeros(2 * family.frames_per_block, 3, family.view.height, family.view.width)
    assert family.see(pixels).shape == (2, want, family.token_dim)


def test_pictures_of_another_size_are_refused(case: Case) -> None:
    images, spans = case.footage(2)
    with pytest.raises(BadInput, match="2 spans need frames of shape"):
        case.family.frames(images[:-1], spans)
    with pytest.raises(BadInput, match=r"55 x \d+|width=55"):
        type(case.family)(case.family.model, tokenizer(), _Half(), view=View(55, 60))


def test_a_context_longer_than_the_model_takes_is_refused(case: Case) -> None:
    writer = case.writer()
    dialogue = Dialogue(case.family, assemble(writer.opening))
    with pytest.raises(BadInput, match="lower the budget"):
        dialogue.ask([1, 2], max_new_tokens=5000)


def test_an_error_in_generate_leaves_the_dialogue_as_it_was(case: Case) -> None:
    writer = case.writer()
    dialogue, other = (Dialogue(case.family, assemble(writer.opening)) for _ in range(2))
    before = dialogue.num_tokens
    with pytest.raises(ValueError):
        list(dialogue.ask([5, 6, 7], max_new_tokens=4, no_such_setting=1))
    assert dialogue.num_tokens == before
    assert list(dialogue.ask([5, 6], max_new_tokens=4)) == list(other.ask([5, 6], max_new_tokens=4))


def test_a_layer_that_fails_leaves_the_dialogue_as_it_was(case: Case) -> None:
    writer = case.writer()
    dialogue, other = (Dialogue(case.family, assemble(writer.opening)) for _ in range(2))
    first = list(dialogue.ask([5, 6, 7], max_new_tokens=3))
    assert first == list(other.ask([5, 6, 7], max_new_tokens=3))

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    hook = case.family.decoder.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(dialogue.ask([8, 9], max_new_tokens=3))
    hook.remove()
    assert list(dialogue.ask([10, 11], max_new_tokens=3)) == list(other.ask([10, 11], max_new_tokens=3))


def test_text_is_streamed_turn_by_turn_in_the_chats_own_form(case: Case) -> None:
    images, spans = case.footage(3, seed=9)
    words, first = case.family.tokenizer, case.chat.ids(QUESTION).closing
    writer = case.writer()
    context = case.everything(writer, case.stream(writer, images, spans, [3]))
    for ends_by_itself in (False, True):
        said = case.stock_answer(images, spans, first, 6)
        # An answer that ends by itself ends with an id that the template would put there.
        settings = {"eos_token_id": said[2], "min_new_tokens": 3} if ends_by_itself else {}
        said = case.stock_answer(images, spans, first, 6, **settings)
        follow_up = follow_up_ids(words, "And then?")
        assert words.decode(follow_up) == "<|im_end|>\n<|im_start|>user\nAnd then?<|im_end|>\n<|im_start|>assistant\n"
        dialogue = Dialogue(case.family, context)
        pieces = list(dialogue.say(QUESTION, max_new_tokens=6, **settings))
        assert "".join(pieces) == words.decode(said, skip_special_tokens=True)
        then = case.stock_answer(images, spans, [*first, *said, *follow_up], 6)
        pieces = list(dialogue.say("And then?<|im_end|>", max_new_tokens=6))
        assert "".join(pieces) == words.decode(then, skip_special_tokens=True)


def test_the_end_of_a_turn_is_not_said_twice(case: Case) -> None:
    writer = case.writer()
    family, end = case.family, token_id("<|im_end|>")
    dialogue, other = (Dialogue(family, assemble(writer.opening)) for _ in range(2))

    class Ends:
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            forced = torch.full_like(scores, -torch.inf)
            forced[:, end] = 0
            return forced

    assert "".join(dialogue.say(QUESTION, max_new_tokens=5, logits_processor=[Ends()])) == ""
    ids, follow_up = case.chat.ids(QUESTION).closing, follow_up_ids(family.tokenizer, "And then?")
    want = list(other.ask([*ids, *follow_up], before=family.after_frames(), max_new_tokens=4))
    said = "".join(dialogue.say("And then?", max_new_tokens=4))
    assert said == family.tokenizer.decode(want, skip_special_tokens=True)
    assert dialogue.num_tokens == other.num_tokens


def test_a_window_over_the_whole_stream_changes_nothing_and_a_narrow_one_does(case: Case) -> None:
    images, spans = case.footage(4, seed=10)
    plain, wide, narrow = (
        case.writer(window=window) for window in (None, Window(4000, 3), Window(len(case.writer().opening) + 20, 3))
    )
    stores = [case.stream(writer, images, spans, [2, 2]) for writer in (plain, wide, narrow)]
    for mine, same, other in zip(*(store.fetch(range(4)) for store in stores), strict=True):
        torch.testing.assert_close(mine.keys, same.keys, atol=2e-5, rtol=0)
        torch.testing.assert_close(mine.values, same.values, atol=2e-5, rtol=0)
        assert torch.equal(mine.positions, other.positions)
    assert float((mine.keys - other.keys).abs().max()) > 1e-2


def test_the_whole_way_from_frames_to_an_answer(case: Case) -> None:
    """What the docstring of `vidmem.kv` shows: hybrid retrieval within a budget, shared by the layers."""
    images, spans = case.footage(6, seed=11)
    family, store, writer, sizes = case.family, RamBlocks(), case.writer(), list[int]()
    heads = heads_of(family.layout, ())
    index = LandmarkIndex(heads, family.layout.head_dim)
    for block in writer.write(family.frames(images, spans)):
        store.append(block)
        sizes.append(len(block))
        index.append(landmarks([head_keys(block, heads)], heads), 1)
    question = family.text(family.ids(QUESTION))
    asking = QuestionQueries(assemble(writer.opening), family.rotary, question.positions, heads)
    with pytest.raises(AllTaken):
        family.run(question, asking)
    internal = index.ranking(asking.queries, 8)
    chosen = choose(fuse([internal, [5, 0]]), sizes, Budget(3 * max(sizes)))
    assert len(chosen) == 3 and sorted(internal) == list(range(6))
    context = assemble(writer.opening, retrieved=store.fetch(chosen))
    ids, said = case.chat.ids(QUESTION).closing, list[int]()
    for _ in range(5):
        said.append(int(case.question_logits(context, [*ids, *said])[-1].argmax()))
    pieces = list(Dialogue(family, context).say(QUESTION, max_new_tokens=5))
    assert "".join(pieces) == family.tokenizer.decode(said, skip_special_tokens=True)


def test_a_question_before_the_first_frame_is_answered_from_text(case: Case) -> None:
    family, question = case.family, case.family.text(case.family.ids(QUESTION))
    writer, representatives = case.writer(), Representatives(case.family.layout)
    every = partial(top_groups, top_k=2)
    recall = LayerRecall(writer.opening, RamBlocks(), representatives, family.rotary, question.positions, every)
    family.run(question, recall)
    assert recall.chosen == [[]] * family.layout.num_layers
    dialogue = Dialogue(family, recall.context())
    assert dialogue.num_tokens == len(writer.opening)
    assert len(list(dialogue.ask([5, 6], max_new_tokens=2))) == 2


@pytest.mark.parametrize("newline", [False, True])
def test_the_embedded_model_is_asked_as_ever_and_says_the_same(newline: bool) -> None:
    """`VideoLanguageModel` puts kept frame tokens through one forward; its prompts and answers are what we equal."""
    preset = load_preset("tiny")
    config = replace(preset.language, image_newline=newline)
    language = VideoLanguageModel.load(config, base=preset.base)
    folder = preset.base / config.model
    words = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    processor = AutoVideoProcessor.from_pretrained(folder, local_files_only=True)
    family = ADAPTERS["llava_onevision"](model.eval().requires_grad_(False), words, processor, closing=newline)
    family.let_stream()
    shape, question = (6, family.view.height, family.view.width, 3), "What happened first?"
    images = torch.randint(0, 256, shape, generator=torch.manual_seed(0), dtype=torch.uint8)
    spans = [Span(11.0 * index, 11.0 * index + 11) for index in range(6)]
    rows = language.encode_frames(images)
    labels = [format_time(span.start) for span in spans]
    kept = ContextFrames([ContextFrame(label, row) for label, row in zip(labels, rows, strict=True)])

    ids = Chat(words).ids(question)
    writer = StreamWriter(family, family.layout, family.rotary, family.text(ids.opening))
    streamed = family.frames(images, spans)
    after = [tail] if (tail := family.after_frames()) else []
    parts = [family.text(ids.opening), *(frame.tokens for frame in streamed), *after, family.text(ids.closing)]
    want = language.assemble(kept, question).embeds
    torch.testing.assert_close(join(parts).embeds, want, atol=1e-5, rtol=0)
    blocks = [*writer.write(streamed[:1]), *writer.write(streamed[1:])]
    dialogue = Dialogue(family, assemble(writer.opening, retrieved=blocks))
    answer = "".join(dialogue.say(question, max_new_tokens=config.max_new_tokens))
    assert answer == "".join(language.stream(kept, question))


class _Half:
    image_mean = image_std = [0.5] * 3


def test_a_model_without_an_adapter_is_refused() -> None:
    with pytest.raises(MissingModel, match="a blip model .* of llava_onevision, qwen2_5_vl, qwen3_vl or smolvlm"):
        family_of("blip", "there")


def test_a_text_model_with_its_own_window_is_refused() -> None:
    from transformers import Qwen2Config, Qwen2Model

    from vidmem.models.kv_attention import install

    model = random_model("llava_onevision")
    config = Qwen2Config(**{**model.config.text_config.to_dict(), "layer_types": ["sliding_attention"] * 3})
    with pytest.raises(BadInput, match="sliding_attention"):
        install(Qwen2Model(config))
