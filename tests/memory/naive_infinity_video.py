"""infinity-Video's long-term memory step by step as its published code computes it: the oracle, and what we are
compared with in speed. Matrices are built and inverted, bases are evaluated position by position, every read and every
density goes over a grid of points.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

RIDGE = 0.5


def evaluate(t: Tensor, num_basis: int) -> Tensor:
    """(T, N): 1 where mu - w / 2 <= t < mu + w / 2."""
    edges = torch.linspace(0, 1, num_basis + 1)
    mu = (edges[:-1] + edges[1:]) / 2
    width = torch.ones(num_basis) / num_basis
    return torch.stack([((s >= mu - width / 2) & (s < mu + width / 2)).float() for s in t])


def operator(positions: Tensor, num_basis: int, num_rows: int) -> Tensor:
    """(num_rows, N): all positions are fitted, then as many are cut off on both sides as are too many."""
    basis = evaluate(positions, num_basis).T
    whole = basis.T @ (basis @ basis.T + RIDGE * torch.eye(num_basis)).inverse()
    cut = num_rows // 2
    return whole[cut : len(whole) - cut]


def padded_line(num: int, shift: float, is_odd: bool) -> Tensor:
    return torch.linspace(-0.5 + shift, 1.5 - shift, 2 * num - 1 if is_odd else 2 * num)


def first_operator(length: int, num_basis: int) -> Tensor:
    is_odd = length % 2 == 1
    line = padded_line(length, 1 / length if is_odd else 1 / (2 * length), is_odd)
    return operator(line, num_basis, length)


def update_operator(length: int, num_samples: int, tau: float, num_basis: int) -> Tensor:
    """For an even number of samples, as the reference has it."""
    is_odd, num = length % 2 == 1, length + num_samples
    old = torch.arange(1, num_samples + 1).float() * tau / num_samples
    new = tau + (1 - tau) * torch.arange(1, length + 1).float() / length
    line = padded_line(num, 1 / num if is_odd else 1 / (2 * length + num_samples), is_odd)
    below = torch.tensor([t for t in line if t < 0])
    above = torch.tensor([t for t in line if t > 1])
    return operator(torch.cat([below, old, new, above]), num_basis, num)


@dataclass
class NaiveMemory:
    """One layer's memory of one video; keys and values of the last read stay for the next sticky draws."""

    num_basis: int
    num_samples: int
    tau: float
    num_heads: int
    weights: tuple[Tensor, Tensor, Tensor, Tensor]
    sticky: bool = True
    past: Tensor | None = field(default=None)
    query: Tensor | None = field(default=None)
    key: Tensor | None = field(default=None)

    def probability(self) -> Tensor:
        """(127,) of the bins, by differences of the cumulative density."""
        bins = torch.linspace(0, 1, 129)
        bins[0], bins[-1] = -1e-6, 1.000001
        cumulative = torch.cumulative_trapezoid(self.density(bins), bins, dim=-1)
        mass = (cumulative[..., 1:] - cumulative[..., :-1]).sum(dim=(0, 1))
        return mass / mass.sum()

    def density(self, t: Tensor) -> Tensor:
        """(heads, Q, T)."""
        query = self.query / self.query.shape[-1] ** 0.5
        score = (query @ (self.key.transpose(-1, -2) @ evaluate(t, self.num_basis).T)).exp()
        return score / torch.trapezoid(score, t, dim=-1).unsqueeze(-1)

    def update(self, frames: Tensor, bins: Tensor | None = None) -> Tensor:
        """Frames (L, E); bins (S,) are the sticky draws to use, None draws them."""
        x = frames.T
        if self.past is None:
            self.past = (x @ first_operator(len(frames), self.num_basis)).T
            return self.past
        if self.sticky:
            if bins is None:
                bins = torch.distributions.Categorical(self.probability()).sample((self.num_samples,))
            samples = evaluate(torch.linspace(0, 1, 129)[bins], self.num_basis)
        else:
            old = torch.arange(1, self.num_samples + 1).float() * self.tau / self.num_samples
            samples = torch.cat([evaluate((t / self.tau)[None], self.num_basis) for t in old])
        x = torch.cat([self.past.T @ samples.T, x], dim=1)
        self.past = (x @ update_operator(len(frames), self.num_samples, self.tau, self.num_basis)).T
        return self.past

    def read(self, query: Tensor) -> Tensor:
        """Queries (heads, Q, C) to contexts (heads, Q, C)."""
        key_weight, key_bias, value_weight, value_bias = self.weights
        self.query = query
        self.key = self._heads(self.past @ key_weight.T + key_bias)
        value = self._heads(self.past @ value_weight.T + value_bias)
        t = torch.linspace(0, 1, 1000)
        weighted = self.density(t).unsqueeze(-2) * evaluate(t, self.num_basis).T  # (heads, Q, N, T)
        return torch.trapezoid(weighted, t, dim=-1) @ value

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.view(len(rows), self.num_heads, -1).transpose(0, 1)
