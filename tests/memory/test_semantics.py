from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory.semantics import fold_by_stride, plan_fold

from .naive_hermes import naive_fold


@given(st.integers(1, 3), st.integers(0, 14), st.integers(1, 15), st.integers(1, 5), st.integers(0, 10_000))
def test_frames_join_the_kept_frame_that_they_are_most_like(
    num_streams: int, num_frames: int, stride: int, num_channels: int, seed: int
) -> None:
    frames = torch.randn(num_streams, num_frames, num_channels + 1, generator=torch.Generator().manual_seed(seed))
    fold = fold_by_stride(frames, stride)
    means = fold.mean(frames)
    assert len(fold.kept) == means.shape[1] == num_frames // stride
    assert torch.equal(fold.total(torch.ones(fold.owner.shape)).sum(1), torch.full((num_streams,), fold.owner.shape[1]))
    spread = fold.spread(means)
    for stream in range(num_streams if len(fold.kept) else 0):
        want, destination, want_spread = naive_fold(frames[stream], stride)
        others = [place for place in range(fold.owner.shape[1]) if place not in fold.kept.tolist()]
        assert fold.owner[stream, others].tolist() == destination
        torch.testing.assert_close(means[stream], want, rtol=0, atol=1e-6)
        torch.testing.assert_close(spread[stream], want_spread, rtol=0, atol=1e-6)


def test_features_decide_for_tensors_of_any_shape_and_dtype() -> None:
    features = torch.eye(2)[[0, 1, 1, 0]][None]
    fold = fold_by_stride(features, 2)
    assert fold.owner.tolist() == [[1, 0, 0, 1]]
    tokens = torch.arange(16.0).view(1, 4, 2, 2).half()
    means = fold.mean(tokens)
    assert means.dtype == torch.float16
    assert torch.equal(means, torch.stack([tokens[:, [1, 2]].mean(1), tokens[:, [3, 0]].mean(1)], dim=1))
    weighted = fold.mean(tokens, torch.tensor([[3.0, 1.0, 1.0, 1.0]]))
    assert torch.equal(weighted[:, 1], (tokens[:, 3] + 3 * tokens[:, 0]) / 4)


def test_equal_and_empty_frames_join_the_first() -> None:
    for frames in (torch.full((1, 9, 7), 0.3), torch.zeros(1, 9, 7)):
        fold = fold_by_stride(frames, 3)
        assert fold.owner.tolist() == [[0, 0, 0, 0, 0, 1, 0, 0, 2]]
        torch.testing.assert_close(fold.mean(frames), frames[:, :3])


def test_kept_frames_may_be_any() -> None:
    fold = plan_fold(torch.eye(3)[[2, 0, 1, 1, 0]][None], torch.tensor([1, 3]))
    assert fold.owner.tolist() == [[0, 0, 1, 1, 0]]
    assert fold.mean(torch.arange(5.0)[None, :, None]).flatten().tolist() == pytest.approx([5 / 3, 2.5])


def test_a_stride_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="stride=0"):
        fold_by_stride(torch.zeros(1, 3, 2), 0)
