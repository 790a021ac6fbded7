"""Segmentation against the definitions written down place by place, and what must hold of any cut."""

from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.memory.policies.event_reference import coded_boundaries, coded_left_boundaries, sampled_frames, tdc_cuts
from vidmem.memory.scenes import (
    SceneRule,
    SceneStream,
    Spread,
    cuts_above,
    deepest_cuts,
    depth_scores,
    depth_threshold,
    lowest_cuts,
    neighbour_cosines,
    scene_ranges,
    tile_scenes,
    valley_cuts,
)

from .naive_scenes import naive_boundaries, naive_depths, naive_stream

# Eighths: sums are exact, so that plateaus and equal depths are real ones.
eighths = st.lists(st.integers(-8, 8).map(lambda number: number / 8), max_size=30)


def walk(num_frames: int, seed: int, *, step: float = 0.6, num_scenes: int = 4) -> Tensor:
    """Frames that drift, with a jump now and then."""
    random = torch.Generator().manual_seed(seed)
    scene = torch.randint(0, num_scenes, (num_frames,), generator=random).sort().values
    centre = torch.randn(num_scenes, 6, generator=random)
    return centre[scene] + step * torch.randn(num_frames, 6, generator=random)


def places(cuts: Tensor) -> list[int]:
    return cuts.nonzero().flatten().tolist()


@given(eighths)
def test_depths_equal_those_of_walking_from_every_place(similarities: list[float]) -> None:
    similarity = torch.tensor(similarities, dtype=torch.float32)
    assert depth_scores(similarity).tolist() == naive_depths(similarities)
    assert depth_scores(similarity, sides="left").tolist() == naive_depths(similarities, left_only=True)


@given(st.integers(0, 3), st.integers(0, 12), st.integers(0, 1000))
def test_a_batch_is_cut_as_each_of_it(batch: int, num_frames: int, seed: int) -> None:
    features = torch.randn(batch, num_frames, 3, generator=torch.Generator().manual_seed(seed))
    similarity = neighbour_cosines(features)
    depth = depth_scores(similarity)
    num_cuts = similarity.shape[-1] // 2
    for row in range(batch):
        assert torch.equal(depth[row], depth_scores(similarity[row]))
        assert torch.equal(cuts_above(depth, max_cuts=2)[row], cuts_above(depth[row], max_cuts=2))
        assert torch.equal(lowest_cuts(similarity, num_cuts)[row], lowest_cuts(similarity[row], num_cuts))


@given(st.integers(1, 60), st.integers(0, 10_000), st.none() | st.integers(0, 9), st.sampled_from([0.0, 0.5, 2.0]))
def test_boundaries_equal_the_definition(num_frames: int, seed: int, num_cuts: int | None, alpha: float) -> None:
    assume(num_cuts is None or num_cuts < num_frames)
    features = walk(num_frames, seed)
    similarities = neighbour_cosines(features.double()).tolist()
    depths = naive_depths(similarities)
    want = naive_boundaries(depths, num_cuts=num_cuts, alpha=alpha)
    assert coded_boundaries(features.double(), num_cuts=num_cuts, alpha=alpha) == want
    scenes = tile_scenes(features.double(), num_cuts=num_cuts, alpha=alpha)
    assert [end - 1 for _, end in scenes] == want
    assert [index for start, end in scenes for index in range(start, end)] == list(range(num_frames))
    left = naive_depths(similarities, left_only=True)
    if num_cuts is not None:
        deepest_first = sorted(range(len(left)), key=lambda place: -left[place])
        cuts = sorted(deepest_first[:num_cuts])
    else:
        threshold = statistics.fmean(left) + alpha * statistics.stdev(left) if len(left) > 1 else 9.0
        cuts = [place for place, depth in enumerate(left) if depth > threshold]
    assert coded_left_boundaries(features.double(), num_cuts=num_cuts, alpha=alpha) == (cuts or [num_frames - 1])


def test_scenes_of_nothing_one_frame_equal_frames_and_zeros() -> None:
    assert tile_scenes(torch.ones(0, 3)) == () == scene_ranges([], 0)
    assert tile_scenes(torch.ones(1, 3)) == tile_scenes(torch.ones(1, 3), num_cuts=2) == ((0, 1),)
    assert coded_boundaries(torch.ones(0, 3)) == coded_left_boundaries(torch.ones(0, 3)) == []
    for features in (torch.randn(1, 7).expand(9, 7), torch.zeros(9, 7)):
        assert tile_scenes(features) == ((0, 9),)
        assert tile_scenes(features, num_cuts=2) == ((0, 1), (1, 2), (2, 9))
    assert neighbour_cosines(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])).tolist() == [0.0, 1.0]
    assert neighbour_cosines(torch.ones(3, 2).half()).dtype == torch.float32
    assert depth_threshold(torch.ones(2, 1), 0.5).tolist() == [torch.inf] * 2


def test_more_than_fifteen_cuts_become_the_deepest() -> None:
    similarity = torch.full((41,), 0.9)
    similarity[1::2] = torch.linspace(-0.5, 0.2, 20)
    depth = depth_scores(similarity)
    assert len(places(cuts_above(depth, alpha=0.0, max_cuts=None))) == 20
    assert places(cuts_above(depth, alpha=0.0)) == list(range(1, 31, 2))


