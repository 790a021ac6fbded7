"""The incremental merge plan against the plain version, which is the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.memory.merging import plan_merges
from vidmem.memory.policies.moviechat import mean_token


def plain_merges(frames: Tensor, num_kept: int) -> tuple[Tensor, list[int]]:
    """Average the most similar neighbours, comparing all tokens of all neighbours anew in each step."""
    kept = list(frames.double())
    positions = []
    while len(kept) > num_kept:
        similarities = [float((kept[i] @ kept[i + 1].T).mean()) for i in range(len(kept) - 1)]
        at = similarities.index(max(similarities))
        positions.append(at)
        kept[at : at + 2] = [(kept[at] + kept[at + 1]) / 2]
    return torch.stack(kept), positions


@given(st.integers(1, 24), st.integers(1, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_plan_equals_the_plain_version(num_frames: int, num_tokens: int, num_kept: int, seed: int) -> None:
    frames = torch.randn(num_frames, num_tokens, 3, generator=torch.Generator().manual_seed(seed))
    plan = plan_merges(mean_token(frames), num_kept)
    want, positions = plain_merges(frames, num_kept)
    assert list(plan.positions) == positions
    torch.testing.assert_close(plan.average(frames), want.float(), rtol=0, atol=1e-6)


@given(st.lists(st.sampled_from([-2, -1, 0, 1, 2]), min_size=2, max_size=12), st.integers(1, 3))
def test_of_equal_similarities_the_first_is_merged(numbers: list[int], num_kept: int) -> None:
    # Halves of small whole numbers: every sum is exact, so ties are real ones.
    frames = torch.tensor(numbers, dtype=torch.float32)[:, None, None].expand(-1, 4, 2)
    plan = plan_merges(mean_token(frames), num_kept)
    want, positions = plain_merges(frames, num_kept)
    assert list(plan.positions) == positions
    assert torch.equal(plan.average(frames), want.float())


def test_equal_frames_tie_whatever_their_numbers() -> None:
    frame = torch.randn(1, 3, 7, generator=torch.Generator().manual_seed(5))
    plan = plan_merges(mean_token(frame.expand(9, -1, -1)), 2)
    assert plan.positions == (0,) * 7


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 1000))
def test_groups_cover_all_frames_in_order_and_weights_sum_to_one(num_frames: int, num_kept: int, seed: int) -> None:
    plan = plan_merges(torch.randn(num_frames, 4, generator=torch.Generator().manual_seed(seed)), num_kept)
    assert len(plan.groups) == min(num_frames, num_kept)
    assert [index for start, end in plan.groups for index in range(start, end)] == list(range(num_frames))
    assert (plan.shares.sum(axis=1) == 1).all()
    assert all((row[start:end] > 0).all() for row, (start, end) in zip(plan.shares, plan.groups, strict=True))


def test_cosine_is_blind_to_length_where_dot_is_not() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 30.0], [30.0, 20.0]])
    assert plan_merges(features, 3).positions == (2,)
    assert plan_merges(features, 3, normalise=True).positions == (0,)


def test_half_precision_frames_stay_half_and_are_averaged_in_float32() -> None:
    frames = torch.tensor([60_000.0, 60_000.0, 1.0]).half()[:, None, None]
    merged = plan_merges(mean_token(frames), 2).average(frames)
    assert merged.dtype == torch.float16
    assert merged.flatten().tolist() == [60_000.0, 1.0]  # a sum of the two would be infinite in float16


def test_union_reaches_to_the_latest_end() -> None:
    plan = plan_merges(torch.ones(3, 1), 1)
    assert plan.union(torch.tensor([[0.0, 9.0], [1.0, 2.0], [2.0, 3.0]])).tolist() == [[0.0, 9.0]]


def test_nothing_can_be_merged_into_no_frame() -> None:
    with pytest.raises(ValueError, match="num_kept=0"):
        plan_merges(torch.ones(3, 2), 0)
