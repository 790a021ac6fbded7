"""Neighbours put together and averaged, against the plain versions."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.memory import Elements
from vidmem.memory.merging import group_alike, merge_groups

from .samples import frames, same


def naive_groups(features: Tensor, weight: Tensor, num_kept: int, apart: list[bool]) -> list[int]:
    """Put neighbours together, comparing all weighted means anew in each step."""
    groups = [[place] for place in range(len(features))]
    while len(groups) > num_kept:
        means = [(features[one] * weight[one, None]).sum(0) for one in groups]
        allowed = {
            place: float(torch.cosine_similarity(means[place], means[place + 1], dim=0))
            for place in range(len(groups) - 1)
            if not apart[groups[place][-1]]
        }
        if not allowed:
            break
        at = max(allowed, key=allowed.__getitem__)
        groups[at : at + 2] = [groups[at] + groups[at + 1]]
    return [number for number, one in enumerate(groups) for _ in one]


@given(st.integers(1, 20), st.integers(0, 8), st.integers(0, 10_000))
def test_the_most_alike_are_grouped_as_in_the_plain_version(num: int, num_kept: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(num, 4, generator=random, dtype=torch.float64)
    weight = torch.randint(1, 5, (num,), generator=random).double()
    apart = torch.rand(num - 1, generator=random) < 0.2
    group = group_alike(features, weight, num_kept, apart=apart)
    assert group.tolist() == naive_groups(features, weight, num_kept, apart.tolist())


def test_copies_are_grouped_from_the_first_on_whatever_their_numbers() -> None:
    copies = torch.randn(2, 7, generator=torch.Generator().manual_seed(3))[[0, 0, 0, 1, 1, 1]]
    none = torch.zeros(5, dtype=torch.bool)
    assert group_alike(copies, torch.ones(6), 4, apart=none).tolist() == [0, 0, 0, 1, 2, 3]
    assert group_alike(torch.zeros(6, 7), torch.ones(6), 4, apart=none).tolist() == [0, 0, 0, 1, 2, 3]
    assert group_alike(copies, torch.ones(6), 1, apart=~none).tolist() == list(range(6))
    assert group_alike(copies[:0], torch.ones(0), 1, apart=none[:0]).tolist() == []


@given(st.lists(st.integers(1, 4), max_size=6), st.integers(0, 1000))
def test_merged_groups_are_the_means_of_all_frames_in_them(sizes: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    some = frames(sum(sizes), seed=seed)
    some.weight.copy_(torch.randint(1, 4, some.weight.shape, generator=random))
    some.life.copy_(torch.rand(len(some), generator=random).sort(descending=True).values)
    some.usage.copy_(some.life / 5)
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.int64))
    merged, first = merge_groups(some, group), 0
    assert len(merged) == len(sizes)
    torch.testing.assert_close(merged.weight.sum(0), some.weight.sum(0))
    for number, size in enumerate(sizes):
        part, got = some[first : first + size], merged[number : number + 1]
        first += size
        weight = part.weight.unsqueeze(2)
        torch.testing.assert_close(got.value[0], (part.value * weight).sum(0) / weight.sum(0))
        of_frame = part.weight.mean(1, keepdim=True)
        torch.testing.assert_close(got.key[0], (part.key * of_frame).sum(0) / of_frame.sum())
        assert got.span_seconds.tolist() == [[float(part.span_seconds[0, 0]), float(part.span_seconds[-1, 1])]]
        assert float(got.life) == float(part.life[0])
        torch.testing.assert_close(got.usage[0], part.usage.sum())
        if size == 1:
            assert same(got, part)


def test_means_of_large_numbers_are_finite_in_half_precision_too() -> None:
    some = frames(2)
    large = Elements.fresh(some.key.half(), torch.full_like(some.value, 60_000.0).half(), some.span_seconds)
    merged = merge_groups(large, torch.zeros(2, dtype=torch.int64))
    assert merged.value.dtype == torch.float16 and merged.value.unique().tolist() == [60_000.0]
    huge = Elements.fresh(some.key, torch.full_like(some.value, 3e38), some.span_seconds)
    assert bool(merge_groups(huge, torch.zeros(2, dtype=torch.int64)).value.isfinite().all())
