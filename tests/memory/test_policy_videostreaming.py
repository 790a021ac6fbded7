"""One element a clip, and the clips that a question reads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory import Memory, MemoryConfig
from vidmem.memory.policies import Level, VideoStreaming
from vidmem.memory.policies.videostreaming import choose_clips
from vidmem.memory.resolution import resample

from .samples import NUM_TOKENS, frames


@given(st.integers(0, 50), st.integers(1, 6), st.integers(1, 8), st.integers(1, 4), st.sampled_from([None, 1, 4]))
def test_each_clip_is_the_mean_of_its_frames_and_clips_double_when_they_are_too_many(
    num: int, chunk: int, max_elements: int, clip_frames: int, clip_tokens: int | None
) -> None:
    options = {"clip_frames": clip_frames, "clip_tokens": clip_tokens}
    config = MemoryConfig(
        working_max_frames=chunk,
        working_min_frames=1,
        max_elements=max_elements,
        policy="videostreaming",
        policy_options=options,
    )
    memory = Memory(config)
    memory.write(frames(num))
    gone = frames(num - len(memory.working))
    length = clip_frames
    max_clips = max_elements * (NUM_TOKENS if clip_tokens == 1 else 1)
    while len(gone) > length * max_clips:
        length *= 2
    want = [gone[first : first + length] for first in range(0, len(gone), length)]
    clips = memory.long_term.elements
    assert clips.span_seconds.tolist() == [
        [float(one.span_seconds[0, 0]), float(one.span_seconds[-1, 1])] for one in want
    ]
    for clip, one in zip(range(len(clips)), want, strict=True):
        value = resample(one.value, clips.value.shape[1])
        torch.testing.assert_close(clips.value[clip], value.mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(clips.key[clip], one.key.mean(0), atol=1e-5, rtol=1e-5)
        assert clips.weight[clip].unique().tolist() == [len(one)]


def test_fewer_tokens_a_clip_make_room_for_more_clips() -> None:
    assert VideoStreaming().levels(16, 10) == (Level(16, 10),)
    assert VideoStreaming(clip_tokens=3).levels(16, 10) == (Level(3, 53),)
    assert VideoStreaming(clip_tokens=64).levels(16, 10) == (Level(16, 10),)


def test_of_equal_clips_the_first_are_chosen_and_time_order_is_restored() -> None:
    similarity = torch.tensor([[0.1, 0.5], [0.9, 0.5], [0.9, 0.5], [0.2, 0.5], [0.9, 0.7]])
    assert choose_clips(similarity, 2).T.tolist() == [[1, 2], [0, 4]]
    assert choose_clips(similarity, 9).T.tolist() == [list(range(5))] * 2
    assert choose_clips(similarity.expand(3, 5, 2), 1).shape == (3, 1, 2)
    assert choose_clips(similarity[:0], 2).shape == (0, 2)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 99))
def test_a_question_reads_its_clips_alone_by_the_softmax_of_their_cosines(num: int, top_k: int, seed: int) -> None:
    key, query = frames(num, seed=seed).key, frames(2, seed=seed + 1).key
    share = VideoStreaming(top_k=top_k, logit_scale=5.0).affinity(key, query)
    cosines = key @ query.T
    for column in range(2):
        chosen = cosines[:, column].argsort(descending=True)[:top_k]
        want = torch.zeros(num)
        want[chosen] = (cosines[chosen, column] * 5).softmax(0)
        torch.testing.assert_close(share[:, column], want)


def test_copies_are_read_from_the_first_on_and_what_may_not_be_seen_is_not() -> None:
    key = frames(1).key.expand(6, -1)
    policy = VideoStreaming(top_k=2)
    assert policy.affinity(key, key[:1]).squeeze(1).tolist() == [0.5, 0.5, 0, 0, 0, 0]
    readable = torch.tensor([[0, 0], [0, 0], [1, 0], [0, 0], [0, 0], [0, 0]]).bool()
    assert policy.affinity(key, key[:2], readable).T.tolist() == [[0, 0, 1, 0, 0, 0], [0] * 6]


@pytest.mark.parametrize("option", ["clip_frames", "clip_tokens", "top_k"])
def test_options_that_make_no_sense_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}=0"):
        VideoStreaming(**{option: 0})
