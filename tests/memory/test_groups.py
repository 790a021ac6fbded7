"""Neighbours put together and averaged, against the plain versions."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.memory import Elements
from vidmem.memory.grouping import average_groups
from vidmem.memory.merging import group_alike

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


@given(st.lists(st.integers(0, 5), max_size=15), st.integers(0, 1000))
def test_averages_are_the_means_of_all_frames_in_their_groups(labels: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    some = frames(len(labels), seed=seed)
    some.weight.copy_(torch.randint(1, 4, some.weight.shape, generator=random))
    some.life.copy_(torch.rand(len(some), generator=random))
    some.usage.copy_(some.life / 5)
    present = sorted(set(labels))
    label = torch.tensor([present.index(one) for one in labels], dtype=torch.int64)
    averages = average_groups(some, label)
    assert len(averages) == len(present)
    for total in ("weight", "usage"):
        torch.testing.assert_close(getattr(averages, total).sum(0), getattr(some, total).sum(0))
    for group in range(len(present)):
        part, got = some[label == group], averages[group : group + 1]
        weight = part.weight.unsqueeze(2)
        torch.testing.assert_close(got.value[0], (part.value * weight).sum(0) / weight.sum(0))
        of_frame = part.weight.mean(1, keepdim=True)
        torch.testing.assert_close(got.key[0], (part.key * of_frame).sum(0) / of_frame.sum())
        assert got.span_seconds.tolist() == [[float(part.span_seconds[0, 0]), float(part.span_seconds[-1, 1])]]
        assert float(got.life) == float(part.life.max())
        torch.testing.assert_close(got.usage[0], part.usage.sum())
        if len(part) == 1:
            assert same(got, part)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 1000))
def test_the_order_of_a_groups_members_makes_no_difference(labels: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    some = frames(len(labels), seed=seed)
    some.usage.copy_(torch.rand(len(some), generator=random))
    label = torch.tensor(labels).unique(return_inverse=True)[1]
    order = torch.randperm(len(labels), generator=random)
    assert same(average_groups(some, label), average_groups(some[order], label[order]), atol=1e-6)


@given(st.integers(1, 12), st.integers(0, 1000))
def test_averages_of_averages_are_the_averages_of_all(num: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    some = frames(num, seed=seed)
    fine = torch.randint(0, 4, (num,), generator=random).unique(return_inverse=True)[1]
    coarse = torch.randint(0, 2, (int(fine.max()) + 1,), generator=random).unique(return_inverse=True)[1]
    by_steps = average_groups(average_groups(some, fine), coarse)
    assert same(by_steps, average_groups(some, coarse[fine]), atol=1e-5)
    each = torch.arange(len(by_steps))
    assert same(average_groups(by_steps, each), by_steps)


def test_means_of_large_numbers_are_finite_in_half_precision_too() -> None:
    some, together = frames(2), torch.zeros(2, dtype=torch.int64)
    large = Elements.fresh(some.key.half(), torch.full_like(some.value, 60_000.0).half(), some.span_seconds)
    average = average_groups(large, together)
    assert average.value.dtype == torch.float16 and average.value.unique().tolist() == [60_000.0]
    huge = Elements.fresh(some.key, torch.full_like(some.value, 3e38), some.span_seconds)
    assert bool(average_groups(huge, together).value.isfinite().all())
