"""Flash-VStream's own forms against plain transcriptions of its loops, at other sizes than the parity numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from vidmem.bench.naive.flash_vstream import NaiveFlashStream, naive_synopsis
from vidmem.memory.kmeans import SeededDraws
from vidmem.memory.policies.flash_memory_reference import (
    FlashConfig,
    FlashMemory,
    FlashStream,
    Synopsis,
    adaptive_positions,
    detail_index,
    flash_memory,
    pool_patches,
    synopsis,
)
from vidmem.memory.policies.flash_vstream_reference import (
    SemanticAttention,
    StarConfig,
    StarStream,
    abstract_memory,
    attend,
    group_tokens,
    pool_tokens,
    star_memory,
)
from vidmem.memory.policies.flash_vstream_sequence import reduce_neighbours, reduce_pairs

from .naive_flash_vstream import naive_attend, naive_keep

seeds = st.integers(0, 10_000)


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=random(seed))


def draws(seed: int = 0) -> SeededDraws:
    return SeededDraws(random(seed))


@given(st.integers(0, 14), st.integers(1, 6), st.integers(1, 3), st.booleans(), st.booleans(), seeds)
def test_frames_kept_one_by_one_equal_those_of_the_plain_loop(
    num_frames: int, num_kept: int, num_tokens: int, all_pairs: bool, dropped: bool, seed: int
) -> None:
    frames = tokens(num_frames, num_tokens, 4, seed=seed)
    coins = torch.randint(2, (num_frames,), generator=random(seed + 1)).bool().tolist() if dropped else None
    got = (reduce_pairs if all_pairs else reduce_neighbours)(frames, num_kept, drop_later=coins)
    kept, members = naive_keep(frames, num_kept, all_pairs=all_pairs, drop_later=coins)
    assert [list(of) for of in got.members] == members
    assert got.frames.shape == (len(kept), num_tokens, 4)
    if kept:
        torch.testing.assert_close(got.frames, torch.stack(kept).float(), rtol=0, atol=1e-6)
    want = [
        float(functional.cosine_similarity(kept[i].flatten(), kept[i + 1].flatten(), 0)) for i in range(len(kept) - 1)
    ]
    assert got.similarities == pytest.approx(want, abs=1e-9)


def test_of_equal_frames_the_first_two_are_merged_and_zeros_do_no_harm() -> None:
    for frame in (torch.zeros(1, 2, 3), tokens(1, 2, 3)):
        frames = frame.expand(7, -1, -1)
        for reduce in (reduce_neighbours, reduce_pairs):
            got = reduce(frames, 3)
            assert torch.equal(got.frames, frames[:3])
            assert got.members == ((0, 1, 2, 3, 4), (5,), (6,))
    with pytest.raises(ValueError, match="num_kept=0"):
        reduce_pairs(frames, 0)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 9), seeds)
def test_abstract_memory_reads_new_tokens_as_the_plain_loop(
    num_memory: int, num_new: int, hidden: int, seed: int
) -> None:
    memory, new = tokens(num_memory, 4, seed=seed), tokens(num_new, 4, seed=seed + 1)
    query, key = tokens(hidden, 5, seed=seed + 2), tokens(hidden, 5, seed=seed + 3)
    attention = SemanticAttention(query[:, :-1], query[:, -1], key[:, :-1], key[:, -1])
    got = attend(memory, new, ratio=0.3, attention=attention)
    torch.testing.assert_close(got, naive_attend(memory, new, 0.3, query, key), rtol=0, atol=1e-5)
    batched = attend(memory.expand(2, 3, -1, -1), new.expand(2, 3, -1, -1), ratio=0.3, attention=attention)
    torch.testing.assert_close(batched, got.expand(2, 3, -1, -1))


@given(st.integers(0, 11), st.integers(1, 4), st.integers(1, 3), seeds)
def test_abstract_memory_without_weights_stays_among_what_was_seen(
    num_frames: int, num_kept: int, num_tokens: int, seed: int
) -> None:
    frames = tokens(num_frames, num_tokens, 3, seed=seed)
    got = abstract_memory(frames, num_kept)
    assert got.shape == (min(num_frames, num_kept), num_tokens, 3)
    assert num_frames > num_kept or torch.equal(got, frames)
    if num_frames:
        low, high = frames.flatten(0, 1).min(0).values, frames.flatten(0, 1).max(0).values
        assert bool((got >= low - 1e-5).all()) and bool((got <= high + 1e-5).all())
    assert torch.equal(abstract_memory(torch.zeros(5, 2, 3), 2), torch.zeros(2, 2, 3))


class Drawn:
    """The same draws for both forms."""

    def __init__(self, seed: int) -> None:
        self._random = random(seed)

    def distinct(self, num_rows: int, num_drawn: int) -> Tensor:
        return torch.randperm(num_rows, generator=self._random)[:num_drawn]

    def any(self, num_rows: int, num_drawn: int) -> Tensor:
        return torch.tensor([int(torch.randint(num_rows, (1,), generator=self._random)) for _ in range(num_drawn)])


@given(st.integers(0, 18), st.integers(1, 7), st.integers(1, 3), st.booleans(), seeds)
def test_synopsis_equals_that_of_the_plain_loop(
    num_frames: int, num_kept: int, num_tokens: int, repeated: bool, seed: int
) -> None:
    frames = tokens(num_frames, num_tokens, 2, seed=seed)
    if repeated:
        frames = frames[torch.arange(num_frames) // 2]
    weight = torch.randint(1, 3, (num_frames,), generator=random(seed)).float()
    ours, theirs = Drawn(seed), Drawn(seed)
    num_unique = len(frames.flatten(1).unique(dim=0)) if num_frames else 0
    clustered = num_frames > num_kept and num_unique >= num_kept
    first = theirs.distinct(num_unique, num_kept).tolist() if clustered else []
    got = synopsis(frames, num_kept, draws=ours, weight=weight)
    want, total, times, members = naive_synopsis(
        frames, num_kept, weight, first, lambda: int(theirs.any(num_frames, 1))
    )
    assert got.frames.shape == (len(want), num_tokens, 2)
    if want:
        torch.testing.assert_close(got.frames, torch.stack(want), rtol=0, atol=1e-5)
    assert got.weight.tolist() == pytest.approx(total) and got.time.tolist() == pytest.approx(times)
    for place, slot in enumerate(got.slot.tolist()):
        assert place in members[slot]
    assert got.num_padding == (max(0, num_kept - num_unique) if num_frames > num_kept else 0)
    assert (got.time.diff()[got.num_padding :] >= 0).all()


@given(st.lists(st.integers(1, 4), max_size=7), st.integers(1, 5), st.integers(1, 5), seeds)
def test_a_stream_keeps_the_synopsis_of_the_plain_loop_and_the_nearest_frames(
    sizes: list[int], synopsis_frames: int, detail_frames: int, seed: int
) -> None:
    total = sum(sizes)
    small, big = tokens(total, 2, 3, seed=seed), torch.arange(total)[:, None, None].expand(-1, 8, 3).float()
    ours, theirs = Drawn(seed), Drawn(seed)
    stream = FlashStream(FlashConfig(synopsis_frames, detail_frames), draws=ours)
    plain = NaiveFlashStream(synopsis_frames, detail_frames, lambda num, drawn: theirs.distinct(num, drawn).tolist())
    num_seen = 0
    for clip, small_clip in zip(big.split(sizes), small.split(sizes), strict=True):
        num_seen += len(clip)
        got = stream.write(clip, small_clip)
        frames, distance = plain.write(clip, small_clip)
        torch.testing.assert_close(got.synopsis.frames, frames, rtol=0, atol=1e-4)
        assert float(got.synopsis.weight.sum()) == num_seen
        assert torch.equal(got.detail, big[got.detail_index])
        if num_seen <= detail_frames:
            assert got.detail_index.tolist() == list(range(num_seen))
            continue
        taken = distance.gather(1, got.detail_index[:, None])[:, 0]
        assert bool((taken <= distance.min(1).values + 1e-3).all())
        assert len(taken) == min(detail_frames, len(got.synopsis.frames))


def test_the_coded_cosine_rule_takes_the_least_similar_frame() -> None:
    small = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.1], [0.0, 1.0]])[:, None]
    memory = Synopsis(small[:2], torch.tensor([1.0, 5.0]), torch.tensor([0.4, 2.5]), torch.zeros(4).long())
    assert detail_index(small, memory, 1, rule="cosine").tolist() == [2]
    assert detail_index(small, memory, 1, rule="l2").tolist() == [1]
    assert detail_index(small, memory, 2, rule="time").tolist() == [2, 0]  # half to even
    assert detail_index(small, memory, 3, rule="sample").tolist() == [0, 2, 3]
    assert detail_index(small, memory, 0, rule="l2").tolist() == []


def test_nothing_makes_an_empty_memory_and_no_room_is_refused() -> None:
    nothing = flash_memory(torch.empty(0, 4, 2), torch.empty(0, 1, 2), FlashConfig(), draws=draws())
    assert nothing.sequence.shape == (0, 2)
    with pytest.raises(ValueError, match="num_kept=0"):
        synopsis(tokens(3, 1, 2), 0, draws=draws())


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 4), seeds)
def test_key_frames_are_those_nearest_to_the_heaviest_centroids(
    num_frames: int, temporal_frames: int, num_key: int, seed: int
) -> None:
    frames = tokens(num_frames, 4, 3, seed=seed)
    config = StarConfig(
        frame_side=2, num_key=num_key, temporal_frames=temporal_frames, temporal_side=2, abstract_frames=3
    )
    star = star_memory(frames, config, draws=draws(seed), key_rule="paper")
    assert len(star.temporal) == min(num_frames - 1, temporal_frames)
    assert float(star.weight.sum()) == num_frames - 1
    for place, cluster in zip(star.key_index, star.order, strict=False):
        distance = (frames[:-1] - star.temporal[cluster]).square().sum((1, 2)).sqrt()
        assert float(distance[place]) <= float(distance.min()) + 1e-4
    assert torch.equal(star.spatial, torch.cat([frames[star.key_index], frames[-1:]]))
    coded = star_memory(frames, config, draws=draws(seed))
    assert torch.equal(coded.key_index, coded.order[:num_key])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), seeds)
def test_a_star_stream_stays_in_its_bounds(sizes: list[int], seed: int) -> None:
    config = StarConfig(frame_side=4, temporal_frames=4, temporal_side=2, abstract_frames=3)
    stream = StarStream(config, draws=draws(seed))
    for number, clip in enumerate(tokens(sum(sizes), 16, 3, seed=seed).split(sizes)):
        star = stream.write(clip)
        assert torch.equal(star.spatial[-1], clip[-1])
        assert star.sequence.shape == (len(star.abstract) + 4 * len(star.temporal) + 16 * len(star.spatial), 3)
        if number:
            assert len(star.temporal) <= 4 and len(star.abstract) <= 3 and len(star.spatial) <= 4
            assert len(star.weight) == len(star.temporal)


@pytest.mark.parametrize(("grid", "side"), [(1, 1), (4, 1), (4, 2), (6, 3), (5, 2), (4, 4)])
def test_pooling_is_that_of_images(grid: int, side: int) -> None:
    frames = tokens(2, grid * grid, 3)
    image = frames.reshape(2, grid, grid, 3).permute(0, 3, 1, 2)
    want = functional.avg_pool2d(image, grid // side).flatten(2).mT
    torch.testing.assert_close(pool_tokens(frames, side), want)
    assert pool_tokens(frames[:0], side).shape == (0, side * side, 3)
    assert pool_tokens(frames.half(), side).dtype == torch.float16


@pytest.mark.parametrize(("num_tokens", "side"), [(5, 1), (16, 3), (16, 5), (16, 0)])
def test_a_grid_that_does_not_come_out_is_refused(num_tokens: int, side: int) -> None:
    with pytest.raises(ValueError, match=f"{num_tokens} tokens .* {side} x {side}"):
        pool_tokens(tokens(1, num_tokens, 2), side)


def test_grouped_tokens_hold_their_neighbours_row_by_row() -> None:
    frames = torch.arange(16.0)[None, :, None] + torch.tensor([0.0, 0.5])
    got = group_tokens(frames)
    assert got.shape == (1, 4, 8)
    assert got[0, 1].tolist() == [2.0, 2.5, 3.0, 3.5, 6.0, 6.5, 7.0, 7.5]


def patches_of(pixels: Tensor, side: int) -> Tensor:
    """Pixels (2 t, 3, h, w) as Qwen2-VL's processor lays them out: (t h w / side^2, 3 * 2 * side * side)."""
    num, channels, height, width = pixels.shape
    rows, columns = height // side, width // side
    grouped = pixels.reshape(num // 2, 2, channels, rows // 2, 2, side, columns // 2, 2, side)
    return grouped.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, channels * 2 * side * side)


