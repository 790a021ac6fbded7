from __future__ import annotations

import pytest
import torch

from vidmem.memory import Elements

from .samples import frames, same


def test_fields_of_different_length_are_refused() -> None:
    some = frames(3)
    with pytest.raises(ValueError, match=r"keys \(N, C\) and values"):
        Elements(some.key[:2], some.value, some.span_seconds, some.usage, some.life, some.weight)
    with pytest.raises(ValueError, match="usages and lives"):
        Elements(some.key, some.value, some.span_seconds, some.usage[:1], some.life, some.weight)
    with pytest.raises(ValueError, match="need a weight a token"):
        Elements(some.key, some.value, some.span_seconds, some.usage, some.life, some.weight[:, :2])


def test_times_in_float32_are_refused() -> None:
    some = frames(3)
    with pytest.raises(ValueError, match="float64"):
        Elements(some.key, some.value, some.span_seconds.float(), some.usage, some.life, some.weight)


def test_slices_are_views_and_index_tensors_copy() -> None:
    some = frames(4)
    some[1:3].usage.add_(1)
    assert some.usage.tolist() == [0, 1, 1, 0]
    some[torch.tensor([0, 3])].usage.add_(1)
    assert some.usage.tolist() == [0, 1, 1, 0]
    assert some[torch.tensor([True, False, False, True])].span_seconds[:, 0].tolist() == [0.0, 3.0]


def test_parts_join_to_the_whole() -> None:
    whole = frames(5)
    assert same(Elements.cat([whole[:2], whole[2:2], whole[2:]]), whole)
    with pytest.raises(ValueError, match="nothing to join"):
        Elements.cat([])


def test_bytes_and_tokens_are_counted() -> None:
    some = frames(2)  # keys 6, values 4 x 3, spans 2 in float64, usage, life, weights 4
    assert some.num_bytes == 2 * (6 * 4 + 12 * 4 + 2 * 8 + 4 + 4 + 4 * 4)
    assert some.num_tokens == 8
    assert Elements.empty(6, 3, 4).num_bytes == 0


def test_frequency_of_what_was_never_read_is_zero() -> None:
    some = frames(2)
    some.usage[1], some.life[1] = 1.0, 4.0
    assert some.frequency.tolist() == [0.0, 0.25]
