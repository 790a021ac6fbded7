"""The recipe's packing changes nothing, and what it trains is what transformers runs."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from vidmem.models.prompt import render_prompt
from vidmem.recipes.accelerator import DEVICE
from vidmem.recipes.alignment import GONE, NEW, THERE, changes
from vidmem.recipes.bank import ClipBank, Example, with_gist
from vidmem.recipes.language import Curriculum, answer_logits, build, optimizers
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
        answer_logits(model, packer.pack([Example(example.labels, example.features, [question], [None])]))[0]
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


def test_a_thing_is_new_gone_or_only_elsewhere() -> None:
    def frame(**shown: int) -> torch.Tensor:
        cells = torch.zeros(16, 3)
        cells[:, 2] = 1.0
        for thing, cell in shown.items():
            cells[cell] = torch.eye(3)[("dog", "cup").index(thing)]
        return cells

    clip = [frame(dog=0), frame(dog=0, cup=5), frame(dog=9), frame(cup=1)]
    states, before = changes(torch.stack(clip), torch.tensor([True, False, False, True]))
    assert [(states[i] == THERE).nonzero().flatten().tolist() for i in range(4)] == [[0], [0], [9], [1]]
    assert [(states[i] == NEW).nonzero().flatten().tolist() for i in range(4)] == [[], [5], [], []]
    assert before[2, 5] == 1
    assert [(states[i] == GONE).nonzero().flatten().tolist() for i in range(4)] == [[], [], [5], []]


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
    times, features = with_gist(np.arange(3.0), torch.tensor([[1.0], [2.0], [6.0]]), random.Random(1))
    assert times.tolist() == [0.0, 0.0, 1.0, 2.0]
    assert features.flatten().tolist() == [3.0, 1.0, 2.0, 6.0]
