"""The matrix form of k-means against the plain loop, which is the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.bench.naive.flash_vstream import naive_kmeans
from vidmem.memory.kmeans import Clusters, kmeans, merge_rows, nearest, sum_by_label

from .naive_flash_vstream import naive_merges

seeds = st.integers(0, 10_000)


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Drawn:
    """Rows drawn for clusters without members, the same for both forms, whichever asks how many at once."""

    def __init__(self, num_rows: int, seed: int) -> None:
        self._random, self._num_rows = random(seed), num_rows

    def one(self) -> int:
        return int(torch.randint(self._num_rows, (1,), generator=self._random))

    def many(self, num_rows: int, num_drawn: int) -> Tensor:
        assert num_rows == self._num_rows
        return torch.tensor([self.one() for _ in range(num_drawn)])


def assert_same(got: Clusters, want: tuple[Tensor, Tensor, Tensor, int], *, atol: float = 1e-5) -> None:
    centroids, label, weight, num_rounds = want
    assert got.label.tolist() == label.tolist()
    assert int(got.num_rounds) == num_rounds
    torch.testing.assert_close(got.weight, weight.to(got.weight), rtol=0, atol=1e-5)
    torch.testing.assert_close(got.centroids, centroids.to(got.centroids), rtol=0, atol=atol)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9), st.integers(1, 12), st.booleans(), seeds)
def test_clusters_equal_those_of_the_plain_loop(
    num_rows: int, num_clusters: int, width: int, rounds: int, refilled: bool, seed: int
) -> None:
    x = torch.randn(num_rows, width, generator=random(seed))
    # Powers of two: the mean of one row is that row in any precision, so that centroids begun alike tie exactly.
    weight = torch.tensor([0.0, 1.0, 2.0])[torch.randint(3, (num_rows,), generator=random(seed + 1))]
    first = x[torch.randint(num_rows, (num_clusters,), generator=random(seed + 2))]  # some begin at the same place
    ours, theirs = Drawn(num_rows, seed), Drawn(num_rows, seed)
    got = kmeans(x, first, weight=weight, rounds=rounds, tolerance=1e-4, refill=ours.many if refilled else None)
    draw = theirs.one if refilled else None
    assert_same(got, naive_kmeans(x.double(), first.double(), weight.double(), rounds=rounds, draw=draw))


@given(st.lists(st.sampled_from([0, 1, 2, 5]), min_size=1, max_size=14), st.integers(1, 6), seeds)
def test_of_equally_near_centroids_the_first_gets_the_row(numbers: list[int], num_clusters: int, seed: int) -> None:
    x = torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 3)
    first = x[torch.randint(len(numbers), (num_clusters,), generator=random(seed))]
    got = kmeans(x, first, rounds=1)
    assert_same(got, naive_kmeans(x.double(), first.double(), torch.ones(len(x)).double(), rounds=1))


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 5), seeds)
def test_a_batch_gives_what_its_items_give(num_items: int, num_rows: int, num_clusters: int, seed: int) -> None:
    x = torch.randn(2, num_items, num_rows, 4, generator=random(seed))
    weight = torch.rand(2, num_items, num_rows, generator=random(seed + 1))
    first = torch.randn(2, num_items, num_clusters, 4, generator=random(seed + 2))
    got = kmeans(x, first, weight=weight, tolerance=1e-4)
    assert got.centroids.shape == first.shape and got.label.shape == weight.shape
    for i in range(2):
        for j in range(num_items):
            one = kmeans(x[i, j], first[i, j], weight=weight[i, j], tolerance=1e-4)
            assert_same(
                Clusters(got.centroids[i, j], got.label[i, j], got.weight[i, j], got.num_rounds[i, j]),
                (one.centroids, one.label, one.weight, int(one.num_rounds)),
            )


def test_refills_are_drawn_by_batch_item_and_then_centroid() -> None:
    x = torch.tensor([[[0.0], [1.0]], [[5.0], [7.0]]])
    asked = []

    def refill(num_rows: int, num_drawn: int) -> Tensor:
        asked.append((num_rows, num_drawn))
        return torch.tensor([1, 0, 1])

    first = torch.tensor([[[0.0], [100.0], [1.0]], [[100.0], [6.0], [100.0]]])
    got = kmeans(x, first, rounds=1, refill=refill)
    assert asked == [(2, 3)]
    assert got.centroids.tolist() == [[[0.0], [1.0], [1.0]], [[5.0], [6.0], [7.0]]]
    assert got.weight.tolist() == [[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]]


@pytest.mark.parametrize("refilled", [False, True])
def test_rows_all_equal_or_zero_or_alone_make_clusters_without_nan(refilled: bool) -> None:
    refill = (lambda num_rows, num_drawn: torch.zeros(num_drawn, dtype=torch.int64)) if refilled else None
    for x in (torch.ones(6, 3), torch.zeros(6, 3), torch.ones(1, 3)):
        got = kmeans(x, x[:1].expand(4, -1), refill=refill)
        assert torch.equal(got.centroids, x[:1].expand(4, -1))
        assert got.weight.tolist() == [len(x), 0.0, 0.0, 0.0]
        assert got.label.tolist() == [0] * len(x)
        assert int(got.num_rounds) == 1
    weightless = kmeans(x, x, weight=torch.zeros(1), refill=refill)
    assert weightless.weight.tolist() == [0.0] and torch.equal(weightless.centroids, x)


def test_rows_far_from_the_origin_keep_their_digits() -> None:
    x = torch.randn(30, 8, generator=random(1)) + 3000.0
    got = kmeans(x, x[:5])
    assert_same(got, naive_kmeans(x.double(), x[:5].double(), torch.ones(30).double(), tolerance=0), atol=1e-3)


def test_half_precision_rows_stay_half_and_are_averaged_in_float32() -> None:
    x = torch.tensor([[60_000.0], [60_000.0], [1.0]]).half()
    got = kmeans(x, x[[0, 2]])
    assert got.centroids.dtype == torch.float16 and got.weight.dtype == torch.float32
    assert got.centroids.flatten().tolist() == [60_000.0, 1.0]  # a sum of the two would be infinite in float16


def test_inputs_are_left_alone() -> None:
    x, first, weight = torch.randn(9, 2, generator=random(0)), torch.zeros(2, 2), torch.ones(9)
    before = x.clone(), first.clone(), weight.clone()
    kmeans(x, first, weight=weight, refill=lambda num_rows, num_drawn: torch.ones(num_drawn, dtype=torch.int64))
    assert all(torch.equal(now, then) for now, then in zip((x, first, weight), before, strict=True))


@given(st.integers(1, 9), st.integers(1, 9), seeds)
def test_nearest_is_the_least_distance(num_rows: int, num_candidates: int, seed: int) -> None:
    x = torch.randn(3, num_rows, 4, generator=random(seed))
    candidates = torch.randn(3, num_candidates, 4, generator=random(seed + 1))
    want = (x[:, :, None] - candidates[:, None]).square().sum(-1).argmin(-1)
    assert torch.equal(nearest(x, candidates), want)
    assert torch.equal(nearest(x[0], candidates[0]), want[0])


def test_sums_by_label_are_those_of_a_loop_in_batches() -> None:
    values = torch.randn(2, 3, 7, 4, generator=random(0))
    label = torch.randint(5, (2, 3, 7), generator=random(1))
    got = sum_by_label(values, label, 6)
    want = torch.stack([((label == place)[..., None] * values).sum(-2) for place in range(6)], dim=-2)
    torch.testing.assert_close(got, want)
    assert not got[..., 5, :].any()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (0, 4, 3), (2, 5, 0)])
def test_sums_of_nothing_are_zeros(shape: tuple[int, ...]) -> None:
    label = torch.zeros(shape[:-1], dtype=torch.int64)
    got = sum_by_label(torch.ones(shape), label, 6)
    assert got.shape == (*shape[:-2], 6, shape[-1]) and not got.any()


@pytest.mark.parametrize(("rounds", "num_rows", "num_clusters"), [(0, 2, 1), (1, 0, 1), (1, 2, 0)])
def test_what_has_no_clusters_is_refused(rounds: int, num_rows: int, num_clusters: int) -> None:
    with pytest.raises(ValueError, match=f"{rounds=}, {num_rows=}, {num_clusters=}"):
        kmeans(torch.ones(num_rows, 1), torch.ones(num_clusters, 1), rounds=rounds)


def members_of(label: Tensor) -> list[list[int]]:
    return [(label == number).nonzero()[:, 0].tolist() for number in range(int(label.max()) + 1)] if len(label) else []


@given(st.integers(0, 16), st.integers(1, 9), st.integers(1, 5), seeds)
def test_merges_equal_those_of_the_plain_loop(num_rows: int, num_clusters: int, width: int, seed: int) -> None:
    x = torch.randn(num_rows, width, generator=random(seed))
    weight = torch.randint(1, 9, (num_rows,), generator=random(seed + 1)).float()
    got = merge_rows(x, num_clusters, weight=weight)
    assert members_of(got) == naive_merges(x.double(), num_clusters, weight.double())


@given(st.lists(st.sampled_from([0, 1, 2, 8]), min_size=1, max_size=12), st.integers(1, 6))
def test_of_equally_cheap_merges_the_first_is_made(numbers: list[int], num_clusters: int) -> None:
    # Merges of equal rows alone: their costs are exactly 0, and a mean is the row.
    num_clusters = max(num_clusters, len(set(numbers)))
    x = torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 2)
    got = merge_rows(x, num_clusters)
    assert members_of(got) == naive_merges(x.double(), num_clusters, torch.ones(len(x)))


def test_the_rare_keeps_a_cluster_where_the_common_shares_one() -> None:
    x = torch.cat([torch.randn(40, 3, generator=random(0)) * 0.1, torch.tensor([[9.0, 0.0, 0.0]])])
    assert merge_rows(x, 2).tolist() == [0] * 40 + [1]


def test_rows_without_any_weight_are_merged_without_nan() -> None:
    assert merge_rows(torch.randn(6, 2), 3, weight=torch.zeros(6)).max() == 2
    assert merge_rows(torch.zeros(6, 2), 1).tolist() == [0] * 6
    with pytest.raises(ValueError, match="num_clusters=0"):
        merge_rows(torch.zeros(2, 2), 0)
