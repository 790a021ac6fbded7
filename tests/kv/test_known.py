"""Dropping tokens before the text model sees them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vidmem.bench.family_kit import Case, case_of
from vidmem.bench.random_families import FAMILIES
from vidmem.kv.compress import Compression
from vidmem.kv.known import drop_known
from vidmem.kv.rope import text_positions
from vidmem.kv.tokens import FrameTokens, Tokens
from vidmem.types import Span

KINDS = torch.tensor([False, True, True, True, True, False])


def frame(*embeds: list[float], start: float = 0.0) -> FrameTokens:
    """Text, four visual tokens, text."""
    rows = torch.tensor([[9.0, 9.0], *embeds, [9.0, 9.0]])
    return FrameTokens(Tokens(rows, text_positions(6, 1), KINDS.clone()), Span(start, start + 1))


RIGHT, UP, LEFT, DOWN = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]


def places(one: FrameTokens) -> list[int]:
    return one.tokens.positions[0].tolist()


def test_what_the_picture_before_had_is_dropped_wherever_it_stood() -> None:
    first, second = frame(RIGHT, UP, RIGHT, UP), frame(UP, LEFT, DOWN, RIGHT, start=1)
    (kept,) = drop_known([second], Compression(keep_ratio=0.5), before=first)
    assert places(kept) == [0, 2, 3, 5]
    assert kept.tokens.embeds[1].tolist() == LEFT and kept.span == second.span
    assert places(second) == [0, 1, 2, 3, 4, 5]  # not modified


def test_a_clip_has_one_budget() -> None:
    clip = [frame(RIGHT, RIGHT, UP, UP), frame(RIGHT, UP, UP, UP, start=1), frame(LEFT, DOWN, LEFT, DOWN, start=2)]
    kept = drop_known(clip, Compression(keep_ratio=2 / 3), before=frame(RIGHT, RIGHT, RIGHT, RIGHT))
    # New are two tokens of the first and all of the last; what is left of the eight goes by time.
    assert [len(one.tokens) - 2 for one in kept] == [4, 0, 4]


def test_the_first_picture_of_a_stream_is_new_throughout() -> None:
    kept = drop_known([frame(RIGHT, UP, LEFT, DOWN), frame(RIGHT, UP, LEFT, DOWN)], Compression(keep_ratio=0.5))
    assert [places(one) for one in kept] == [[0, 1, 2, 3, 4, 5], [0, 5]]


def test_keeping_all_leaves_the_clip_as_it_is() -> None:
    clip = [frame(RIGHT, UP, LEFT, DOWN)]
    assert drop_known(clip, Compression(keep_ratio=1.0)) is clip
    assert list(drop_known([], Compression())) == []


def stock_novelty(case: Case, frames: list[FrameTokens]) -> Tensor:
    """By the formula, pair by pair."""
    pictures = [one.tokens.embeds[one.tokens.is_visual] for one in frames]
    return torch.stack(
        [
            1 - torch.stack([functional.cosine_similarity(token[None], old).max() for token in new])
            for old, new in zip(pictures, pictures[1:], strict=False)
        ]
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_streams_what_is_left_of_its_pictures(name: str) -> None:
    case = case_of(name)
    images, spans = case.footage(4)
    frames = case.family.frames(images, spans)
    kept = drop_known(frames[1:], Compression(keep_ratio=0.5), before=frames[0])
    scores = stock_novelty(case, frames)
    lowest = scores.flatten().topk(round(0.5 * scores.numel())).values[-1]
    for one, whole, score in zip(kept, frames[1:], scores, strict=True):
        visual = torch.zeros(len(whole.tokens), dtype=torch.bool)
        visual[whole.tokens.is_visual] = score >= lowest - 1e-6
        stays = visual | ~whole.tokens.is_visual
        assert torch.equal(one.tokens.embeds, whole.tokens.embeds[stays])
        assert torch.equal(one.tokens.positions, whole.tokens.positions[:, stays])
        if whole.tokens.deepstack is not None:
            assert torch.equal(one.tokens.deepstack, whole.tokens.deepstack[:, visual[whole.tokens.is_visual]])
    blocks = case.writer().write(kept)
    assert [len(block) for block in blocks] == [len(one.tokens) for one in kept]
    assert all(torch.equal(block.positions, one.tokens.positions) for block, one in zip(blocks, kept, strict=True))
