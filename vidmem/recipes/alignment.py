"""Frame tokens held to words, before and while the video-LLM is trained."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from vidmem.recipes.accelerator import DEVICE, half
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

    @torch.no_grad()
    def cells(self, features: Tensor) -> Tensor:
        """What each frame token shows, as shares (F, 16, things + 1) whose last is the background."""
        shares = self.tower.head(self.tower.norm(features.float()))[..., :-1].softmax(-1)
        grid = int(shares.shape[1] ** 0.5)
        return shares.unflatten(1, (grid // 2, 2, grid // 2, 2)).mean((2, 4)).flatten(1, 2)

    def forward(self, tokens: Tensor, cells: Tensor, embedding: Tensor) -> Tensor:
        """Loss of tokens (F, 16, D) that show `cells`, given the word embedding (vocabulary, D)."""
        classes = torch.cat([embedding[self.words], self.background[None]])
        tokens = tokens.float()
        alike = nn.functional.normalize(tokens, dim=-1) @ nn.functional.normalize(classes, dim=-1).T
        weight = torch.where(cells[..., -1] > 0.95, 0.1, 1.0)
        named = -((alike * 16.0).log_softmax(-1) * cells).sum(-1)
        size = (tokens.norm(dim=-1) / classes.norm(dim=-1).mean().detach() - 2.0).square().mean()
        order = torch.arange(TOKENS_PER_FRAME, device=tokens.device).expand(len(tokens), -1)
        placed = nn.functional.cross_entropy(self.place(tokens * 5.0).flatten(0, 1), order.flatten())
        return (named * weight).sum() / weight.sum() + placed + 0.1 * size


NOTHING, THERE, NEW, GONE = range(4)
MOST_THINGS = 7
"""Counts are told apart up to this: more than a frame has places."""


def changes(cells: Tensor, is_first: Tensor) -> tuple[Tensor, Tensor]:
    """What became of each token's cell since the frame before, and which thing the cell showed then (-1: none).

    Args:
        cells: (F, 16, things + 1), see `Alignment.cells`.
        is_first: (F,), frames before which their context shows none: there nothing is new.

    Returns:
        (F, 16) of NOTHING, THERE, NEW or GONE, and (F, 16) numbers of things.
    """
    shows = torch.where(cells[..., -1] < 0.6, cells[..., :-1].argmax(-1), -1)
    visible = cells[..., :-1].amax(1) > 0.2  # (F, things)
    before, shown_before = visible.roll(1, 0), shows.roll(1, 0)
    is_new = ~before.gather(1, shows.clamp(min=0)) & ~is_first[:, None]
    is_gone = (shown_before >= 0) & ~visible.gather(1, shown_before.clamp(min=0)) & ~is_first[:, None]
    thing = torch.where(is_new, NEW, THERE)
    return torch.where(shows >= 0, thing, torch.where(is_gone, GONE, NOTHING)), shown_before


def came_before(cells: Tensor, num_frames: list[int]) -> Tensor:
    """Which thing had come last, for all that come for the first time: numbers of things (F, 16), -1 for all others.

    Args:
        cells: (F, 16, things + 1), see `Alignment.cells`.
        num_frames: of each context, F in all. Things that come together have no order among them.
    """
    shows = torch.where(cells[..., -1] < 0.6, cells[..., :-1].argmax(-1), -1)
    known = []
    for visible, shown in zip((cells[..., :-1].amax(1) > 0.2).split(num_frames), shows.split(num_frames), strict=True):
        seen = visible.int().cummax(0).values.bool()
        comes = seen & ~torch.cat([torch.zeros_like(seen[:1]), seen[:-1]])  # (F, things)
        count = comes.sum(1)
        told = torch.arange(len(comes), device=cells.device) * (count > 0)
        latest = torch.cat([told[:1], told.cummax(0).values[:-1]])  # the last frame before this one that brought any
        alone = (count[latest] == 1) & (latest < torch.arange(len(comes), device=cells.device))
        before = torch.where(alone, comes[latest].int().argmax(1), -1)
        is_first = comes.gather(1, shown.clamp(min=0)) & (shown >= 0)
        known.append(torch.where(is_first, before[:, None], -1))
    return torch.cat(known)


class Moments(nn.Module):
    """Holds tokens half-way through the language model to what changed since the frame before, and to times.

    A frame's tokens must know what is new and when they are; an answer's tokens, when that was which is asked about.
    Left to itself the model had come to neither in 2,000 steps: it answered with another frame's time.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Linear(width, 4)
        self.clock = nn.Linear(width, 120)
        self.gone = nn.Linear(width, len(THINGS))
        self.there = nn.Linear(width, len(THINGS))
        self.before = nn.Linear(width, len(THINGS))
        self.sums = nn.Linear(width, MOST_THINGS + 1 + 2)

    def changed(self, hidden: Tensor, states: Tensor, shown_before: Tensor) -> Tensor:
        """Loss of frame tokens (N, D), given what `changes` says of them: all states weigh the same.

        Where a thing is gone, the token must know which.
        """
        missed = nn.functional.cross_entropy(self.change(hidden.float()), states, reduction="none")
        loss = torch.stack([missed[states == state].mean() for state in states.unique()]).mean()
        is_gone = states == GONE
        named = nn.functional.cross_entropy(self.gone(hidden[is_gone].float()), shown_before[is_gone], reduction="sum")
        return loss + 0.25 * named / is_gone.sum().clamp(min=1)

    def shown(self, hidden: Tensor, cells: Tensor) -> Tensor:
        """Loss of tokens (N, D) that must know all things of frames whose cells are (N, 16, things + 1)."""
        visible = (cells[..., :-1].amax(1) > 0.2).float()
        return nn.functional.binary_cross_entropy_with_logits(
            self.there(hidden.float()), visible, reduction="sum"
        ) / visible.sum().clamp(min=1)

    def followed(self, hidden: Tensor, things: Tensor) -> Tensor:
        """Loss of frame tokens (N, D) that must know which of `things` (N,) had come last; -1 need not."""
        known = things >= 0
        missed = nn.functional.cross_entropy(self.before(hidden[known].float()), things[known], reduction="sum")
        return missed / known.sum().clamp(min=1)

    def summed(self, hidden: Tensor, sums: Tensor) -> Tensor:
        """Loss of tokens (F, D), one for each frame, that must know `sums` (F, 2): its number of things, and night."""
        known = sums[:, 0] >= 0
        count, night = self.sums(hidden[known].float()).split((MOST_THINGS + 1, 2), dim=-1)
        number, is_night = sums[known].unbind(1)
        return nn.functional.cross_entropy(count, number.clamp(max=MOST_THINGS)) + nn.functional.cross_entropy(
            night, is_night
        )

    def timed(self, hidden: Tensor, clocks: Tensor) -> Tensor:
        """Loss of tokens (N, D) that must know the times `clocks` (N,), minute * 60 + second. 0 if there are none."""
        minute, second = self.clock(hidden.float()).split(60, dim=-1)
        missed = nn.functional.cross_entropy(minute, clocks // 60, reduction="sum")
        missed = missed + nn.functional.cross_entropy(second, clocks % 60, reduction="sum")
        return 0.5 * missed / max(1, len(clocks))


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
        features = torch.cat([rng.choice(bank.clips).features for _ in range(8)]).to(DEVICE)
        with half():
            tokens = frame_tokens(model, features)
        loss = alignment(tokens, alignment.cells(features), word_embedding(model).detach())
        optimizer.zero_grad()
        loss.backward()
        set_rate(optimizer, 2e-3 * one_cycle(step, steps))
        optimizer.step()
    return loss.item()
