from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory import Elements, Memory, MemoryConfig, policy
from vidmem.memory.coreset import farthest_points
from vidmem.memory.grouping import longest_runs
from vidmem.memory.policies import Level, McVit
from vidmem.memory.policies.mc_vit import finest_stretches

from .samples import NUM_TOKENS, frames, same

METHODS = ("kmeans", "coreset", "random")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scenes(kinds: list[int]) -> Elements:
    """Frames that show one of a few things each."""
    some = frames(len(kinds))
    shown = frames(max(kinds) + 1, seed=9)
    some.value.copy_(shown.value[kinds] * 10 + some.value * 0.01)
    some.key.copy_(shown.key[kinds])
    return some


@pytest.mark.parametrize(
    ("option", "value"),
    [("method", "median"), ("num_memories", 0), ("rounds", 0), ("when_full", "stop"), ("top_k", 0)],
)
def test_options_that_make_no_sense_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        policy("mc-vit", **{option: value})


def test_clusters_become_their_means_and_are_told_by_their_longest_run() -> None:
    leaving = scenes([0, 0, 1, 1, 1, 0, 2, 2])
    found = [McVit(num_memories=3).memories(leaving, 8, generator(seed)) for seed in range(40)]
    # Some random first frames find all three.
    (memories, *_) = [memories for memories in found if memories.weight[:, 0].tolist() == [3.0, 3.0, 2.0]]
    assert memories.span_seconds.tolist() == [[0.0, 2.0], [2.0, 5.0], [6.0, 8.0]]
    torch.testing.assert_close(memories.value[0], leaving.value[[0, 1, 5]].mean(0))
    torch.testing.assert_close(memories.key[1], leaving.key[2])


def test_a_coreset_is_frames_as_they_were_in_time_order() -> None:
    leaving = frames(9)
    memories = McVit(method="coreset", num_memories=4).memories(leaving, 9, generator())
    chosen = farthest_points(leaving.value.flatten(1), 4).sort().values
    assert same(memories, leaving[chosen])


def test_random_frames_are_any_of_the_stretch_and_the_same_for_the_same_seed() -> None:
    leaving = frames(9)
    kept = [McVit(method="random", num_memories=3).memories(leaving, 9, generator(seed)) for seed in (1, 1, 2)]
    assert same(kept[0], kept[1]) and not torch.equal(kept[0].span_seconds, kept[2].span_seconds)
    assert torch.equal(kept[2].value, leaving.value[kept[2].span_seconds[:, 0].long()])


@pytest.mark.parametrize("method", METHODS)
@given(num_stretches=st.integers(1, 3), size=st.integers(1, 9), num=st.integers(1, 9), seed=st.integers(0, 99))
def test_stretches_are_consolidated_each_by_itself(
    method: str, num_stretches: int, size: int, num: int, seed: int
) -> None:
    own = McVit(method=method, num_memories=num)
    some = frames(num_stretches * size, seed=seed)
    together = own.memories(some, size, generator(seed))
    random = generator(seed)
    apart = [own.memories(some[at : at + size], size, random) for at in range(0, len(some), size)]
    assert same(together, Elements.cat(apart), atol=1e-5)
    assert bool((together.span_seconds[1:, 0] > together.span_seconds[:-1, 0]).all())
    if method == "kmeans":
        torch.testing.assert_close(together.weight.sum(0), torch.full((NUM_TOKENS,), float(len(some))))
    else:
        assert len(together) == num_stretches * min(num, size)


@pytest.mark.parametrize("method", METHODS)
def test_all_equal_frames_are_kept_without_nan(method: str) -> None:
    some = frames(8)
    some.value.fill_(3.0)
    memories = McVit(method=method).memories(some, 8, generator())
    assert bool((memories.value == 3.0).all())
    if method == "kmeans":
        assert len(memories) == 1 and memories.weight[0, 0] == 8


def filled(num_frames: int, max_elements: int = 16, **options: object) -> Memory:
    config = MemoryConfig(8.0, 8, 4, max_elements, policy="mc-vit", policy_options=options)
    memory = Memory(config)
    memory.write(frames(num_frames))
    return memory


@pytest.mark.parametrize("method", METHODS)
def test_reconsolidation_keeps_something_of_all_times(method: str) -> None:
    starts = filled(800, method=method, num_memories=2).long_term.elements.span_seconds[:, 0]
    assert float(starts[0]) < 100 and float(starts.diff().max()) < 400
    forgotten = filled(800, method=method, num_memories=2, when_full="forget").long_term.elements.span_seconds[:, 0]
    assert float(forgotten[0]) > 700


def test_means_account_for_every_frame_of_a_memory_that_was_consolidated_again() -> None:
    memory = filled(403, num_memories=2)
    assert float(memory.long_term.elements.weight[:, 0].sum()) + len(memory.working) == 403


def test_what_comes_before_the_finest_stretch_is_kept_where_it_is() -> None:
    held = frames(12)
    held.span_seconds[:8] *= 3
    held.span_seconds[8:] += 16
    leaving = frames(5, first=28)
    (change,) = McVit(num_memories=2).consolidate(leaving, (held,), (Level(NUM_TOKENS, 12),), 40)
    assert change.kept is not None and change.kept.tolist() == list(range(8))
    assert len(change.gained) == 4 and float(change.gained.weight[:2, 0].sum()) == 4


def test_room_for_less_than_two_stretches_forgets_the_oldest() -> None:
    held = frames(3)
    (change,) = McVit(num_memories=2).consolidate(frames(5, first=3), (held,), (Level(NUM_TOKENS, 3),), 3)
    assert change.kept is not None and change.kept.tolist() == [2] and len(change.gained) == 2


def test_the_finest_stretches_tell_of_the_least_time_until_the_next_one() -> None:
    starts = torch.tensor([0.0, 2, 10, 11, 12, 13, 14, 30, 31])
    spans = torch.stack([starts, starts + 1], dim=1).double()
    assert finest_stretches(spans, 2, 2).tolist() == [1, 2]
    assert finest_stretches(spans, 2, 3).tolist() == [0, 1, 2]
    assert finest_stretches(spans, 3, 1).tolist() == [1]
    assert finest_stretches(spans[:1], 2, 1).tolist() == []


@given(st.lists(st.integers(0, 3), min_size=1, max_size=15))
def test_the_longest_run_of_a_group_is_the_first_of_the_longest(labels: list[int]) -> None:
    present = sorted(set(labels))
    label = torch.tensor([present.index(one) for one in labels])
    runs: dict[int, tuple[int, int]] = {}
    start = 0
    for at in range(1, len(labels) + 1):
        if at == len(labels) or labels[at] != labels[start]:
            group, run = present.index(labels[start]), (start, at)
            if group not in runs or at - start > runs[group][1] - runs[group][0]:
                runs[group] = run
            start = at
    got = longest_runs(frames(len(labels)).span_seconds, label, len(present))
    assert got.tolist() == [[float(end) for end in runs[group]] for group in range(len(present))]
