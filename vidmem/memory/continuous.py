"""Continuous attention: a query's density over a stretch of time, read and sampled. Pure functions.

Time runs over [0, 1) and a function of it is constant on N equal rectangles (`basis`), so that the density of a query
is too: `p(t) ~ exp(z(t))` with `z(t) = q . K_n / sqrt(d)` in rectangle n. Outside of [0, 1) z is 0.

Source: infinity-Video (Santos et al., ICML 2025, arXiv 2501.19098), sections 3.2 and 3.3, and its code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vidmem.memory.basis import rectangle_index


def scores(query: Tensor, key: Tensor) -> Tensor:
    """Scaled dot products of queries (..., Q, C) with keys (..., N, C) in float32 or wider: (..., Q, N)."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    return query.to(dtype) @ key.to(dtype).mT / math.sqrt(query.shape[-1])


def trapezoid_mass(num_rectangles: int, num_points: int, *, device: torch.device | str = "cpu") -> Tensor:
    """How much of a trapezoid rule over `num_points` points from 0 to 1 falls to each rectangle, and to none: (N + 1,).

    The last point, 1, lies in no rectangle, and half a step of the rule with it.
    """
    position = torch.linspace(0, 1, num_points, device=device)
    step = position.diff().double()
    share = torch.nn.functional.pad(step, (1, 0)) + torch.nn.functional.pad(step, (0, 1))
    mass = torch.zeros(num_rectangles + 1, dtype=torch.float64, device=device)
    return mass.index_add_(0, rectangle_index(position, num_rectangles), share / 2).float()


def continuous_attention(query: Tensor, key: Tensor, value: Tensor, *, mass: Tensor | None = None) -> Tensor:
    """Expectation of the value function under each query's density.

    The density is constant on each rectangle, so its integral over the rectangles is a softmax over N scores, each
    with the rectangle's share of time as its weight: O(Q N) where integrating on a grid takes O(Q N points).

    Args:
        query: (..., Q, C). key: (..., N, C). value: (..., N, E).
        mass: (N + 1,) weight of each rectangle and of what lies in none, as from `trapezoid_mass` for the reference's
            integral. None: the exact integral, which is dot-product attention over the coefficients.

    Returns:
        (..., Q, E) in float32 or wider.
    """
    score = scores(query, key)
    if mass is not None:
        # Where no rectangle is, the score is 0 and the value is 0.
        score = torch.nn.functional.pad(score, (0, 1)) + mass.to(score).log()
    weight = score.softmax(-1)[..., : key.shape[-2]]
    return weight @ value.to(weight.dtype)


def density(score: Tensor, position: Tensor) -> Tensor:
    """Densities of scores (..., N) at ascending positions (T,), normalised by the trapezoid rule over them: (..., T).

    The largest score is subtracted first; the reference does not, and gives NaN from scores of 89 on.
    """
    everywhere = torch.nn.functional.pad(score, (0, 1))[..., rectangle_index(position, score.shape[-1])]
    unnormalised = (everywhere - everywhere.amax(-1, keepdim=True)).exp()
    return unnormalised / torch.trapezoid(unnormalised, position.to(score), dim=-1).unsqueeze(-1)


def interval_mass(density: Tensor, edge: Tensor) -> Tensor:
    """Mass of a density (..., T), given at ascending edges (T,), in each of the T - 1 intervals between them."""
    return (density[..., 1:] + density[..., :-1]) / 2 * edge.to(density).diff()


def capped_shares(mass: Tensor, num_draws: int) -> Tensor:
    """Shares (T,) of `num_draws` draws in proportion to a mass, none above one draw: what is over goes to the rest.

    A piece of a function that is constant gains nothing by being sampled twice.

    Args:
        mass: (T,), above 0, of any sum. From `num_draws` = T on all shares are equal.

    Returns:
        (T,) float64 in the order of `mass`, sums to 1, at most 1 / num_draws (or 1 / T, if that is more).
    """
    num = len(mass)
    if num_draws >= num:
        return torch.full((num,), 1 / max(num, 1), dtype=torch.float64, device=mass.device)
    wide, order = mass.double().sort(descending=True, stable=True)
    # With the k largest at their cap, the rest share what is left by mass. The right k is the first at which the
    # largest of them stays below the cap.
    rest = wide.flip(0).cumsum(0).flip(0)
    num_capped = torch.arange(num, device=mass.device)
    factor = (num_draws - num_capped) / num_draws / rest
    k = int((wide * factor * num_draws <= 1).int().argmax())
    shares = (wide * factor[k]).where(num_capped >= k, torch.full_like(wide, 1 / num_draws))
    return torch.empty_like(shares).scatter_(0, order, shares)


def systematic_draws(mass: Tensor, num_draws: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw among T by their mass: (num_draws,) int64, ascending.

    The draws lie equally far apart in probability, so that each of the T gets its expected number of them to within
    one. Independent draws may leave one out by chance, and what is never drawn is forgotten.

    Args:
        mass: (T,), at least 0, of any sum. All 0 counts as all equal. What has no mass is never drawn.
        generator: on the CPU; decides where the first draw lies. None: in the middle of where it may.
    """
    wide = mass.double()
    cumulative = torch.where(wide.sum() > 0, wide, torch.ones_like(wide)).cumsum(0)
    first = 0.5 if generator is None else float(torch.rand((), dtype=torch.float64, generator=generator))
    level = (torch.arange(num_draws, device=mass.device) + first) / max(num_draws, 1) * cumulative[-1]
    level = torch.minimum(level, torch.nextafter(cumulative[-1], torch.zeros_like(cumulative[-1])))
    # Right of equal levels, so that what has no mass is never drawn.
    return torch.searchsorted(cumulative, level, right=True)
