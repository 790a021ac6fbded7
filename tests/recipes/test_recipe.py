"""The recipe's packing changes nothing, and what it trains is what transformers runs."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from vidmem.models.prompt import render_prompt
from vidmem.recipes.accelerator import DEVICE
from vidmem.recipes.alignment import GONE, NEW, THERE, came_before, changes, frame_tokens
from vidmem.recipes.bank import ClipBank, Example, Look, with_gist
from vidmem.recipes.evidence import LOOKS_HEAD, LOOKS_LAYER, Wanted, attention, missed, wanted
from vidmem.recipes.language import Curriculum, answer_logits, build, optimizers, run_packed
from vidmem.recipes.packing import PACKED_ATTENTION, TOKENS_PER_FRAME, Packer, clock_of
from vidmem.recipes.tokens import train_tokenizer
from vidmem.recipes.tower import DenseTower


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    tower, tokenizer = DenseTower().to(DEVICE).eval(), train_tokenizer()
    bank = ClipBank(tower, seed=5, size=8)
    bank.refresh(4)
    model = nn.Module.to(build(tokenizer, tower), DEVICE).eval()
    model.model.language_model.set_attn_implementation(PACKED_ATTENTION)
    return model, Packer(tokenizer), bank, tokenizer


@torch.no_grad()
def test_packed_questions_see_only_the_clip_and_themselves(trained) -> None:
    model, packer, bank, _ = trained
    example = bank.example(random.Random(3), 5, 3, pieces=False)
    together, _ = answer_logits(model, packer.pack([example]))
    alone = [
        answer_logits(
            model, packer.pack([Example(example.labels, example.features, [question], [None], [None], example.sums)])
        )[0]
        for question in example.questions
    ]
    assert len(example.questions) == 3
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_clips_of_different_lengths_in_a_batch_change_nothing(trained) -> None:
    model, packer, bank, _ = trained
    examples = [bank.example(random.Random(seed), frames, 2, pieces=False) for seed, frames in ((1, 3), (2, 6))]
    together, _ = answer_logits(model, packer.pack(examples))
    alone = [answer_logits(model, packer.pack([example]))[0] for example in examples]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_packed_answer_s_logits_are_those_of_transformers_own_forward_pass(trained) -> None:
    model, packer, bank, tokenizer = trained
    example = bank.example(random.Random(6), 3, 1, pieces=False)
    packed, _ = answer_logits(model, packer.pack([example]))
    text = render_prompt(example.labels, example.questions[0].text, TOKENS_PER_FRAME)
    answer = tokenizer(example.questions[0].answer + "<|im_end|>", add_special_tokens=False)["input_ids"]
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"] + answer], device=DEVICE)
    frames = model.model.apply_pooling(model.model.multi_modal_projector(example.features.float().to(DEVICE)))
    embeds = model.get_input_embeddings()(ids)
    embeds[ids == model.config.video_token_id] = frames.flatten(0, 1)
    model.model.language_model.set_attn_implementation("eager")
    plain = model(inputs_embeds=embeds, use_cache=False).logits[0, -len(answer) - 1 : -1]
    model.model.language_model.set_attn_implementation(PACKED_ATTENTION)
    torch.testing.assert_close(packed, plain, atol=1e-4, rtol=1e-4)


def frame(**shown: int) -> torch.Tensor:
    """The cells of a frame that shows some things, each in one of them."""
    cells = torch.zeros(16, 4)
    cells[:, 3] = 1.0
    for thing, cell in shown.items():
        cells[cell] = torch.eye(4)[("dog", "cup", "hat").index(thing)]
    return cells


def test_a_thing_is_new_gone_or_only_elsewhere() -> None:
    clip = [frame(dog=0), frame(dog=0, cup=5), frame(dog=9), frame(cup=1)]
    states, before = changes(torch.stack(clip), torch.tensor([True, False, False, True]))
    assert [(states[i] == THERE).nonzero().flatten().tolist() for i in range(4)] == [[0], [0], [9], [1]]
    assert [(states[i] == NEW).nonzero().flatten().tolist() for i in range(4)] == [[], [5], [], []]
    assert before[2, 5] == 1
    assert [(states[i] == GONE).nonzero().flatten().tolist() for i in range(4)] == [[], [], [5], []]


def test_what_comes_first_knows_what_had_come_before_it() -> None:
    first = [frame(dog=0), frame(dog=0, cup=5), frame(cup=9), frame(dog=2, cup=9, hat=4)]
    second = [frame(cup=1, hat=2), frame(dog=3)]
    before = came_before(torch.stack(first + second), [4, 2])
    told = {(index, cell): int(before[index, cell]) for index, cell in (before >= 0).nonzero().tolist()}
    assert told == {(1, 5): 0, (3, 4): 1}  # a dog that comes back is not new, and of two together none was the last


@torch.no_grad()
def test_evidence_is_looked_for_where_the_answer_stands(trained) -> None:
    model, packer, bank, tokenizer = trained
    question = bank.example(random.Random(3), 5, 1, pieces=False).questions[0]
    looks = [Look(1, 0), Look(2, 0, gone=True), Look(None, 1), Look(2, None), Look(3, 2), Look(None, 2), None]
    labels = ["00:01", "00:02", "00:03", "00:04"]
    features = torch.randn(8, 64, 192).bfloat16()
    examples = [
        Example(labels, part, [question] * len(looks), [None] * len(looks), looks, torch.zeros(4, 2).long())
        for part in features.split(4)
    ]
    clip = [frame(dog=0), frame(dog=3, cup=5), frame(cup=5), frame(cup=6)]
    cells = torch.stack(clip * 2)
    batch = packer.pack(examples)
    evidence = wanted(batch, cells)

    places = batch.is_visual[1].nonzero().flatten().view(4, 16)  # of the second clip: the first looks the same
    expected = [
        [places[1, 3]],
        [places[2, 3]],
        [places[1, 5], places[2, 5], places[3, 6]],
        [places[2, 15]],  # of a whole frame, its last token
    ]
    expected.append(list(places[3]))  # of what is not there, all of the frame that is asked about
    answer = tokenizer(question.answer, add_special_tokens=False)["input_ids"]
    second = evidence.rows == 1
    assert int(second.sum()) == 5 * (len(answer) - 1)
    keys = evidence.keys[second].unflatten(0, (5, -1))
    assert [row[0].nonzero().flatten().tolist() for row in keys] == [[int(key) for key in row] for row in expected]
    assert (keys == keys[:, :1]).all()
    said = batch.ids[1][evidence.columns[second]][1 : len(answer) - 1]
    assert said.tolist() == answer[:-2]


@torch.no_grad()
def test_the_attention_that_is_held_to_evidence_is_the_model_s_own(trained) -> None:
    model, packer, bank, _ = trained
    batch = packer.pack([bank.example(random.Random(6), 3, 1, pieces=False)])
    hidden = run_packed(model, batch, frame_tokens(model, batch.features))
    look = attention(model, batch, hidden[LOOKS_LAYER], LOOKS_LAYER, LOOKS_HEAD)
    model.model.language_model.set_attn_implementation("eager")
    plain = model.model.language_model(
        inputs_embeds=hidden[0], position_ids=batch.positions, use_cache=False, output_attentions=True
    ).attentions[LOOKS_LAYER]
    model.model.language_model.set_attn_implementation(PACKED_ATTENTION)
    torch.testing.assert_close(look.exp()[0], plain[0, LOOKS_HEAD, batch.num_shared :], atol=1e-5, rtol=1e-4)
    one = torch.zeros(1, batch.num_shared, dtype=torch.bool)
    one[0, 5] = True
    held = Wanted(torch.tensor([0]), torch.tensor([batch.num_shared + 2]), one)
    assert float(missed(look, batch, held)) == pytest.approx(-float(look[0, 2, 5]))


def test_a_batch_knows_its_times_and_where_answers_need_them(trained) -> None:
    _, packer, bank, tokenizer = trained
    rng, asked = random.Random(8), set()
    while asked < {"when", "order"}:
        example = bank.example(rng, 8, 12, pieces=False)
        batch = packer.pack([example])
        frames = batch.ids[0] == packer.video
        assert batch.clocks[0][frames].tolist() == [clock_of(label) for label in example.labels for _ in range(16)]
        assert batch.is_first_frame.tolist() == [True] + [False] * (len(example.labels) - 1)
        for number, (question, moment) in enumerate(zip(example.questions, example.moments, strict=True), start=1):
            known = batch.ids[0][(batch.segments[0] == number) & (batch.clocks[0] >= 0)]
            text = tokenizer.decode(known)
            asked.add(question.kind)
            if question.kind == "when":
                assert text.removeprefix("<|im_end|>\n<|im_start|>assistant\n") == question.answer[:-3]
                assert question.answer.endswith(f"{moment}.")
            elif question.kind == "order":
                assert text == "<|im_end|>\n<|im_start|>assistant\n"
                assert moment in example.labels
            else:
                assert not text
            frames = batch.asked_frames[0][batch.segments[0] == number]
            if question.text[:-1].split()[-1] in example.labels:
                assert tokenizer.decode(batch.ids[0][batch.segments[0] == number][frames >= 0]).startswith(
                    question.text[-3:]
                )
                assert example.labels[int(frames.max())] in question.text


def test_every_weight_that_is_learnt_has_one_optimizer_and_the_tower_has_none(trained) -> None:
    model = trained[0]
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    muon, adam = optimizers(model, learnt)
    held = [p for optimizer in (muon, adam) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, learnt))
    inside = {id(p) for p in model.model.language_model.layers.parameters()}
    assert all(p.dim() == 2 and id(p) in inside for group in muon.param_groups for p in group["params"])
    assert not {id(p) for p in model.model.vision_tower.parameters()} & {id(p) for p in held}


def test_the_curriculum_waits_for_understanding() -> None:
    curriculum = Curriculum()
    curriculum.judge(0.5)
    assert curriculum.level == 0
    assert max(curriculum.draw(random.Random(seed))[0] for seed in range(200)) <= 6
    for _ in range(9):
        curriculum.judge(0.9)
    assert max(curriculum.draw(random.Random(seed))[0] for seed in range(400)) == 40


def test_packed_ids_are_the_prompt_that_answering_renders(trained) -> None:
    _, packer, bank, tokenizer = trained
    example = bank.example(random.Random(4), 4, 1, pieces=True)
    question = example.questions[0]
    text = render_prompt(example.labels, question.text, TOKENS_PER_FRAME) + question.answer + "<|im_end|>"
    assert packer.pack([example]).ids[0].tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_time_is_the_same_tokens_wherever_it_stands(trained) -> None:
    tokenizer = trained[3]
    mark = tokenizer.tokenize("[13:07]")[1:-1]
    answer = tokenizer.tokenize("The dog appeared at 13:07.")
    assert mark == ["13", ":", "07"]
    assert answer[-4:-1] == mark


def test_a_gist_frame_is_the_mean_of_what_follows_it() -> None:
    sums = torch.tensor([[1, 0], [2, 0], [3, 1]])
    times, features, sums = with_gist(np.arange(3.0), torch.tensor([[1.0], [2.0], [6.0]]), sums, random.Random(1))
    assert sums.tolist() == [[-1, -1], [1, 0], [2, 0], [3, 1]]
    assert times.tolist() == [0.0, 0.0, 1.0, 2.0]
    assert features.flatten().tolist() == [3.0, 1.0, 2.0, 6.0]
