"""Frame tokens held to words, before and while the video-LLM is trained."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from vidmem.recipes.bank import ClipBank
from vidmem.recipes.packing import TOKENS_PER_FRAME
from vidmem.recipes.tower import DenseTower, one_cycle, set_rate
from vidmem.world.script import THINGS


def word_embedding(model: LlavaOnevisionForConditionalGeneration) -> Tensor:
    """The table (vocabulary, D) of words, which is the output layer's too."""
    weight = model.lm_head.weight
    assert isinstance(weight, Tensor)
    return weight


def frame_tokens(model: LlavaOnevisionForConditionalGeneration, features: Tensor) -> Tensor:
    """The tower's patches (F, 64, 192) as the language model gets them: (F, 16, D)."""
    projected = model.model.multi_modal_projector(features.to(model.lm_head.weight.dtype))
    return model.model.apply_pooling(projected)


class Alignment(nn.Module):
    """Holds frame tokens to words: a token that shows a dog points where the word *dog* is embedded.

    Without it the language model needs thousands of steps before it looks at the frames at all; with it seeing is
    like reading. What a token shows comes from the tower's dense head, so no labels are needed. A second probe keeps
    the token's place in the frame readable.
    """

    words: Tensor

    def __init__(self, tower: DenseTower, tokenizer: PreTrainedTokenizerFast, width: int) -> None:
        super().__init__()
        self.tower = tower.requires_grad_(False)
        words = [tokenizer(f" {thing.split()[-1]}", add_special_tokens=False)["input_ids"][0] for thing in THINGS]
        self.register_buffer("words", torch.tensor(words))
        self.background = nn.Parameter(torch.randn(width) * 0.02)
        self.place = nn.Linear(width, TOKENS_PER_FRAME)

    def forward(self, tokens: Tensor, features: Tensor, embedding: Tensor) -> Tensor:
        """Loss of tokens (F, 16, D) made of features (F, 64, 192), given the word embedding (vocabulary, D)."""
        with torch.no_grad():
            shares = self.tower.head(self.tower.norm(features.float()))[..., :-1].softmax(-1)
            grid = int(shares.shape[1] ** 0.5)
            cells = shares.unflatten(1, (grid // 2, 2, grid // 2, 2)).mean((2, 4)).flatten(1, 2)  # (F, 16, things + 1)
        classes = torch.cat([embedding[self.words], self.background[None]])
        tokens = tokens.float()
        alike = nn.functional.normalize(tokens, dim=-1) @ nn.functional.normalize(classes, dim=-1).T
        weight = torch.where(cells[..., -1] > 0.95, 0.1, 1.0)
        named = -((alike * 16.0).log_softmax(-1) * cells).sum(-1)
        size = (tokens.norm(dim=-1) / classes.norm(dim=-1).mean().detach() - 2.0).square().mean()
        order = torch.arange(TOKENS_PER_FRAME).expand(len(tokens), -1)
        placed = nn.functional.cross_entropy(self.place(tokens * 5.0).flatten(0, 1), order.flatten())
        return (named * weight).sum() / weight.sum() + placed + 0.1 * size


def align(
    model: LlavaOnevisionForConditionalGeneration, alignment: Alignment, bank: ClipBank, steps: int, seed: int
) -> float:
    """Bring the projector to words before anything else is learnt. Returns the last loss."""
    rng = random.Random(seed)
    projector: nn.Module = model.model.multi_modal_projector
    learnt = [*projector.parameters(), *alignment.place.parameters(), alignment.background]
    optimizer = torch.optim.AdamW(learnt, lr=2e-3)
    loss = torch.zeros(())
    for step in range(1, steps + 1):
        features = torch.cat([rng.choice(bank.clips).features for _ in range(8)])
        with torch.autocast("cpu", torch.bfloat16):
            tokens = frame_tokens(model, features)
        loss = alignment(tokens, features, word_embedding(model).detach())
        optimizer.zero_grad()
        loss.backward()
        set_rate(optimizer, 2e-3 * one_cycle(step, steps))
        optimizer.step()
    return loss.item()
