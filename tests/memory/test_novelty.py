from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory import novelty
from vidmem.memory.novelty import novel_frames
from vidmem.memory.policies.hippomm_reference import key_frames

from .naive_hippomm import naive_key_frames


def video(num_frames: int, num_scenes: int, noise: float, seed: int) -> torch.Tensor:
    """Frames (T, 6) of scenes that come back."""
    random = torch.Generator().manual_seed(seed)
    scenes = torch.randn(num_scenes, 6, generator=random)
    shown = torch.randint(num_scenes, (num_frames,), generator=random)
    return scenes[shown] + noise * torch.randn(num_frames, 6, generator=random)


@given(
    st.integers(0, 40),
    st.integers(1, 6),
    st.floats(0, 0.5),
    st.floats(-0.5, 0.99),
    st.integers(1, 9),
    st.integers(0, 999),
)
def test_each_kept_frame_is_unlike_all_kept_before_it(
    num_frames: int, num_scenes: int, noise: float, threshold: float, block: int, seed: int
) -> None:
    features = video(num_frames, num_scenes, noise, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(novelty, "BLOCK", block)
        novel = novel_frames(features, threshold=threshold)
    assert novel.tolist() == naive_key_frames(features, threshold)
    # Cut anywhere, with what is known handed on, the result is the same.
    first = novel_frames(features[:7], threshold=threshold)
    second = novel_frames(features[7:], threshold=threshold, known=features[first])
    assert torch.equal(torch.cat([first, second + 7]), novel)


def test_frames_without_direction_are_like_each_other_only() -> None:
    frames = torch.stack([torch.zeros(3), torch.eye(3)[0], torch.zeros(3), torch.eye(3)[0] * 2])
    assert novel_frames(frames, threshold=0.9).tolist() == [0, 1]
    assert novel_frames(frames, threshold=0.9, known=torch.zeros(1, 3)).tolist() == [1]


def test_half_precision_is_compared_in_float32() -> None:
    features = video(30, 4, 0.1, 3).half()
    assert torch.equal(novel_frames(features, threshold=0.9), novel_frames(features.float(), threshold=0.9))


def test_of_two_frames_the_reference_keeps_both() -> None:
    alike = torch.ones(2, 3)
    assert key_frames(alike).tolist() == [0, 1]
    assert novel_frames(alike, threshold=0.9).tolist() == [0]
    assert key_frames(alike[:0]).tolist() == novel_frames(alike[:0], threshold=0.9).tolist() == []
