"""The pyramid bank against its reference's loop, and its parts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from vidmem.memory.policies.pyramid_reference import CodedBank, coded_ratios, tokens_of, write_video
from vidmem.memory.pyramid import Neighbours, directions_of, level_at, resize, space_to_channels

from .naive_pyramid import NaiveBank

capacity = st.sampled_from([0, 2, 3, 5])


def random_frames(num: int, seed: int, *, channels: int = 5, side: int = 4) -> Tensor:
    return torch.randn(num, channels, side, side, generator=torch.Generator().manual_seed(seed))


@given(
    st.lists(capacity, min_size=3, max_size=3), st.lists(st.sampled_from([1, 2, 4]), max_size=30), st.integers(0, 99)
)
def test_the_bank_holds_what_the_reference_loop_holds(
    capacities: tuple[int, ...], ratios: list[int], seed: int
) -> None:
    frames = random_frames(len(ratios), seed)
    bank, naive = CodedBank(capacities, (16, 4, 1)), NaiveBank(capacities, [4, 2, 1])
    for index, (frame, ratio) in enumerate(zip(frames, ratios, strict=True)):
        bank.write(frame, index, ratio)
        naive.write(frame, index, ratio)
        held = [[entry.frame_index for entry in level] for level in bank.levels]
        assert held == [[old_index for old_index, _ in level] for level in naive.levels]
    for entry, (index, tokens) in zip(bank.read(), naive.read(), strict=True):
        assert entry.frame_index == index
        torch.testing.assert_close(entry.tokens, tokens, rtol=0, atol=1e-6)


@given(st.integers(0, 25), st.sampled_from([(8, 4, 1), (6, 3, 1), (1,), (8, 4)]))
def test_the_first_interval_that_divides_a_position_gives_its_level(
    num_frames: int, intervals: tuple[int, ...]
) -> None:
    levels = [level_at(position, intervals) for position in range(num_frames)]
    for position, level in enumerate(levels):
        dividing = [number for number, interval in enumerate(intervals) if position % interval == 0]
        assert level == (dividing[0] if dividing else None)
    assert coded_ratios(num_frames, intervals) == [2**level for level in levels if level is not None]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=40), st.integers(0, 99))
def test_a_level_knows_the_similarity_of_its_neighbours_whatever_came_and_went(
    steps: list[tuple[bool, int]], seed: int
) -> None:
    means = random_frames(51, seed)[:, :, 0, 0]
    level = Neighbours(directions_of(means))
    for grows, number in steps:
        if grows or not len(level):
            level.insert(number)
        else:
            assert level.remove(number % len(level)) in range(51)
        assert level.entries == sorted(level.entries)
        rows = means[level.entries].double()
        cosines = functional.cosine_similarity(rows[1:], rows[:-1], dim=1) if len(rows) > 1 else rows[:0]
        torch.testing.assert_close(level.similarities, tuple(cosines.tolist()), rtol=0, atol=1e-11)
        assert level.most_redundant() == (cosines.round(decimals=11).argmax() if len(cosines) else 0)
        anew = Neighbours(directions_of(means), level.entries).similarities
        torch.testing.assert_close(level.similarities, anew, rtol=0, atol=1e-11)


def test_copies_tie_whatever_their_numbers_and_zeros_are_like_nothing() -> None:
    looks = random_frames(3, 4)[[0, 1, 1, 2, 2, 0, 0], :, 0, 0] * torch.arange(1, 8)[:, None]
    directions = dict(enumerate(directions_of(torch.cat([looks, torch.zeros(1, 5)]))))
    level = Neighbours(directions)
    for number in range(8):
        level.append(number)
    assert level.most_redundant() == 1
    assert level.similarities[-1] == 0.0
    assert Neighbours(directions).most_redundant() == 0


@pytest.mark.parametrize(("mode", "want"), [("area", 7.5), ("bilinear", 7.5)])
def test_one_token_of_a_grid_is_its_mean_or_what_lies_in_its_middle(mode: str, want: float) -> None:
    grid = torch.arange(16.0).reshape(1, 4, 4)
    assert resize(grid, 1, mode=mode).tolist() == [[[want]]]
    corner = torch.zeros(2, 1, 4, 4)
    corner[:, :, 0, 0] = 16.0
    assert resize(corner, 1, mode=mode).flatten().tolist() == ([1.0, 1.0] if mode == "area" else [0.0, 0.0])
    assert resize(corner.half(), 2, mode=mode).dtype == torch.float16
    assert torch.equal(resize(corner, 2, mode="area"), resize(corner, 2, mode="bilinear"))
    assert resize(corner, 4) is corner


def test_shuffling_keeps_every_number_and_refuses_sides_that_do_not_divide() -> None:
    grid = torch.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    cells = space_to_channels(grid)
    assert cells.shape == (2, 2, 3, 12)
    assert cells[1, 1, 2].tolist() == grid[1, 2:4, 4:6].flatten().tolist()
    with pytest.raises(ValueError, match="3 x 4"):
        space_to_channels(torch.zeros(3, 4, 1))


def test_a_video_is_written_in_chunks_that_count_anew() -> None:
    patches = torch.randn(7, 8, 8, 2, generator=torch.Generator().manual_seed(0))
    bank = CodedBank((0, 0, 0), (16, 4, 1))
    write_video(bank, patches, first_index=10, chunk=5)
    assert [(entry.frame_index, len(entry.tokens)) for entry in bank.read()] == [
        (10, 16), (11, 1), (12, 1), (13, 1), (14, 4), (15, 16), (16, 1),
    ]  # fmt: skip
    assert tokens_of(bank.read()).shape == (40, 8)


def test_banks_and_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="3 levels need as many capacities, got 2"):
        CodedBank((2, 2))
    with pytest.raises(ValueError, match=r"capacities=\(2, 1, 2\)"):
        CodedBank((2, 1, 2))
    with pytest.raises(ValueError, match="3 x 3 tokens fits no level"):
        CodedBank((2, 2), (16, 4)).write(torch.zeros(1, 3, 3), 0, 1)
    with pytest.raises(ValueError, match=r"intervals=\(8, 4\) must be 1"):
        write_video(CodedBank((2, 2), (16, 4)), torch.zeros(1, 4, 4, 1), intervals=(8, 4))
