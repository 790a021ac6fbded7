"""Vectors on a plane: what lies near stays near, and the same vectors always lie at the same places."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory.plane import on_plane


def vectors(seed: int, num: int, dim: int) -> torch.Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(1, 6))
def test_places_are_no_further_apart_than_the_vectors(seed: int, num: int, dim: int) -> None:
    given_vectors = vectors(seed, num, dim)
    places = on_plane(given_vectors)
    assert places.shape == (num, 2) and places.dtype == torch.float64
    assert num < 2 or float(places.abs().max()) == pytest.approx(1.0)
    rows = given_vectors.double()
    centred = rows - rows.mean(0) if num else rows
    # What was made 1 is the longest coordinate along the first axis, no longer than the longest vector.
    unit = float(centred.norm(dim=1).max()) if num else 1.0
    assert bool((torch.cdist(places, places) * _longest(centred) <= torch.cdist(rows, rows) + 1e-6 * unit).all())


def _longest(centred: torch.Tensor) -> float:
    """The longest coordinate along the direction of most spread, by another decomposition."""
    direction = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:] if len(centred) > 1 else None
    return 0.0 if direction is None else float((centred @ direction).abs().max())


@given(st.integers(0, 10_000), st.integers(3, 12))
def test_two_directions_are_shown_as_they_are(seed: int, num: int) -> None:
    flat = vectors(seed, num, 2)
    turned = flat @ torch.linalg.qr(vectors(seed + 1, 6, 6)).Q[:2]
    places = on_plane(turned)
    shown, true = torch.cdist(places, places), torch.cdist(flat.double(), flat.double())
    ratio = float(shown.max() / true.max())
    torch.testing.assert_close(shown, true * ratio, atol=1e-5, rtol=1e-4)


@given(st.integers(0, 10_000), st.integers(2, 12))
def test_the_same_vectors_lie_at_the_same_places_in_whatever_order(seed: int, num: int) -> None:
    given_vectors = vectors(seed, num, 5)
    torch.testing.assert_close(on_plane(given_vectors), on_plane(given_vectors.clone()), atol=0, rtol=0)
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(on_plane(given_vectors[order]), on_plane(given_vectors)[order], atol=1e-6, rtol=1e-6)


def test_axes_do_not_turn_round_with_the_vectors() -> None:
    given_vectors = vectors(3, 9, 4)
    torch.testing.assert_close(on_plane(-given_vectors), -on_plane(given_vectors))


@pytest.mark.parametrize("given_vectors", [torch.zeros(0, 4), torch.ones(1, 4), torch.ones(5, 4), torch.zeros(3, 4)])
def test_what_does_not_differ_lies_in_the_middle(given_vectors: torch.Tensor) -> None:
    assert on_plane(given_vectors).tolist() == [[0.0, 0.0]] * len(given_vectors)
