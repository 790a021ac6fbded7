"""What the flash-vstream policy keeps, and of which times."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.memory import Elements, Memory, MemoryConfig
from vidmem.memory.policies import FlashVStream, Level
from vidmem.memory.policies.flash_vstream import cluster_spans, merge, nearest_to_heaviest
from vidmem.memory.resolution import resample

from .samples import NUM_TOKENS, frames


def config(max_elements: int, **options: object) -> MemoryConfig:
    return MemoryConfig(
        working_max_frames=4,
        working_min_frames=2,
        max_elements=max_elements,
        policy="flash-vstream",
        policy_options=options,
    )


def written(memory: Memory, num: int, *, of: list[int] | None = None) -> Memory:
    """Write `num` frames, each a copy of that of `frames` at the place that `of` says."""
    for index in range(num):
        one = frames(1, first=index)
        like = frames(1, first=of[index]) if of else one
        memory.write(Elements.fresh(like.key, like.value, one.span_seconds))
    return memory


@pytest.mark.parametrize(
    ("num_tokens", "max_elements", "options", "want"),
    [
        (16, 224, {}, (Level(4, 600), Level(16, 74))),
        (16, 224, {"detail_share": 0.0}, (Level(4, 896), Level(16, 0))),
        (16, 1024, {}, (Level(4, 1024), Level(16, 768))),  # the room of clusters that there are not
        (1, 9, {}, (Level(1, 6), Level(1, 3))),
        (6, 3, {"detail_share": 0.5}, (Level(1, 12), Level(6, 1))),  # a line of tokens
        (36, 10, {"pool": 3, "max_clusters": 7}, (Level(4, 7), Level(36, 9))),
        (64, 1, {"pool": 9}, (Level(1, 64), Level(64, 0))),
    ],
)
def test_the_room_is_divided_and_never_exceeded(
    num_tokens: int, max_elements: int, options: dict[str, object], want: tuple[Level, ...]
) -> None:
    levels = FlashVStream(**options).levels(num_tokens, max_elements)
    assert levels == want
    assert sum(level.num_tokens * level.max_elements for level in levels) <= num_tokens * max_elements


@pytest.mark.parametrize(
    ("option", "value"), [("pool", 0), ("max_clusters", 0), ("rounds", 0), ("detail_share", 1.0), ("top_k", 0)]
)
def test_options_that_make_no_sense_are_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        FlashVStream(**{option: value})


def test_nothing_is_merged_while_there_is_room() -> None:
    memory = written(Memory(config(30)), 21)
    clusters, whole = memory.long_term.held
    left = frames(len(clusters))
    assert torch.equal(clusters.value, resample(left.value, 1))
    assert torch.equal(clusters.key, left.key) and torch.equal(clusters.span_seconds, left.span_seconds)
    assert clusters.weight.unique().tolist() == [1.0]
    assert len(whole) <= 10 and len(clusters) + len(memory.working) == 21


@given(st.integers(0, 60), st.integers(1, 6), st.sampled_from([0.0, 0.4, 0.8]))
def test_clusters_weigh_as_many_frames_as_left_working_memory(num: int, max_elements: int, share: float) -> None:
    memory = written(Memory(config(max_elements, detail_share=share, max_clusters=7)), num)
    clusters, whole = memory.long_term.held if num else ((), ())
    if not num:
        return
    assert torch.all(clusters.weight == clusters.weight[:, :1])
    assert float(clusters.weight[:, 0].sum()) == num - len(memory.working)
    # Whole frames are frames as they were, each once, and no cluster tells the time of another.
    for frame in whole.span_seconds[:, 0].tolist():
        place = whole.span_seconds[:, 0].tolist().index(frame)
        assert torch.equal(whole.value[place], frames(1, first=int(frame)).value[0])
    starts = whole.span_seconds[:, 0].tolist()
    assert len(set(starts)) == len(starts)
    told = [second for start, end in clusters.span_seconds.tolist() for second in range(int(start), int(end))]
    assert len(set(told)) == len(told)


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 1000))
def test_a_merge_keeps_weights_and_the_weighted_mean_of_everything(num: int, num_clusters: int, seed: int) -> None:
    some = frames(num, seed=seed)
    weight = torch.randint(1, 9, (num, 1), generator=torch.Generator().manual_seed(seed)).float()
    some = Elements(some.key, some.value, some.span_seconds, some.usage, some.life, weight.expand(-1, NUM_TOKENS))
    some.usage[:], some.life[:] = 0.25, torch.arange(num).float()
    merged = merge(some, min(num, num_clusters), rounds=3)
    assert len(merged) <= num_clusters
    for got, want in ((merged.key, some.key), (merged.value, some.value)):
        of_all, of_merged = ((part.weight[:, 0] @ whole.flatten(1)) for part, whole in ((some, want), (merged, got)))
        torch.testing.assert_close(of_merged, of_all, rtol=0, atol=1e-4)
    assert float(merged.weight[:, 0].sum()) == float(weight.sum())
    assert float(merged.usage.sum()) == 0.25 * num and float(merged.life.max()) == num - 1
    assert bool((merged.span_seconds[:, 0].diff() >= 0).all())


def test_what_is_alone_in_its_cluster_stays_as_it_is() -> None:
    some = frames(9)
    some.weight[:] = 3.0  # a third of three times a number is not that number in floating point
    again = merge(some, 8, rounds=1)
    untouched = [place for place, weight in enumerate(again.weight[:, 0].tolist()) if weight == 3.0]
    assert len(untouched) == 7
    for place in untouched:
        assert any(torch.equal(again.value[place], value) for value in some.value)


def spans(*pairs: tuple[float, float]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.float64)


def test_a_cluster_has_the_stretch_that_it_covers_or_the_span_of_its_heaviest_member() -> None:
    label = torch.tensor([0, 1, 0, 1, 2, 1])
    times = spans((0, 4), (4, 5), (5, 9), (9, 10), (10, 11), (30, 31))
    weight = torch.tensor([4.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    got = cluster_spans(times, label, weight, 3)
    assert got.tolist() == [[0.0, 4.0], [30.0, 31.0], [10.0, 11.0]]  # the latest of equally heavy ones
    joined = cluster_spans(times, torch.tensor([0, 0, 0, 1, 1, 2]), weight, 3)
    assert joined.tolist() == [[0.0, 9.0], [9.0, 11.0], [30.0, 31.0]]


def test_neighbours_of_a_long_stream_are_still_one_stretch() -> None:
    week = 7 * 24 * 3600.0
    times = spans(*((week + index / 30, week + (index + 1) / 30) for index in range(90)))
    got = cluster_spans(times, torch.zeros(90, dtype=torch.int64), torch.ones(90), 1)
    assert got.tolist() == [[week, week + 3.0]]


def test_whole_frames_are_those_nearest_to_the_heaviest_clusters() -> None:
    clusters = frames(4)
    clusters.weight[:] = torch.tensor([1.0, 5.0, 1.0, 3.0])[:, None]
    candidates = clusters.value[[3, 2, 1, 0]] + 0.01
    assert nearest_to_heaviest(candidates, clusters, 2).tolist() == [0, 2]
    assert nearest_to_heaviest(candidates, clusters, 3).tolist() == [0, 1, 2]  # the newer of two of weight 1
    assert nearest_to_heaviest(candidates, clusters, 0).tolist() == []


def test_a_frame_that_several_clusters_are_nearest_to_counts_once_and_the_newest_fill_up() -> None:
    clusters, candidates = frames(3), frames(5, seed=1).value
    candidates[1] = clusters.value.mean(0)
    candidates[[0, 2, 3, 4]] += 100.0
    assert nearest_to_heaviest(candidates, clusters, 3).tolist() == [1, 3, 4]


def test_what_is_seen_once_is_found_again_among_much_that_repeats() -> None:
    # A rare frame among two that alternate for long: more frames than there are clusters and whole frames.
    of = [40 if index == 13 else index % 2 for index in range(120)]
    memory = written(Memory(config(2, detail_share=0.0, max_clusters=4)), 120, of=of)
    (clusters, _) = memory.long_term.held
    assert [13.0, 14.0] in clusters.span_seconds.tolist()
    readout = memory.read(frames(1, first=40).key)
    assert readout.span_seconds[int(readout.usage.argmax())].tolist() == [13.0, 14.0]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_frames_all_alike_make_clusters_without_nan(value: float) -> None:
    memory = Memory(config(2))
    for index in range(80):
        one = frames(1, first=index)
        memory.write(
            Elements.fresh(torch.full_like(one.key, value), torch.full_like(one.value, value), one.span_seconds)
        )
    clusters, whole = memory.long_term.held
    assert float(clusters.weight[:, 0].sum()) == 80 - len(memory.working)
    for held in (clusters, whole):
        for tensor in (held.value, held.key):
            torch.testing.assert_close(tensor, torch.full_like(tensor, value))


def test_half_precision_frames_stay_half() -> None:
    some = frames(80)
    memory = Memory(config(2))
    memory.write(Elements.fresh(some.key, some.value.bfloat16(), some.span_seconds))
    assert [held.value.dtype for held in memory.long_term.held] == [torch.bfloat16] * 2
    assert memory.read(some.key[:1]).value.isfinite().all()


def test_what_was_read_of_a_cluster_stays_with_it() -> None:
    memory = written(Memory(config(2, detail_share=0.0)), 6)
    memory.touch(torch.tensor([[0.0, 3.0]]))
    usage = float(memory.long_term.held[0].usage.sum())
    memory.write(frames(34, first=6))
    (clusters, _) = memory.long_term.held
    assert usage == pytest.approx(1.0)
    assert float(clusters.usage.sum()) == pytest.approx(1.0)
    assert bool((clusters.usage <= clusters.life).all())
