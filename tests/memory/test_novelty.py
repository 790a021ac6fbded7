from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vidmem.memory import novelty
from vidmem.memory.novelty import most_novel, novel_frames
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


@given(st.integers(1, 25), st.integers(1, 5), st.floats(0.05, 0.5), st.integers(1, 26), st.integers(0, 999))
def test_what_is_most_like_anything_before_it_goes_first(
    num_frames: int, num_scenes: int, noise: float, num_kept: int, seed: int
) -> None:
    features = video(num_frames, num_scenes, noise, seed).double()
    left = list(range(num_frames))
    unit = functional.normalize(features, dim=1)
    while len(left) > num_kept:
        alike = [max(float(unit[frame] @ unit[other]) for other in left[:at]) for at, frame in enumerate(left) if at]
        del left[alike.index(max(alike)) + 1]
    assert most_novel(features, num_kept).tolist() == left


def test_of_equal_frames_one_is_left_before_any_other_goes() -> None:
    shown = [0, 1, 0, 2, 2, 1, 0, 3]
    kept = most_novel(torch.eye(5)[shown] * 3, 4).tolist()
    assert kept == [0, 1, 3, 7]
    assert most_novel(torch.zeros(4, 3), 1).tolist() == [0]


def test_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="num_kept=0"):
        most_novel(torch.ones(2, 2), 0)


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
