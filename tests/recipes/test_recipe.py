"""The recipe's packing changes nothing, and what it trains is what transformers runs."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from vidmem.models.prompt import render_prompt
from vidmem.recipes.bank import ClipBank, Example, with_gist
from vidmem.recipes.language import TOKENS_PER_FRAME, Packer, answer_logits, build
from vidmem.recipes.tokens import train_tokenizer
from vidmem.recipes.tower import DenseTower


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    tower, tokenizer = DenseTower().eval(), train_tokenizer()
    bank = ClipBank(tower, seed=5, size=8)
    bank.refresh(4)
    return build(tokenizer, tower).eval(), Packer(tokenizer), bank, tokenizer


@torch.no_grad()
def test_packed_questions_see_only_the_clip_and_themselves(trained) -> None:
    model, packer, bank, _ = trained
    example = bank.example(random.Random(3), 5, 3, pieces=False)
    together, _ = answer_logits(model, packer.pack([example]))
    alone = [
        answer_logits(model, packer.pack([Example(example.labels, example.features, [question])]))[0]
        for question in example.questions
    ]
    assert len(example.questions) == 3
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


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
