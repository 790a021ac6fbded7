"""Functions of time with few coefficients: bases over [0, 1), and ridge fits of samples to them. Pure functions.

A function is `x(t) = sum_n B_n psi_n(t)` with coefficients B (..., N, E). Samples of it are rows (..., L, E) at
positions (L,). With N rectangles as the basis every sample belongs to one coefficient, so that the ridge fit is a sum
over each rectangle and no N x N matrix is built; Gaussians overlap and take a solve.

Source: infinity-former (Martins et al., ACL 2022), section 3.1; infinity-Video (Santos et al., ICML 2025,
arXiv 2501.19098) and its code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.memory.kmeans import sum_by_label

RIDGE = 0.5
"""Ridge penalty of infinity-Video's code."""


def rectangle_index(position: Tensor, num_rectangles: int) -> Tensor:
    """Which of N equal, half-open rectangles of [0, 1) a position lies in: int64 like `position`, N where in none.

    Edges are computed as in the reference, midpoints less half a width in the dtype of `position`. There a position
    within rounding of an edge may lie in two rectangles or in none; here it lies in one.
    """
    if num_rectangles < 1:
        raise ValueError(f"{num_rectangles=} must be at least 1")
    edge = torch.linspace(0, 1, num_rectangles + 1, dtype=position.dtype, device=position.device)
    width = torch.ones((), dtype=position.dtype, device=position.device) / num_rectangles
    middle = (edge[:-1] + edge[1:]) / 2
    index = torch.searchsorted(middle - width / 2, position.contiguous(), right=True) - 1
    outside = (index < 0) | (position >= middle[-1] + width / 2)
    return index.masked_fill(outside, num_rectangles)


def rectangular_basis(position: Tensor, num_rectangles: int) -> Tensor:
    """Value of every rectangle at positions (...,): (..., N) of 0 and 1, all 0 outside of [0, 1)."""
    index = rectangle_index(position, num_rectangles)
    return torch.nn.functional.one_hot(index, num_rectangles + 1)[..., :-1].to(position.dtype)


def evaluate_rectangles(coefficients: Tensor, position: Tensor) -> Tensor:
    """The function with coefficients (..., N, E) at positions (L,) or (..., L): (..., L, E), 0 outside of [0, 1)."""
    num_rectangles = coefficients.shape[-2]
    index = rectangle_index(position, num_rectangles)
    outside = index == num_rectangles
    place = index.masked_fill(outside, 0)
    if position.ndim == 1:
        rows = coefficients.index_select(-2, place)
    else:
        rows = coefficients.take_along_dim(place.unsqueeze(-1), dim=-2)
    return rows.masked_fill_(outside.unsqueeze(-1), 0)


def fit_rectangles(values: Tensor, position: Tensor, num_rectangles: int, *, ridge: float = RIDGE) -> Tensor:
    """Ridge fit of samples to rectangles: `B_n = sum of the samples in n / (their number + ridge)`.

    Args:
        values: (..., L, E), computed in float32 if they are shorter.
        position: (L,), in any order. A sample outside of [0, 1) counts for nothing.
        num_rectangles: N.
        ridge: lambda, at least 0. It draws every coefficient towards 0, the more the fewer samples it has.

    Returns:
        (..., N, E) in the dtype of `values`; a rectangle without samples is 0.
    """
    index = rectangle_index(position, num_rectangles)
    wide = values.to(torch.promote_types(values.dtype, torch.float32))
    sums = sum_by_label(wide, index.expand(values.shape[:-1]), num_rectangles + 1)
    count = torch.bincount(index, minlength=num_rectangles + 1).to(wide.dtype)
    # Where nothing is, the sum is 0 and may be divided by anything.
    divisor = torch.where(count > 0, count + ridge, 1.0)
    return sums.div_(divisor.unsqueeze(-1))[..., :-1, :].to(values.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """N Gaussian bumps, each with area 1."""

    centre: Tensor
    """(N,) positions."""
    width: Tensor
    """(N,) standard deviations."""

    @classmethod
    def grid(cls, num: int, widths: Sequence[float]) -> Gaussians:
        """Bumps of every width at each of `num / len(widths)` places from 0 to 1, both included."""
        if not widths or num < len(widths) or num % len(widths):
            raise ValueError(f"{num=} bumps do not divide among {len(widths)} widths")
        places = torch.linspace(0, 1, num // len(widths))
        return cls(places.repeat_interleave(len(widths)), torch.tensor(widths).repeat(len(places)))

    def __call__(self, position: Tensor) -> Tensor:
        """Value of every bump at positions (...,): (..., N)."""
        centre, width = self.centre.to(position), self.width.to(position)
        return ((position[..., None] - centre) / width).square().mul(-0.5).exp() / (width * math.sqrt(2 * math.pi))

    def evaluate(self, coefficients: Tensor, position: Tensor) -> Tensor:
        """The function with coefficients (..., N, E) at positions (L,): (..., L, E)."""
        return self(position).to(coefficients) @ coefficients

    def fit(self, values: Tensor, position: Tensor, *, padding: Tensor | None = None, ridge: float = RIDGE) -> Tensor:
        """Ridge fit of samples (..., L, E) at positions (L,): `B = (F F^T + ridge I)^-1 F x`, (..., N, E).

        Computed in float64: bumps of a hundredth have values of 40, and the matrix is all but singular.

        Args:
            padding: (K,) further positions, where the function is to be 0.
        """
        basis = self(position.double()).mT
        gram = basis @ basis.mT
        if padding is not None:
            beyond = self(padding.double()).mT
            gram = gram + beyond @ beyond.mT
        gram.diagonal().add_(ridge)
        return torch.linalg.solve(gram, basis @ values.double()).to(values.dtype)
