"""Dropping what the frame before had, against loops that say the same slowly."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.kv.block import Block
from vidmem.kv.compress import MOST_NOVEL, Compression, Seen, best_by_bucket, compress, drop, novelty, take, thin
from vidmem.kv.rope import text_positions
from vidmem.types import Span

LAYERS, HEADS, DIM = 2, 3, 4
NUM_TEXT, NUM_VISUAL = 2, 6


def a_frame(index: int, *, num_text: int = NUM_TEXT, num_visual: int = NUM_VISUAL, like: Seen | None = None) -> Seen:
    """Random tokens; with `like` its picture is that one's but for the last token."""
    chance = torch.manual_seed(index)
    total = num_text + num_visual
    keys, values = (torch.randn(LAYERS, HEADS, total, DIM, generator=chance) for _ in range(2))
    if like is not None:
        keys[:, :, num_text:-1], values[:, :, num_text:-1] = (
            held[:, :, num_text:-1] for held in (like.block.keys, like.block.values)
        )
    is_visual = torch.arange(total) >= num_text
    return Seen(Block(keys, values, text_positions(total, 1), Span(index, index + 1)), is_visual)


def a_clip(num: int = 5) -> list[Seen]:
    return [a_frame(index) for index in range(num)]


def cosine(a: Tensor, b: Tensor) -> float:
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a)) / math.sqrt(sum(float(y) ** 2 for y in b))


def test_novelty_is_the_distance_to_the_most_alike_token_of_the_picture_before() -> None:
    newest, before = a_frame(1), a_frame(0)
    got = novelty(newest, before)
    for index in range(NUM_VISUAL):
        total = 0.0
        for name in ("keys", "values"):
            now, then = getattr(newest.block, name), getattr(before.block, name)
            for layer in range(LAYERS):
                for head in range(HEADS):
                    there = range(NUM_TEXT, NUM_TEXT + NUM_VISUAL)
                    token = now[layer, head, NUM_TEXT + index]
                    total += max(cosine(token, then[layer, head, other]) for other in there)
        assert float(got[index]) == pytest.approx(1 - total / (2 * LAYERS * HEADS), abs=1e-5)


def test_what_was_there_before_is_not_new_and_the_first_picture_is() -> None:
    first = a_frame(0)
    moved = take(first.block, torch.tensor([0, 1, 7, 6, 5, 4, 3, 2]))
    again = novelty(Seen(moved, first.is_visual), first)
    torch.testing.assert_close(again, torch.zeros(NUM_VISUAL), atol=1e-6, rtol=0)
    assert novelty(first, None).tolist() == [MOST_NOVEL] * NUM_VISUAL
    assert novelty(first, a_frame(1, num_visual=0)).tolist() == [MOST_NOVEL] * NUM_VISUAL


def slow_buckets(scores: list[float], num_kept: int) -> list[int]:
    kept = []
    for number in range(1, num_kept + 1):
        inside = [p for p in range(1, len(scores) + 1) if ceil(Fraction(p * num_kept, len(scores))) == number]
        kept.append(max(inside, key=lambda p: (scores[p - 1], -p)) - 1)
    return kept


def test_scores_lie_where_the_blocks_do() -> None:
    """Those of a stream's first picture too, which come without any arithmetic: a clip's scores are put together."""
    keys = torch.empty(1, 1, 3, 4, device="meta")
    seen = Seen(Block(keys, keys, text_positions(3, 1), Span(0, 1)), torch.tensor([False, True, True]))
    assert novelty(seen, None).is_meta and novelty(seen, seen).is_meta


@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40), st.data())
def test_with_buckets_alone_each_stretch_keeps_its_best(scores: list[float], data: st.DataObject) -> None:
    num_kept = data.draw(st.integers(0, len(scores)))
    got = best_by_bucket(torch.tensor(scores), num_kept, num_best=0).tolist()
    assert got == slow_buckets(scores, num_kept)
    assert len(got) == num_kept


@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40), st.data())
def test_the_best_are_kept_and_the_number_is_met(scores: list[float], data: st.DataObject) -> None:
    num_kept = data.draw(st.integers(0, len(scores)))
    num_best = data.draw(st.integers(0, num_kept))
    got = best_by_bucket(torch.tensor(scores), num_kept, num_best=num_best).tolist()
    assert len(got) == num_kept and got == sorted(set(got))
    assert set(sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:num_best]) <= set(got)


def test_the_example_of_the_papers_notes() -> None:
    """p = 256, L = 1000, N = 10 lies in bucket 3, counted from 1."""
    scores = torch.zeros(1000)
    scores[255] = 1.0
    assert best_by_bucket(scores, 10, num_best=0).tolist()[2] == 255