@given(eighths, st.data())
def test_of_equals_the_first_are_cut(similarities: list[float], data: st.DataObject) -> None:
    num_cuts = data.draw(st.integers(0, len(similarities)))
    similarity = torch.tensor(similarities, dtype=torch.float32)
    lowest_first = sorted(range(len(similarities)), key=lambda place: similarities[place])
    assert places(lowest_cuts(similarity, num_cuts)) == sorted(lowest_first[:num_cuts])
    assert places(deepest_cuts(-similarity, num_cuts)) == sorted(lowest_first[:num_cuts])


def test_more_cuts_than_places_are_refused() -> None:
    for cut in (lowest_cuts, deepest_cuts):
        with pytest.raises(ValueError, match=r"num_cuts=4 must be in \[0, 3\]: one less than there are frames, 4"):
            cut(torch.zeros(3), 4)


def test_tdc_looks_at_224_frames_and_makes_few_frames_scenes_of_their_own() -> None:
    features = torch.randn(500, 2, 3, generator=torch.Generator().manual_seed(1))
    got = tdc_cuts(features, 6)
    assert got.kept_frames == tuple(int(500 / 224 * place) for place in range(224)) and len(got.cut_after) == 6
    similarities = neighbour_cosines(features[list(got.kept_frames)].flatten(1))
    assert got.cut_after == tuple(sorted(similarities.argsort()[:6].tolist()))
    assert tdc_cuts(features[:7], 6).cut_after == tuple(range(7))
    assert tdc_cuts(features[:0]) == tdc_cuts(features[:0], 1)
    assert len(tdc_cuts(features, 400).cut_after) == 223


def test_frames_for_the_bridge_run_from_the_first_of_a_segment_to_its_last() -> None:
    assert sampled_frames([0, 3, 20]) == [[0], [1, 2, 3], [4, 6, 8, 10, 13, 15, 17, 20]]


@given(
    st.integers(0, 50),
    st.integers(0, 10_000),
    st.sampled_from([-1.0, 0.5, 1.5]),
    st.integers(1, 4),
    st.none() | st.integers(4, 12),
    st.data(),
)
def test_a_stream_is_cut_as_defined_in_whatever_pushes_it_comes(
    num_frames: int, seed: int, alpha: float, min_frames: int, max_frames: int | None, data: st.DataObject
) -> None:
    rule = SceneRule(alpha=alpha, min_depth=0.05, min_frames=min_frames, max_frames=max_frames)
    features = walk(num_frames, seed).double()
    want, nearest = naive_stream(neighbour_cosines(features).tolist(), rule) if num_frames else ([], 1.0)
    assume(nearest > 1e-9)
    stream, cuts, first = SceneStream(rule), [], 0
    while first < num_frames:
        last = data.draw(st.integers(first, num_frames))
        cuts += stream.push(features[first:last])
        # Nothing is taken back: what is told of a beginning is the beginning of what is told.
        assert cuts == want[: len(cuts)]
        assert stream.num_frames == last and stream.scene_start == (cuts[-1] + 1 if cuts else 0)
        first = last
    assert cuts == want
    lengths = [end - start for start, end in scene_ranges(cuts, num_frames)]
    assert all(length >= min_frames for length in lengths[:-1])
    assert max_frames is None or all(length <= max_frames for length in lengths)


def test_a_stream_finds_the_changes_of_scene_one_frame_later_and_none_in_stillness() -> None:
    scenes = torch.eye(6)[[0, 1, 2]].repeat_interleave(10, dim=0)
    noise = torch.randn(30, 6, generator=torch.Generator().manual_seed(2))
    stream, told = SceneStream(), {}
    for frame in range(30):
        for cut in stream.push((scenes + 0.05 * noise)[frame : frame + 1]):
            told[cut] = frame
    assert told == {9: 11, 19: 21}
    assert SceneStream().push(torch.ones(30, 6) + 0.01 * noise) == []


@given(eighths, st.sampled_from([-9.0, 0.0, 0.5]), st.sampled_from([0.0, 0.3]))
def test_of_a_valley_its_first_lowest_place_is_cut(similarities: list[float], alpha: float, min_depth: float) -> None:
    depths, num = naive_depths(similarities), len(similarities)
    threshold = min_depth
    if num > 1:
        threshold = max(min_depth, statistics.fmean(depths) + alpha * statistics.stdev(depths))
        assume(min(abs(depth - threshold) for depth in depths) > 1e-6 or threshold == min_depth)
    want = []
    for place, similarity in enumerate(similarities):
        after = next((other for other in similarities[place:] if other != similarity), None)
        falls = place == 0 or similarities[place - 1] > similarity
        if falls and (after is None or after > similarity) and depths[place] > threshold:
            want.append(place)
    cuts = valley_cuts(torch.tensor(similarities, dtype=torch.float64), alpha=alpha, min_depth=min_depth)
    assert places(cuts) == want and cuts.dtype == torch.bool


def test_spread_of_parts_is_the_spread_of_all() -> None:
    numbers = [0.5, -1.0, 3.0, 3.5, 2.25]
    parts = [Spread(1, number) for number in numbers]
    whole = parts[0].joined(parts[1]).joined(parts[2].joined(parts[3]).joined(parts[4]).shifted(0.0)).shifted(2.0)
    assert whole.num == 5 and whole.mean == pytest.approx(statistics.fmean(numbers) + 2)
    assert whole.deviation == pytest.approx(statistics.stdev(numbers))
    assert Spread().joined(Spread()) == Spread() and Spread(1, 4.0).deviation == 0.0


def test_rules_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="min_frames=0"):
        SceneRule(min_frames=0)
    with pytest.raises(ValueError, match="max_frames=2 must be at least min_frames=3"):
        SceneRule(min_frames=3, max_frames=2)
