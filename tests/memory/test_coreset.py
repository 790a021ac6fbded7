from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.memory.coreset import farthest_points, random_subset


def plain_farthest_points(rows: Tensor, num_kept: int, start: int = 0) -> list[int]:
    """Compare every row with all chosen rows in every step; of equals the first that is not chosen yet."""
    chosen = [start]
    while len(chosen) < min(num_kept, len(rows)):
        distance = [min(float((row - rows[other]).square().sum()) for other in chosen) for row in rows]
        free = [index for index in range(len(rows)) if index not in chosen]
        chosen.append(max(free, key=lambda index: (distance[index], -index)))
    return chosen


@given(st.integers(1, 14), st.integers(1, 5), st.integers(0, 16), st.data(), st.booleans())
def test_farthest_points_equal_the_plain_version(
    num_rows: int, width: int, num_kept: int, data: st.DataObject, whole: bool
) -> None:
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 10_000)))
    start = data.draw(st.integers(0, num_rows - 1))
    rows = torch.randn(2, num_rows, width, generator=random)
    if whole:  # small whole numbers: many rows are the same, and distances tie exactly
        rows = rows.round()
    chosen = farthest_points(rows, num_kept, start_index=start)
    for item in range(2):
        want = list(range(num_rows)) if num_kept >= num_rows else plain_farthest_points(rows[item], num_kept, start)
        assert chosen[item].tolist() == want[:num_kept]
        assert len(set(chosen[item].tolist())) == min(num_kept, num_rows)


def test_one_of_each_is_chosen_before_any_copy() -> None:
    rows = torch.tensor([[1.0], [1.0], [5.0], [1.0], [-9.0]])
    assert farthest_points(rows, 4).tolist() == [0, 4, 2, 1]
    assert farthest_points(torch.zeros(4, 3), 3).tolist() == [0, 1, 2]
    assert farthest_points(torch.zeros(0, 3), 3).tolist() == []


def test_half_precision_rows_are_compared_in_float32() -> None:
    rows = torch.tensor([0.0, 300.0, 1000.0]).half()[:, None]  # squares beyond float16
    assert farthest_points(rows, 2).tolist() == [0, 2]


def test_a_start_that_is_no_row_is_refused() -> None:
    for start in (-1, 3):
        with pytest.raises(ValueError, match=f"start_index={start}"):
            farthest_points(torch.zeros(3, 1), 2, start_index=start)


@given(st.integers(0, 20), st.integers(0, 25), st.integers(0, 1000))
def test_random_subsets_are_places_without_repeats(num_rows: int, num_kept: int, seed: int) -> None:
    chosen = random_subset(num_rows, num_kept, torch.Generator().manual_seed(seed)).tolist()
    assert len(set(chosen)) == len(chosen) == min(num_rows, num_kept)
    assert chosen == random_subset(num_rows, num_kept, torch.Generator().manual_seed(seed)).tolist()
    assert all(0 <= place < num_rows for place in chosen)
