"""Incremental compression against the plain version, which is the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.bench.naive.hermes import naive_eco
from vidmem.memory.episodes import EpisodeBank, compress_episodes, whole_frames

from .naive_hermes import naive_all_pairs

shapes = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 4), st.integers(1, 5))


def random_bank(shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 5, shape[:3], generator=random)
    return torch.randn(shape, generator=random, dtype=torch.float64), sizes.double()


@given(shapes, st.integers(1, 13), st.integers(0, 10_000))
def test_incremental_compression_equals_the_plain_version(shape: tuple[int, ...], num_kept: int, seed: int) -> None:
    # Two channels at least: with one, all cosines are 1 or -1, and rounding alone would break the ties.
    frames, sizes = random_bank((*shape[:3], shape[3] + 1), seed)
    before = frames.clone()
    episodes = compress_episodes(frames, num_kept, size=sizes)
    value, size, positions = naive_eco(frames, sizes, num_kept)
    torch.testing.assert_close(episodes.value, value, rtol=0, atol=1e-12)
    assert torch.equal(episodes.size, size)
    assert torch.equal(episodes.merge_index, torch.stack(positions) if positions else episodes.merge_index[:0])
    assert torch.equal(frames, before)


@given(st.integers(1, 3), st.integers(1, 5), st.lists(st.integers(0, 6), max_size=6), st.integers(0, 10_000))
def test_a_bank_that_grows_and_shrinks_equals_compressing_anew(
    num_positions: int, capacity: int, windows: list[int], seed: int
) -> None:
    frames, sizes = random_bank((2, sum(windows), num_positions, 3), seed)
    bank = EpisodeBank(frames, max_episodes=capacity + 6)
    value, size, first = frames[:, :0], sizes[:, :0], 0
    for num in windows:
        new, new_size = frames[:, first : first + num], sizes[:, first : first + num]
        bank.append(new, new_size)
        bank.compress(capacity)
        value, size = torch.cat([value, new], dim=1), torch.cat([size, new_size], dim=1)
        value, size, _ = naive_eco(value, size, capacity)
        torch.testing.assert_close(bank.value, value, rtol=0, atol=1e-12)
        assert torch.equal(bank.size, size)
        first += num


@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 10), st.booleans(), st.integers(0, 10_000))
def test_any_two_may_be_merged(num_frames: int, num_positions: int, num_kept: int, weighted: bool, seed: int) -> None:
    frames, sizes = random_bank((2, num_frames, num_positions, 3), seed)
    before, sizes_before = frames.clone(), sizes.clone()
    episodes = compress_episodes(frames, num_kept, size=sizes, pairs="all", weighted=weighted)
    assert torch.equal(frames, before) and torch.equal(sizes, sizes_before)
    for stream in range(2):
        for position in range(num_positions):
            left = sizes[stream, :, position].tolist()
            want = naive_all_pairs(list(frames[stream, :, position]), left, num_kept, weighted)
            got = episodes.value[stream, :, position]
            torch.testing.assert_close(got, torch.stack(want), rtol=0, atol=1e-9)
            assert episodes.size[stream, :, position].tolist() == left


@given(shapes, st.integers(1, 13), st.sampled_from(["adjacent", "all"]), st.booleans(), st.integers(0, 10_000))
def test_episodes_are_the_means_of_their_members_and_no_frame_is_lost(
    shape: tuple[int, ...], num_kept: int, pairs: str, weighted: bool, seed: int
) -> None:
    frames, sizes = random_bank(shape, seed)
    episodes = compress_episodes(frames, num_kept, size=sizes, pairs=pairs, weighted=weighted)  # type: ignore[arg-type]
    member = episodes.membership()
    assert episodes.value.shape[1] == min(num_kept, shape[1])
    torch.testing.assert_close(episodes.size.sum(1), sizes.sum(1))
    torch.testing.assert_close(torch.zeros_like(episodes.size).scatter_add_(1, member.episode, sizes), episodes.size)
    shares = torch.zeros_like(episodes.size).scatter_add_(1, member.episode, member.share)
    torch.testing.assert_close(shares, torch.ones_like(shares))
    index = member.episode.unsqueeze(-1).expand_as(frames)
    means = torch.zeros_like(episodes.value).scatter_add_(1, index, frames * member.share.unsqueeze(-1))
    torch.testing.assert_close(means, episodes.value)
    if pairs == "adjacent":
        assert bool((member.episode.diff(dim=1) >= 0).all())
    if weighted:
        mean = (frames * sizes.unsqueeze(-1)).sum(1)
        torch.testing.assert_close((episodes.value * episodes.size.unsqueeze(-1)).sum(1), mean)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 9), st.integers(0, 1000))
def test_equal_frames_become_one_before_any_others_and_the_first_do_so_first(
    runs: list[int], num_channels: int, seed: int
) -> None:
    scenes = torch.randn(len(runs), num_channels + 8, generator=torch.Generator().manual_seed(seed))
    frames = scenes.repeat_interleave(torch.tensor(runs), dim=0)[None, :, None]
    episodes = compress_episodes(frames, len(runs))
    assert torch.equal(episodes.value, scenes[None, :, None])
    assert episodes.size.flatten().tolist() == runs
    assert episodes.merge_index.flatten().tolist() == [place for place, run in enumerate(runs) for _ in range(run - 1)]
    assert torch.equal(compress_episodes(frames, len(runs), pairs="all").value, episodes.value)


def test_positions_merge_frames_of_their_own_and_whole_frames_the_same() -> None:
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    # The first token changes after frame 0, the second after frame 1, and less.
    frames = torch.stack([torch.stack([east, east]), torch.stack([north, east]), torch.stack([north, north + east])])
    tokens = compress_episodes(frames[None], 2)
    assert tokens.merge_index.tolist() == [[[1, 0]]]
    assert tokens.size.tolist() == [[[1.0, 2.0], [2.0, 1.0]]]
    frame = compress_episodes(whole_frames(frames[None]), 2)
    assert frame.merge_index.tolist() == [[[1]]]
    torch.testing.assert_close(frame.value.unflatten(3, (2, 2))[0, 1, 0], (frames[1] + frames[2]) / 2)


def test_frames_without_direction_are_merged_without_nan() -> None:
    for pairs in ("adjacent", "all"):
        zeros = compress_episodes(torch.zeros(1, 4, 2, 3), 2, pairs=pairs)  # type: ignore[arg-type]
        assert torch.equal(zeros.value, torch.zeros(1, 2, 2, 3))
        assert zeros.size.tolist() == [[[3.0, 3.0], [1.0, 1.0]]]


def test_nothing_and_single_frames_stay_as_they_are() -> None:
    for pairs in ("adjacent", "all"):
        nothing = compress_episodes(torch.zeros(2, 0, 3, 4), 2, pairs=pairs)  # type: ignore[arg-type]
        assert nothing.value.shape == (2, 0, 3, 4) and nothing.membership().episode.shape == (2, 0, 3)
        one = compress_episodes(torch.ones(1, 1, 1, 2), 1, pairs=pairs)  # type: ignore[arg-type]
        assert torch.equal(one.value, torch.ones(1, 1, 1, 2)) and one.merge_index.shape == (0, 1, 1)


def test_half_precision_frames_stay_half_and_are_averaged_in_float32() -> None:
    frames = torch.tensor([60_000.0, 60_000.0, -1.0]).half()[None, :, None, None]
    for pairs in ("adjacent", "all"):
        episodes = compress_episodes(frames, 2, pairs=pairs)  # type: ignore[arg-type]
        assert episodes.value.dtype == torch.float16
        assert episodes.value.flatten().tolist() == [60_000.0, -1.0]  # a sum of the two would be infinite in float16


def test_a_bank_says_when_it_has_no_room_and_can_begin_anew() -> None:
    frames, _ = random_bank((1, 6, 2, 3), 0)
    bank = EpisodeBank(frames, max_episodes=4)
    bank.append(frames[:, :3])
    with pytest.raises(ValueError, match="3 frames do not fit beside 3 episodes: the bank was made for 4"):
        bank.append(frames[:, 3:])
    with pytest.raises(ValueError, match="num_kept=0"):
        bank.compress(0)
    bank.compress(1)
    bank.clear()
    bank.append(frames[:, 2:])
    assert torch.equal(bank.value, frames[:, 2:])
    bank.compress(2)
    torch.testing.assert_close(bank.value, compress_episodes(frames[:, 2:], 2).value)
