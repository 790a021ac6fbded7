from __future__ import annotations

import pytest
import torch

from vidmem.memory.resolution import finest, resample, resampled

from .samples import TOKEN_DIM, frames


def test_a_grid_is_averaged_over_squares_and_repeated_back() -> None:
    grid = torch.arange(16.0).view(1, 16, 1)
    coarse = resample(grid, 4)
    assert coarse.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    fine = resample(coarse, 16).view(4, 4)
    assert fine[0].tolist() == [2.5, 2.5, 4.5, 4.5] and fine[3].tolist() == [10.5, 10.5, 12.5, 12.5]
    assert resample(grid, 16) is grid


def test_what_is_no_grid_is_a_line() -> None:
    line = torch.arange(6.0).view(1, 6, 1)
    assert resample(line, 3).flatten().tolist() == [0.5, 2.5, 4.5]
    assert resample(line, 1).flatten().tolist() == [2.5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_and_no_frames_give_none(dtype: torch.dtype) -> None:
    frames = torch.ones(2, 4, 3, dtype=dtype)
    assert resample(frames, 1).dtype == dtype
    assert resample(frames[:0], 1).shape == (0, 1, 3)


def test_resampled_elements_keep_what_they_are_and_weigh_as_what_they_cover() -> None:
    some = frames(3)
    some.weight[1] = torch.tensor([1.0, 2.0, 3.0, 6.0])
    coarse = resampled(some, 1)
    assert coarse.weight.tolist() == [[1.0], [3.0], [1.0]]
    assert coarse.value.shape == (3, 1, TOKEN_DIM) and torch.equal(coarse.key, some.key)
    assert resampled(coarse, 4).weight.tolist() == [[1.0] * 4, [3.0] * 4, [1.0] * 4]
    assert resampled(some[:0], 1).value.shape == (0, 1, TOKEN_DIM)


def test_of_one_moment_the_finest_stand_for_all() -> None:
    first, second, third = (frames(3)[torch.tensor([index])] for index in range(3))
    found = [resampled(second, 1), first, second, resampled(third, 1)]
    assert [(element.num_tokens, float(element.span_seconds[0, 0])) for element in finest(found)] == [
        (4, float(first.span_seconds[0, 0])),
        (4, float(second.span_seconds[0, 0])),
        (1, float(third.span_seconds[0, 0])),
    ]
    assert finest([]) == []
