"""Fits and reads in closed form against the reference's own steps, and what must hold of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.memory.basis import (
    Gaussians,
    evaluate_rectangles,
    fit_rectangles,
    rectangle_index,
    rectangular_basis,
)
from vidmem.memory.continuous import capped_shares, continuous_attention, density, scores, systematic_draws
from vidmem.memory.policies import infinity_video_reference as reference

from . import naive_infinity_video as naive

seeds = st.integers(0, 10_000)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def is_clear_of_edges(position: Tensor, num: int) -> bool:
    """No position is so near an edge that the rounding of the edge decides. Edges of powers of two are exact."""
    scaled = position.double() * num
    return num & (num - 1) == 0 or bool(((scaled - scaled.round()).abs() > 1e-4).all())


@given(st.integers(2, 40), st.integers(1, 20))
def test_first_fit_is_the_ridge_operator(length: int, num: int) -> None:
    position = reference.first_positions(length).rows
    assume(is_clear_of_edges(position, num))
    ours = fit_rectangles(torch.eye(length), position, num).mT
    torch.testing.assert_close(ours, naive.first_operator(length, num), rtol=0, atol=1e-6)


@given(st.integers(1, 20), st.integers(1, 30), st.integers(1, 20), st.sampled_from([0.5, 0.75, 0.3, 0.9]))
def test_update_fit_is_the_ridge_operator(length: int, half_samples: int, num: int, tau: float) -> None:
    where = reference.update_positions(2 * half_samples, length, tau)
    assume(is_clear_of_edges(where.rows[:-1], num))
    ours = fit_rectangles(torch.eye(len(where.rows)), where.rows, num).mT
    want = naive.update_operator(length, 2 * half_samples, tau, num)
    torch.testing.assert_close(ours, want, rtol=0, atol=1e-6)
    if tau in (0.5, 0.75):  # others may be rounded to just below 1
        assert not ours[-1].any(), "the newest frame counts for nothing in the reference"


@given(
    st.lists(st.integers(2, 12), min_size=1, max_size=4),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(1, 12),
    st.sampled_from([0.5, 0.75]),
    st.booleans(),
    seeds,
)
def test_a_stream_equals_the_reference_step_by_step(
    lengths: list[int], num: int, half_samples: int, tau: float, sticky: bool, seed: int
) -> None:
    random, heads, width = generator(seed), 2, 3
    weights = tuple(
        torch.randn(heads * width, heads * width, generator=random) / 2 if index % 2 == 0 else torch.ones(6) / 3
        for index in range(4)
    )
    oracle = naive.NaiveMemory(num, 2 * half_samples, tau, heads, weights, sticky=sticky)
    project = reference.Projections(*weights, num_heads=heads)
    past = query = None
    for length in lengths:
        frames = torch.randn(length, heads * width, generator=random)
        bins = draws = None
        if past is not None and sticky:
            probability = reference.sticky_probability(query, project.key(past))
            torch.testing.assert_close(probability, oracle.probability(), rtol=0, atol=1e-5)
            bins = reference.draw_bins(probability, 2 * half_samples, random)
            draws = reference.sticky_draws(bins)
        want = oracle.update(frames, bins)
        past = reference.update(past, frames, num_coefficients=num, tau=tau, draws=draws, num_samples=2 * half_samples)
        torch.testing.assert_close(past, want, rtol=0, atol=1e-5)
        query = torch.randn(heads, 4, width, generator=random)
        got = reference.read(query, project.key(past), project.value(past))
        torch.testing.assert_close(got, oracle.read(query), rtol=0, atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 8), seeds)
def test_a_batch_is_its_items_one_by_one(batch: int, length: int, num: int, seed: int) -> None:
    random = generator(seed)
    past = torch.randn(batch, num, 5, generator=random)
    frames = torch.randn(batch, length, 5, generator=random)
    draws = torch.rand(batch, 6, generator=random)
    both = reference.update(past, frames, num_coefficients=num, tau=0.75, draws=draws)
    for item in range(batch):
        alone = reference.update(past[item], frames[item], num_coefficients=num, tau=0.75, draws=draws[item])
        torch.testing.assert_close(both[item], alone)
    query = torch.randn(batch, 2, 3, 5, generator=random)
    probability = reference.sticky_probability(query, past[:, None])
    torch.testing.assert_close(probability.sum(-1), torch.ones(batch))
    bins = reference.draw_bins(probability, 4, random)
    assert bins.shape == (batch, 4)


@given(st.integers(1, 12), seeds)
def test_a_read_of_one_value_everywhere_is_that_value(num: int, seed: int) -> None:
    random = generator(seed)
    query, key = torch.randn(3, 4, generator=random), torch.randn(num, 4, generator=random)
    exact = continuous_attention(query, key, torch.full((num, 2), 7.0))
    torch.testing.assert_close(exact, torch.full((3, 2), 7.0))


def test_scores_beyond_what_exp_can_hold_are_read() -> None:
    query, key, value = torch.tensor([[300.0]]), torch.tensor([[1.0], [2.0]]), torch.tensor([[5.0], [9.0]])
    assert reference.read(query, key, value).item() == pytest.approx(9.0)
    assert bool(reference.sticky_probability(query[None], key[None]).isfinite().all())
    at = density(scores(query, key), torch.linspace(0, 1, 9))
    assert bool(at.isfinite().all())


def test_rectangles_are_half_open_and_end_before_one() -> None:
    position = torch.tensor([-0.1, 0.0, 0.25, 0.4999, 0.5, 0.75, 1.0, math.inf])
    assert rectangle_index(position, 4).tolist() == [4, 0, 1, 1, 2, 3, 4, 4]
    assert rectangular_basis(position, 4).sum(-1).tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    with pytest.raises(ValueError, match="num_rectangles=0"):
        rectangle_index(position, 0)


@given(st.integers(0, 20), st.integers(1, 12), st.floats(0, 2), seeds)
def test_a_fit_shrinks_means_by_the_ridge(length: int, num: int, ridge: float, seed: int) -> None:
    random = generator(seed)
    position, values = torch.rand(length, generator=random), torch.randn(2, length, 3, generator=random)
    fitted = fit_rectangles(values, position, num, ridge=ridge)
    index = rectangle_index(position, num)
    for place in range(num):
        inside = values[:, index == place]
        want = inside.sum(1) / max(inside.shape[1] + ridge, 1e-9) if inside.shape[1] else torch.zeros(2, 3)
        torch.testing.assert_close(fitted[:, place], want)
    at = evaluate_rectangles(fitted, position)
    torch.testing.assert_close(at, fitted[:, index])


def test_half_precision_samples_are_summed_in_float32() -> None:
    values = torch.full((4, 1), 60_000.0).half()
    fitted = fit_rectangles(values, torch.tensor([0.1, 0.2, 0.3, 0.4]), 1, ridge=0.0)
    assert fitted.dtype == torch.float16 and fitted.item() == 60_000.0


def test_gaussians_fit_what_a_solve_in_float64_gives_and_go_to_zero_where_padding_is() -> None:
    bumps = Gaussians.grid(8, [0.05, 0.1])
    where = reference.first_positions(12)
    x = torch.randn(2, 12, 3, generator=generator(1))
    fitted = bumps.fit(x, where.rows, padding=where.padding)
    everywhere = torch.cat([where.rows, where.padding]).double()
    rows = torch.cat([x, torch.zeros(2, len(where.padding), 3)], dim=1).double()
    basis = bumps(everywhere)
    # The ridge problem as least squares: rows of sqrt(ridge) under the basis.
    stacked = torch.cat([basis, 0.5**0.5 * torch.eye(8).double()])
    target = torch.cat([rows, torch.zeros(2, 8, 3).double()], dim=1)
    want = torch.linalg.lstsq(stacked.expand(2, -1, -1), target).solution
    torch.testing.assert_close(fitted.double(), want, rtol=0, atol=1e-6)
    assert bumps.evaluate(fitted, where.padding[:2]).abs().max() < 0.05
    with pytest.raises(ValueError, match="num=7"):
        Gaussians.grid(7, [0.1, 0.2])


@given(st.lists(st.floats(0, 5), min_size=1, max_size=12), st.integers(0, 60), st.none() | seeds)
def test_systematic_draws_are_ascending_and_as_many_as_expected_to_within_one(
    mass: list[float], num: int, seed: int | None
) -> None:
    weight = torch.tensor(mass)
    drawn = systematic_draws(weight, num, None if seed is None else generator(seed))
    assert drawn.shape == (num,) and bool((drawn.diff() >= 0).all())
    count = torch.bincount(drawn, minlength=len(mass)).double()
    share = weight.double() if weight.sum() > 0 else torch.ones(len(mass), dtype=torch.float64)
    assert bool(((count - share / share.sum() * num).abs() < 1 + 1e-6).all())
    assert not count[share == 0].any()


def test_draws_are_the_same_for_the_same_seed() -> None:
    mass = torch.tensor([0.0, 3.3, 1.0, 0.0, 0.7])
    by_seed = [systematic_draws(mass, 7, generator(seed)).tolist() for seed in (3, 3, 4, 5, 6, 7)]
    assert by_seed[0] == by_seed[1]
    assert any(drawn != by_seed[0] for drawn in by_seed[2:])
    assert systematic_draws(torch.tensor([0.0, 3.0, 1.0, 0.0]), 4).tolist() == [1, 1, 1, 2]


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=15), st.integers(1, 20))
def test_capped_shares_sum_to_one_and_keep_proportions_below_the_cap(mass: list[float], num: int) -> None:
    weight = torch.tensor(mass, dtype=torch.float64)
    shares = capped_shares(weight, num)
    cap = 1 / min(num, len(mass))
    assert float(shares.sum()) == pytest.approx(1)
    assert bool((shares <= cap * (1 + 1e-9)).all()) and bool((shares > 0).all())
    below = shares < cap * (1 - 1e-9)
    if bool(below.any()):
        factor = shares[below] / weight[below]
        torch.testing.assert_close(factor, factor[:1].expand_as(factor))
        # What is at its cap would have had at least as much.
        assert bool((weight[~below] * factor[0] >= cap * (1 - 1e-9)).all())
    assert len(set(systematic_draws(shares, min(num, len(mass)), generator(1)).tolist())) == min(num, len(mass))


def test_positions_of_one_frame_and_of_none() -> None:
    assert reference.first_positions(1).rows.tolist() == [0.5]
    assert len(reference.first_positions(0).rows) == 0
    assert reference.update_positions(2, 0, 0.5).rows.tolist() == [0.25, 0.5]
    assert len(reference.update_positions(0, 0, 0.5).rows) == 0
    one = reference.update(None, torch.ones(1, 2), num_coefficients=3, tau=0.75)
    torch.testing.assert_close(one, torch.tensor([[0.0, 0], [2 / 3, 2 / 3], [0, 0]]))


def test_with_an_alpha_of_one_there_is_no_long_term_memory() -> None:
    short, long = torch.tensor([1.0]), torch.tensor([5.0])
    assert reference.blend(short, long, 1.0).item() == 1.0
    assert reference.blend(short, long, 0.75).item() == 2.0