def test_ratio_1_leaves_the_very_blocks() -> None:
    clip = a_clip()
    assert all(
        got is seen.block for got, seen in zip(compress(clip, Compression(keep_ratio=1.0)).blocks, clip, strict=True)
    )


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.booleans(),
)
def test_a_compressed_clip(sizes: list[tuple[int, int]], ratio: float, spread: float, absorb: bool) -> None:
    """Text stays, tokens are the originals' at their places, no block is empty, the time is covered without a gap."""
    clip = [a_frame(index, num_text=text, num_visual=visual) for index, (text, visual) in enumerate(sizes)]
    compressed = compress(clip, Compression(ratio, spread, absorb))
    blocks = compressed.blocks
    budget = round(ratio * sum(visual for _, visual in sizes))
    spare = sum(text == 0 for text, _ in sizes)
    assert [block.span.start for block in blocks][:1] == [0]
    assert all(block.span.end == after.span.start for block, after in zip(blocks, blocks[1:], strict=False))
    assert blocks[-1].span.end == len(clip)
    assert len(blocks) == len(clip) or absorb
    assert compressed.block_index == [
        sum(block.span.start <= seen.block.span.start for block in blocks) - 1 for seen in clip
    ]
    num_visual = 0
    for block in blocks:
        seen = clip[int(block.span.start)]
        places = block.positions[0]
        assert len(block) > 0 and torch.equal(places, places.unique())
        assert set(seen.text.tolist()) <= set(places.tolist())
        assert torch.equal(block.keys, seen.block.keys[:, :, places])
        assert torch.equal(block.values, seen.block.values[:, :, places])
        num_visual += len(block) - len(seen.text)
    assert budget <= num_visual <= budget + spare


def test_what_changed_is_kept_and_what_stood_still_goes() -> None:
    clip = [a_frame(0)]
    for index in range(1, 4):
        clip.append(a_frame(index, like=clip[-1]))
    blocks = compress(clip[1:], Compression(keep_ratio=1 / NUM_VISUAL), before=clip[0]).blocks
    assert [block.positions[0].tolist() for block in blocks] == [[0, 1, NUM_TEXT + NUM_VISUAL - 1]] * 3


def test_a_frame_that_says_nothing_new_is_absorbed() -> None:
    first = a_frame(0)
    still = [Seen(Block(first.block.keys, first.block.values, first.block.positions, Span(t, t + 1)), first.is_visual)
             for t in (1, 2)]  # fmt: skip
    clip = [first, *still, a_frame(3)]
    blocks = compress(clip, Compression(keep_ratio=0.5, absorb=True)).blocks
    assert [block.span for block in blocks] == [Span(0, 3), Span(3, 4)]
    assert torch.equal(blocks[0].keys, first.block.keys) and torch.equal(blocks[1].keys, clip[3].block.keys)
    assert len(compress(clip, Compression(keep_ratio=0.5)).blocks) == 4


def test_a_first_frame_with_nothing_new_begins_a_block_of_its_own() -> None:
    first = a_frame(0)
    still = Seen(replace(first.block, span=Span(1, 2)), first.is_visual)
    compressed = compress([still, a_frame(2)], Compression(keep_ratio=0.5, absorb=True), before=first)
    assert [block.span for block in compressed.blocks] == [Span(1, 2), Span(2, 3)]
    assert [len(block) for block in compressed.blocks] == [NUM_TEXT, NUM_TEXT + NUM_VISUAL]
    assert compressed.block_index == [0, 1]


@given(st.integers(0, 3), st.integers(0, 6), st.integers(0, 12))
def test_a_thinned_block_is_no_larger_than_asked_and_keeps_its_text(text: int, visual: int, size: int) -> None:
    seen = a_frame(0, num_text=text, num_visual=visual)
    block = thin(seen, size)
    places = block.positions[0].tolist()
    assert len(block) == min(text + visual, max(size, text)) and places[:text] == list(range(text))
    assert torch.equal(block.keys, seen.block.keys[:, :, places]) and block.span == seen.block.span
    steps = [later - earlier for earlier, later in zip(places[text:], places[text + 1 :], strict=False)]
    assert not steps or max(steps) <= 2 * -(-visual // len(places[text:]))


def test_scores_of_any_kind_choose() -> None:
    clip = a_clip(2)
    scores = [torch.tensor([0.0, 9, 0, 0, 0, 0]), torch.tensor([0.0, 0, 0, 0, 8, 7])]
    blocks = drop(clip, scores, Compression(keep_ratio=0.25)).blocks
    assert [block.positions[0].tolist() for block in blocks] == [[0, 1, 3], [0, 1, 6, 7]]


def test_nothing_gives_nothing_and_bad_settings_are_refused() -> None:
    assert compress([], Compression(0.5)).blocks == []
    for ratio, spread in ((-0.1, 0.0), (1.1, 0.0), (0.5, 2.0)):
        with pytest.raises(ValueError, match="ratio and a spread"):
            Compression(ratio, spread)
    with pytest.raises(ValueError, match="falling order"):
        best_by_bucket(torch.zeros(3), 4, num_best=0)