def test_pooled_patches_are_the_patches_of_pooled_frames() -> None:
    pixels = tokens(4, 3, 8 * 5, 4 * 5)
    got, grid = pool_patches(patches_of(pixels, 5), (2, 8, 4))
    torch.testing.assert_close(got, patches_of(functional.avg_pool2d(pixels, 2), 5))
    assert grid == (2, 4, 2)
    with pytest.raises(ValueError, match="6 x 4"):
        pool_patches(got, (2, 6, 4))


def test_positions_of_detail_come_first_and_text_keeps_its_own() -> None:
    memory = FlashMemory(
        Synopsis(torch.zeros(1, 4, 1), torch.ones(1), torch.tensor([2.5]), torch.zeros(1).long()),
        torch.zeros(2, 16, 1),
        torch.tensor([7, 3]),
    )
    before = torch.arange(100, 112).expand(3, -1)
    after = adaptive_positions(before, memory, visual_start=2, grid=(4, 4), small_grid=(2, 2))
    time = [7] * 4 + [3] * 4 + [8 + 2]  # 2.5 is rounded to even
    row, column = [0, 0, 1, 1] * 2 + [8], [0, 1, 0, 1] * 2 + [8]
    assert after[:, 2:11].tolist() == [[102 + place for place in axis] for axis in (time, row, column)]
    assert after[:, :2].tolist() == [[100, 101]] * 3 and after[:, 11:].tolist() == [[111]] * 3
    assert before[0].tolist() == list(range(100, 112))
