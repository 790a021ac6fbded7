"""Landmarks: chosen as far apart as can be, kept in 4 bits, and found again by what asks for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv.block import Block, Layout
from vidmem.kv.heads import heads_of
from vidmem.kv.landmark_index import NUM_QUERIES, LandmarkIndex
from vidmem.kv.landmarks import (
    GROUP_FRAMES,
    NUM_LANDMARKS,
    Landmarks,
    farthest,
    farthest_by_operators,
    groups,
    head_keys,
    landmarks,
)
from vidmem.kv.rope import text_positions
from vidmem.kv.scan import best_products
from vidmem.types import Span

LAYOUT = Layout(num_layers=3, num_kv_heads=2, head_dim=16)
HEADS = ((1, 0), (2, 1))


def blocks(count: int, num_tokens: int = 7, seed: int = 0) -> list[Block]:
    chance = torch.manual_seed(seed)
    shape = count, 2, LAYOUT.num_layers, LAYOUT.num_kv_heads, num_tokens, LAYOUT.head_dim
    numbers = torch.randn(shape, generator=chance)
    positions = text_positions(num_tokens, 1)
    return [Block(*both, positions, Span(place, place + 1)) for place, both in enumerate(numbers)]


def decoded(found: Landmarks, head: int) -> Tensor:
    """Keys (P, D) of one head."""
    both = torch.stack([found.codes[head] & 15, found.codes[head] >> 4], 1).flatten(0, 1)
    return (both.float().T - 8) * found.scale[head].float()


def marks(stored: list[Block], heads: tuple[tuple[int, int], ...] = HEADS) -> Landmarks:
    return landmarks([head_keys(block, heads) for block in stored], heads)


def index_of(stored: list[Block], heads: tuple[tuple[int, int], ...] = HEADS) -> LandmarkIndex:
    index = LandmarkIndex(heads, LAYOUT.head_dim)
    for first, end in groups(len(stored)):
        index.append(marks(stored[first:end], heads), end - first)
    return index


@pytest.mark.parametrize("way", [farthest, farthest_by_operators])
@given(seed=st.integers(0, 10_000), num_points=st.integers(1, 30), count=st.integers(1, 30))
def test_each_is_the_farthest_from_those_before_it(
    way: Callable[[Tensor, int], Tensor], seed: int, num_points: int, count: int
) -> None:
    points = torch.randint(-4, 5, (2, num_points, 3), generator=torch.manual_seed(seed)).float()
    for cloud, chosen in zip(points, way(points, count).tolist(), strict=True):
        taken: list[int] = []
        for place in chosen:
            if len(taken) == num_points:
                assert place == 0
                continue
            assert place not in taken
            to = cloud.mean(0)[None] if not taken else cloud[taken]
            far = [float((to - point).square().sum(1).min()) for point in cloud]
            assert far[place] == pytest.approx(max(far[i] for i in range(num_points) if i not in taken), abs=1e-3)
            taken.append(place)


@pytest.mark.parametrize("num_points", [1, 24, 168, 1600])
def test_the_compiled_way_takes_the_same_points_as_the_operators(num_points: int) -> None:
    points = torch.randn(3, num_points, 64, generator=torch.manual_seed(num_points))
    assert torch.equal(farthest(points, NUM_LANDMARKS), farthest_by_operators(points, NUM_LANDMARKS))


@pytest.mark.parametrize("num_blocks", [1, 3, GROUP_FRAMES])
def test_keys_come_back_within_half_a_step_of_the_block_that_they_are_said_to_be_from(num_blocks: int) -> None:
    stored = blocks(num_blocks)
    found = marks(stored)
    again = Landmarks.from_bytes(found.to_bytes(), HEADS, LAYOUT.head_dim)
    assert again is not None
    for place, (layer, head) in enumerate(HEADS):
        assert len(set(map(tuple, decoded(again, place).tolist()))) == min(NUM_LANDMARKS, 7 * num_blocks)
        for key, owner in zip(decoded(again, place), again.owners[place].tolist(), strict=True):
            differs = (stored[owner].keys[layer, head] - key).abs().amax(1)
            assert float(differs.min()) <= float(again.scale[place]) * 0.51


def test_bytes_of_other_heads_or_another_model_are_known() -> None:
    data = marks(blocks(2)).to_bytes()
    assert Landmarks.from_bytes(data, ((1, 0), (2, 0)), LAYOUT.head_dim) is None
    assert Landmarks.from_bytes(data, ((1, 0),), LAYOUT.head_dim) is None
    assert Landmarks.from_bytes(data, HEADS, 32) is None
    assert Landmarks.from_bytes(data[:-1], HEADS, LAYOUT.head_dim) is None


@pytest.mark.parametrize(("num_groups", "num_queries"), [(0, 3), (1, 1), (7, 4), (9000, 3), (50, 9)])
def test_best_products_are_those_of_the_decoded_keys(num_groups: int, num_queries: int) -> None:
    chance = np.random.default_rng(num_groups)
    codes = chance.integers(16, 256, (num_groups, LAYOUT.head_dim // 2, NUM_LANDMARKS), dtype=np.uint8)
    scale = chance.uniform(0.1, 2, num_groups).astype(np.float32)
    queries = chance.standard_normal((num_queries, LAYOUT.head_dim)).astype(np.float32)
    keys = np.stack([codes & 15, codes >> 4], axis=2).reshape(num_groups, LAYOUT.head_dim, NUM_LANDMARKS) - 8.0
    wanted = np.einsum("qd,ndp->nqp", queries, keys * scale[:, None, None]).max(2)
    np.testing.assert_allclose(best_products(codes, scale, queries), wanted, rtol=1e-4, atol=1e-4)


def planted(place: int, num_blocks: int = 100, layer: int = 1, head: int = 0) -> tuple[list[Block], Tensor]:
    """Blocks of small noise, one token of one of which is far from all others, and queries of which one asks for it."""
    stored = blocks(num_blocks)
    for block in stored:
        block.keys.mul_(0.1)
    thing = torch.randn(LAYOUT.head_dim, generator=torch.manual_seed(1))
    stored[place].keys[layer, head, 3] = thing
    others = 0.1 * torch.randn(2 * NUM_QUERIES, LAYOUT.head_dim, generator=torch.manual_seed(2))
    return stored, torch.cat([others, thing[None]])


@pytest.mark.parametrize("place", [0, 42, 99])
def test_what_one_token_shows_is_found_first_whatever_other_words_ask_for(place: int) -> None:
    stored, queries = planted(place)
    noise = 0.1 * torch.randn(5, LAYOUT.head_dim, generator=torch.manual_seed(3))
    ids = index_of(stored).ranking([queries, noise], 16)
    assert ids[0] == place
    first = place // GROUP_FRAMES * GROUP_FRAMES
    in_group = range(first, min(first + GROUP_FRAMES, 100))
    assert sorted(ids[: len(in_group)]) == list(in_group)
    assert [abs(i - place) for i in ids[: len(in_group)]] == sorted(abs(i - place) for i in in_group)
    assert len(ids) == len(set(ids)) == 16


def test_only_blocks_that_are_asked_about_are_ranked_and_all_of_them() -> None:
    stored, queries = planted(42)
    index = index_of(stored)
    among = {3, 40, 41, 77}
    ids = index.ranking([queries, queries[:1]], 10, among)
    assert set(ids) == among and ids[0] == 41
    assert index.ranking([queries, queries[:1]], 10, set()) == []
    assert sorted(index.ranking([queries, queries[:1]], 1000)) == list(range(100))
    assert index.ranking([queries, queries[:1]], 0) == []
    assert LandmarkIndex(HEADS, LAYOUT.head_dim).ranking([queries, queries], 5) == []


def test_groups_that_answer_alike_come_in_the_order_of_time() -> None:
    index = LandmarkIndex(HEADS, LAYOUT.head_dim)
    for _ in range(10):
        index.append(None, 2)
    queries = torch.ones(1, LAYOUT.head_dim)
    for limit in (1, 4, 20, 99):
        assert index.ranking([queries, queries], limit) == list(range(min(limit, 20)))
    assert index.ranking([queries, queries], 3, {5, 6, 9, 12}) == [5, 6, 9]


def test_lost_blocks_keep_their_places() -> None:
    stored, queries = planted(42)
    index = LandmarkIndex(HEADS, LAYOUT.head_dim)
    index.append(None, GROUP_FRAMES)
    for first, end in groups(100):
        index.append(marks(stored[first:end]), end - first)
    assert index.num_frames == 100 + GROUP_FRAMES
    ids = index.ranking([queries, queries[:1]], 200)
    assert ids[0] == 42 + GROUP_FRAMES and sorted(ids) == list(range(index.num_frames))


def test_what_is_appended_later_is_found_too() -> None:
    stored, queries = planted(90)
    index = index_of(stored[:48])
    held = index.num_bytes
    assert 90 not in index.ranking([queries, queries[:1]], 100)
    for first, end in groups(52):
        index.append(marks(stored[48 + first : 48 + end]), end - first)
    assert index.num_bytes > held and index.ranking([queries, queries[:1]], 100)[0] == 90


def test_heads_are_those_of_the_model_or_refused() -> None:
    assert heads_of(LAYOUT, ()) == ((1, 0), (1, 1))
    assert heads_of(LAYOUT, HEADS) == HEADS
    for wrong in (((3, 0),), ((0, 2),)):
        with pytest.raises(BadInput, match="correct it in the preset"):
            heads_of(LAYOUT, wrong)
