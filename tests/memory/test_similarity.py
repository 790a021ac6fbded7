from __future__ import annotations

import math

import pytest
import torch

from vidmem.memory.similarity import affinity, anisotropic_similarity, cosine_similarity, frame_readout, readout


def plain_similarity(
    key: torch.Tensor, query: torch.Tensor, shrinkage: torch.Tensor, selection: torch.Tensor
) -> torch.Tensor:
    """The definition, with all (N, Q, C) differences at once."""
    squares = (key[:, None] - query[None]).square() * selection[None]
    return -shrinkage[:, None] * squares.sum(-1) / math.sqrt(key.shape[1])


def test_expansion_equals_the_definition() -> None:
    random = torch.Generator().manual_seed(1)
    key, query = torch.randn(9, 5, generator=random), torch.randn(4, 5, generator=random)
    shrinkage, selection = torch.rand(9, generator=random) + 1, torch.rand(4, 5, generator=random)
    got = anisotropic_similarity(key, query, shrinkage=shrinkage, selection=selection)
    torch.testing.assert_close(got, plain_similarity(key, query, shrinkage, selection))
    ones = torch.ones_like(selection)
    got = anisotropic_similarity(key, query)
    want = plain_similarity(key, query, torch.ones(9), ones) + query.square().sum(1) / math.sqrt(5)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("top_k", [None, 1, 3, 7, 50])
def test_each_column_of_affinity_sums_to_one_over_at_most_k(top_k: int | None) -> None:
    similarity = torch.randn(7, 5, generator=torch.Generator().manual_seed(2)) * 300
    weight = affinity(similarity, top_k=top_k)
    torch.testing.assert_close(weight.sum(0), torch.ones(5))
    assert bool(((weight > 0).sum(0) <= (top_k or 7)).all())
    assert torch.equal(weight.argmax(0), similarity.argmax(0))


def test_top_k_of_all_is_the_full_softmax() -> None:
    similarity = torch.randn(6, 3, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(affinity(similarity, top_k=6), affinity(similarity))


def test_a_query_that_may_see_nothing_gets_zeros_and_others_are_as_ever() -> None:
    similarity = torch.tensor([[-torch.inf, -torch.inf], [-torch.inf, 1.0], [-torch.inf, -torch.inf]])
    for top_k in (None, 1, 2):
        assert affinity(similarity, top_k=top_k).tolist() == [[0, 0], [0, 1], [0, 0]]
    assert affinity(torch.zeros(0, 2)).shape == (0, 2)


def test_frame_readout_equals_the_dense_one() -> None:
    random = torch.Generator().manual_seed(4)
    value = torch.randn(8, 3, 2, generator=random)
    weight = affinity(torch.randn(8, 4, generator=random), top_k=2)
    torch.testing.assert_close(frame_readout(weight, value), readout(weight, value.flatten(1)).unflatten(1, (3, 2)))
    assert frame_readout(weight[:0], value[:0]).tolist() == torch.zeros(4, 3, 2).tolist()


def test_cosine_ignores_length() -> None:
    key = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert cosine_similarity(key, torch.tensor([[30.0, 40.0]])).flatten().tolist() == pytest.approx([1.0, 0.0])
