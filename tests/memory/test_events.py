from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from vidmem.memory.events import boundaries, modularity, refined, representatives, surprise, without_repetition
from vidmem.memory.policies import EM, Level

from .samples import NUM_TOKENS, frames, same


def scenes(*lengths: int, noise: float = 0.05, seed: int = 0) -> Tensor:
    """Keys of scenes one after the other, each around a direction of its own."""
    random = torch.Generator().manual_seed(seed)
    rows = [functional.one_hot(torch.tensor(scene), 8).float() for scene, num in enumerate(lengths) for _ in range(num)]
    return torch.stack(rows) + noise * torch.randn(sum(lengths), 8, generator=random)


keys = st.tuples(st.integers(1, 12), st.integers(0, 10_000)).map(
    lambda drawn: torch.randn(drawn[0], 4, generator=torch.Generator().manual_seed(drawn[1]))
)


def naive_modularity(weights: Tensor) -> list[float]:
    """The sum over all pairs, written down."""
    total, degree = weights.sum(), weights.sum(1)
    found = []
    for cut in range(1, len(weights)):
        side = torch.arange(len(weights)) < cut
        together = side[:, None] == side[None]
        found.append(float(((weights - degree[:, None] * degree[None] / total) * together).sum() / total))
    return found


@given(keys.filter(lambda key: len(key) > 1))
def test_modularity_is_the_sum_over_pairs(key: Tensor) -> None:
    weights = (key @ key.T).double().abs().fill_diagonal_(0)
    torch.testing.assert_close(modularity(weights), torch.tensor(naive_modularity(weights)).double())


def test_without_edges_there_is_no_modularity() -> None:
    assert modularity(torch.zeros(3, 3)).tolist() == [0.0, 0.0]


def test_an_event_begins_where_frames_change() -> None:
    key = scenes(5, 7, 4)
    begins = boundaries(surprise(key))
    assert begins == [5, 12] == refined(begins, key)
    assert boundaries(surprise(scenes(6, noise=0.0))) == []
    assert boundaries(surprise(key[:2])) == boundaries(surprise(key[:0])) == []


def test_a_boundary_in_the_wrong_place_is_moved() -> None:
    key = scenes(6, 6, noise=0.02)
    assert refined([4], key) == [6] == refined([9], key)
    assert refined([], key) == []


@given(keys, st.integers(1, 14))
def test_representatives_are_the_first_frame_and_the_most_central(key: Tensor, num: int) -> None:
    chosen = representatives(key, num).tolist()
    assert chosen == sorted(set(chosen)) and len(chosen) == min(num, len(key)) and chosen[0] == 0
    unit = functional.normalize(key, dim=1)
    likeness = (unit @ unit.sum(0)).tolist()
    left_out = set(range(len(key))) - set(chosen)
    if left_out and len(chosen) > 1:
        assert max(likeness[place] for place in left_out) <= min(likeness[place] for place in chosen[1:]) + 1e-5


def naive_without_repetition(key: Tensor, num_kept: int) -> list[int]:
    unit, places = functional.normalize(key.double(), dim=1), list(range(len(key)))
    while len(places) > num_kept:
        alike = [float(unit[after] @ unit[before]) for before, after in zip(places, places[1:], strict=False)]
        del places[1 + alike.index(max(alike)) if alike else 0]
    return places


@given(keys, st.integers(0, 14))
def test_what_repeats_the_frame_before_goes_first(key: Tensor, num: int) -> None:
    assert without_repetition(key, num).tolist() == naive_without_repetition(key, num)


def test_of_equal_frames_the_earliest_stays() -> None:
    assert without_repetition(torch.ones(5, 3), 1).tolist() == [0]
    assert without_repetition(torch.zeros(3, 3), 2).tolist() == [0, 2]


def test_em_keeps_of_each_event_what_stands_for_it() -> None:
    leaving = frames(10)
    wide = scenes(4, 6)
    leaving = type(leaving).fresh(wide, leaving.value, leaving.span_seconds)
    (change,) = EM(num_representatives=2).consolidate(leaving, (leaving[:0],), (Level(NUM_TOKENS, 20),), 0)
    starts = change.gained.span_seconds[:, 0].tolist()
    assert len(starts) == 4 and 0.0 in starts and 4.0 in starts
    assert same(change.gained, leaving[change.gained.span_seconds[:, 0].long()])


def test_a_part_of_what_is_alike_goes_to_its_neighbours_in_time() -> None:
    key = torch.eye(5)
    read = EM(top_k=1, contiguity=0.3).affinity(key, key[[2, 0]])
    torch.testing.assert_close(read[:, 0], torch.tensor([0.0, 0.15, 0.7, 0.15, 0.0]))
    torch.testing.assert_close(read[:, 1], torch.tensor([0.7, 0.3, 0.0, 0.0, 0.0]))
    readable = torch.tensor([True, False, False, False, False])[:, None].expand(5, 2)
    assert EM(top_k=1).affinity(key, key[[2, 0]], readable).T.tolist() == [[1, 0, 0, 0, 0]] * 2
    assert EM().affinity(key, key[:1], torch.zeros(5, 1, dtype=torch.bool)).sum() == 0


@pytest.mark.parametrize(("option", "value"), [("num_representatives", 0), ("contiguity", 1.0)])
def test_options_are_checked(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        EM(**{option: value})
