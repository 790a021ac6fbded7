"""infinity-Video's long-term memory as its code has it, where the policy does otherwise. Pure functions.

The code is the variant with rectangles and an exact softmax density ("Gibbs"). It loses the newest frame of every
chunk but the first, shuffles the old timeline by the order of the sticky draws, and samples a bin to the left of the
mass that was drawn; the policy does none of that. Reading needs the video Q-Former's own projections.

Source: github deep-spin/Infinite-Video, `long_term_attention_gibbs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.memory.basis import RIDGE, evaluate_rectangles, fit_rectangles
from vidmem.memory.continuous import continuous_attention, density, interval_mass, scores, trapezoid_mass

NUM_SAMPLES = 512
"""Samples of the old function in each update (S)."""
NUM_BINS = 128
"""Intervals of time that sticky draws choose among."""
NUM_POINTS = 1000
"""Points of the trapezoid rule that a read integrates with."""


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Where the rows of a fit lie in time, and what is put beside them."""

    rows: Tensor
    """(L,) float32, ascending."""
    padding: Tensor
    """(K,) float32, outside of [0, 1]. Rectangles do not reach there, Gaussians do."""


def first_positions(num_frames: int) -> Positions:
    """Positions of a first chunk of L frames: `(i + 0.5) / L`, padded by half a length on both sides.

    One frame alone lies at 0.5; the reference fails there.
    """
    if num_frames < 2:
        return Positions(torch.full((num_frames,), 0.5), torch.empty(0))
    is_odd = num_frames % 2 == 1
    padded = _padded_line(num_frames, 1 / num_frames if is_odd else 1 / (2 * num_frames), is_odd=is_odd)
    cut = num_frames // 2
    return Positions(padded[cut:-cut], torch.cat([padded[:cut], padded[-cut:]]))


def update_positions(num_samples: int, num_frames: int, tau: float) -> Positions:
    """Positions of S samples of the old function, `tau k / S`, and of L new frames after them, up to 1 itself.

    1 lies in no rectangle, so that the newest frame counts for nothing, unless `tau` is no sum of powers of 2 and
    rounding happens to save it.
    """
    old = torch.arange(1, num_samples + 1).float() * tau / num_samples
    new = tau + (1 - tau) * torch.arange(1, num_frames + 1).float() / max(num_frames, 1)
    num = num_samples + num_frames
    if not num:
        return Positions(old, old)
    is_odd = num_frames % 2 == 1
    padded = _padded_line(num, 1 / num if is_odd else 1 / (num + num_frames), is_odd=is_odd)
    return Positions(torch.cat([old, new]), padded[(padded < 0) | (padded > 1)])


def _padded_line(num: int, shift: float, *, is_odd: bool) -> Tensor:
    return torch.linspace(-0.5 + shift, 1.5 - shift, 2 * num - 1 if is_odd else 2 * num)


def uniform_draws(num_samples: int, tau: float) -> Tensor:
    """Where the old function is sampled without sticky draws: `s / S`, (S,). The last, 1, reads as zero."""
    return torch.arange(1, num_samples + 1).float() * tau / num_samples / tau


def bin_edges(num_bins: int = NUM_BINS) -> Tensor:
    """Edges of the sticky bins, the outer ones moved outside of [0, 1]: (num_bins + 1,)."""
    edge = torch.linspace(0, 1, num_bins + 1)
    edge[0], edge[-1] = -1e-6, 1.000001
    return edge


def sticky_probability(query: Tensor, key: Tensor, *, num_bins: int = NUM_BINS) -> Tensor:
    """Probability of a draw from each bin, from the queries and keys of the previous read.

    Entry j is the mass of bin j + 1; bin 0 is lost.

    Args:
        query: (..., heads, Q, C). key: (..., heads, N, C).

    Returns:
        (..., num_bins - 1), sums to 1.
    """
    edge = bin_edges(num_bins).to(query.device)
    mass = interval_mass(density(scores(query, key), edge), edge)[..., 1:].sum(dim=(-3, -2))
    return mass / mass.sum(-1, keepdim=True)


def draw_bins(probability: Tensor, num_draws: int, generator: torch.Generator | None = None) -> Tensor:
    """Independent draws with replacement from (..., num_bins - 1), in no order: (..., num_draws) int64."""
    rows = probability.reshape(-1, probability.shape[-1])
    drawn = rows.multinomial(num_draws, replacement=True, generator=generator)
    return drawn.reshape(*probability.shape[:-1], num_draws)


def sticky_draws(bin_index: Tensor, *, num_bins: int = NUM_BINS) -> Tensor:
    """Positions of drawn bins: the left edge of bin b, where the mass drawn lay in bin b + 1."""
    return torch.linspace(0, 1, num_bins + 1, device=bin_index.device)[bin_index]


def update(
    past: Tensor | None,
    frames: Tensor,
    *,
    num_coefficients: int,
    tau: float,
    draws: Tensor | None = None,
    num_samples: int = NUM_SAMPLES,
    ridge: float = RIDGE,
) -> Tensor:
    """Fit a chunk, together with samples of what was there before.

    Args:
        past: (..., N, E) coefficients, or None for a first chunk, which `tau` has no part in.
        frames: (..., L, E): a frame's mean token each.
        num_coefficients: N.
        tau: share of [0, 1) that the past is pressed into.
        draws: (S,) or (..., S) where the past is sampled, in the order in which the samples are laid out in time.
            None: `uniform_draws` of `num_samples`.

    Returns:
        (..., N, E).
    """
    if past is None:
        return fit_rectangles(
            frames, first_positions(frames.shape[-2]).rows.to(frames.device), num_coefficients, ridge=ridge
        )
    if draws is None:
        draws = uniform_draws(num_samples, tau).to(frames.device)
    samples = evaluate_rectangles(past, draws)
    rows = update_positions(draws.shape[-1], frames.shape[-2], tau).rows.to(frames.device)
    return fit_rectangles(torch.cat([samples, frames], dim=-2), rows, num_coefficients, ridge=ridge)


@dataclass(frozen=True, slots=True, eq=False)
class Projections:
    """The host's own cross-attention projections: `x W^T + b`, weights (heads * C, E), biases (heads * C,)."""

    key_weight: Tensor
    key_bias: Tensor
    value_weight: Tensor
    value_bias: Tensor
    num_heads: int

    def key(self, coefficients: Tensor) -> Tensor:
        """(..., N, E) to (..., heads, N, C). The bias enters every coefficient, those of nothing too."""
        return split_heads(coefficients @ self.key_weight.mT + self.key_bias, self.num_heads)

    def value(self, coefficients: Tensor) -> Tensor:
        return split_heads(coefficients @ self.value_weight.mT + self.value_bias, self.num_heads)


def split_heads(rows: Tensor, num_heads: int) -> Tensor:
    """(..., N, heads * C) to (..., heads, N, C)."""
    return rows.unflatten(-1, (num_heads, -1)).transpose(-3, -2)


def read(query: Tensor, key: Tensor, value: Tensor, *, num_points: int = NUM_POINTS) -> Tensor:
    """Long-term context of queries (..., heads, Q, C) given keys and values (..., heads, N, C): (..., heads, Q, C)."""
    mass = trapezoid_mass(key.shape[-2], num_points, device=key.device)
    return continuous_attention(query, key, value, mass=mass)


def blend(short_term: Tensor, long_term: Tensor, alpha: float) -> Tensor:
    """What a cross-attention layer returns. With the published command's alpha of 1 there is no long-term memory."""
    return alpha * short_term + (1 - alpha) * long_term
