from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory.semantics import plan_fold

from .naive_hermes import naive_fold


@given(st.integers(1, 3), st.integers(0, 14), st.integers(1, 15), st.integers(1, 5), st.integers(0, 10_000))
def test_frames_join_the_kept_frame_that_they_are_most_like(
    num_streams: int, num_frames: int, stride: int, num_channels: int, seed: int
) -> None:
    frames = torch.randn(num_streams, num_frames, num_channels + 1, generator=torch.Generator().manual_seed(seed))
    fold = plan_fold(frames, stride)
    means = fold.mean(frames)
    assert fold.num_kept == means.shape[1] == num_frames // stride
    spread = fold.spread(means)
    for stream in range(num_streams if fold.num_kept else 0):
        want, destination, want_spread = naive_fold(frames[stream], stride)
        assert fold.destination[stream].tolist() == destination
        torch.testing.assert_close(means[stream], want, rtol=0, atol=1e-6)
        torch.testing.assert_close(spread[stream], want_spread, rtol=0, atol=1e-6)


def test_features_decide_for_tensors_of_any_shape_and_dtype() -> None:
    features = torch.eye(2)[[0, 1, 1, 0]][None]
    fold = plan_fold(features, 2)
    assert fold.destination.tolist() == [[1, 0]]
    tokens = torch.arange(16.0).view(1, 4, 2, 2).half()
    means = fold.mean(tokens)
    assert means.dtype == torch.float16
    assert torch.equal(means, torch.stack([tokens[:, [1, 2]].mean(1), tokens[:, [3, 0]].mean(1)], dim=1))


def test_equal_and_empty_frames_join_the_first() -> None:
    for frames in (torch.full((1, 9, 7), 0.3), torch.zeros(1, 9, 7)):
        fold = plan_fold(frames, 3)
        assert fold.destination.tolist() == [[0] * 6]
        torch.testing.assert_close(fold.mean(frames), frames[:, :3])


def test_a_stride_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="stride=0"):
        plan_fold(torch.zeros(1, 3, 2), 0)
