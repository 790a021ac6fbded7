from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from vidmem.bench.naive.hermes import naive_eco
from vidmem.memory import Elements, Memory, MemoryConfig, policy
from vidmem.memory.policies import Hermes

from .naive_hermes import naive_all_pairs
from .samples import NUM_TOKENS, TOKEN_DIM, frames

WORKING = 6, 2
STRETCH = WORKING[0] + 1 - WORKING[1]


def watched(num_frames: int, max_elements: int, **options: Any) -> Memory:
    config = MemoryConfig(
        working_max_frames=WORKING[0],
        working_min_frames=WORKING[1],
        max_elements=max_elements,
        policy="hermes",
        policy_options=options,
    )
    memory = Memory(config)
    memory.write(frames(num_frames))
    return memory


def stretches(num_frames: int) -> list[Elements]:
    """What leaves working memory at a time."""
    num_times = max(0, num_frames - WORKING[1]) // STRETCH
    return [frames(STRETCH, first=time * STRETCH) for time in range(num_times)]


lengths, rooms = st.integers(0, 40), st.integers(1, 9)


@given(lengths, rooms)
def test_episodes_of_tokens_are_those_of_the_reference_whose_windows_are_what_leaves(
    num_frames: int, max_elements: int
) -> None:
    held = watched(num_frames, max_elements, granularity="token").long_term.elements
    value, size = torch.empty(1, 0, NUM_TOKENS, TOKEN_DIM), torch.empty(1, 0, NUM_TOKENS)
    for leaving in stretches(num_frames):
        value, size = torch.cat([value, leaving.value[None]], 1), torch.cat([size, leaving.weight[None]], 1)
        value, size, _ = naive_eco(value, size, max_elements)
    if num_frames > WORKING[0]:
        torch.testing.assert_close(held.value, value[0], rtol=0, atol=1e-5)
        assert torch.equal(held.weight, size[0])


@given(lengths, rooms)
def test_episodes_of_frames_are_means_of_the_frames_in_their_span(num_frames: int, max_elements: int) -> None:
    held = watched(num_frames, max_elements).long_term.elements
    value, size = torch.empty(1, 0, 1, NUM_TOKENS * TOKEN_DIM), torch.empty(1, 0, 1)
    for leaving in stretches(num_frames):
        value = torch.cat([value, leaving.value.flatten(1)[None, :, None]], 1)
        size = torch.cat([size, leaving.weight[None, :, :1]], 1)
        value, size, _ = naive_eco(value, size, max_elements)
    if num_frames > WORKING[0]:
        torch.testing.assert_close(held.value.flatten(1), value[0, :, 0], rtol=0, atol=1e-5)
    everything = frames(num_frames)
    covered = 0.0
    for element in range(len(held)):
        start, end = held.span_seconds[element].tolist()
        assert start == covered
        assert held.weight[element].tolist() == [end - start] * NUM_TOKENS
        members = slice(int(start), int(end))
        torch.testing.assert_close(held.key[element], everything.key[members].mean(0), rtol=0, atol=1e-5)
        torch.testing.assert_close(held.value[element], everything.value[members].mean(0), rtol=0, atol=1e-5)
        covered = end
    assert covered == len(stretches(num_frames)) * STRETCH


@given(st.integers(7, 30), rooms, st.booleans())
def test_any_two_frames_may_become_one(num_frames: int, max_elements: int, weighted: bool) -> None:
    held = watched(num_frames, max_elements, pairs="all", weighted=weighted).long_term.elements
    kept: list[Tensor] = []
    sizes: list[float] = []
    for leaving in stretches(num_frames):
        kept, sizes = [*kept, *leaving.value.flatten(1)], sizes + [1.0] * STRETCH
        kept = naive_all_pairs(kept, sizes, max_elements, weighted)
    torch.testing.assert_close(held.value.flatten(1), torch.stack(kept), rtol=0, atol=1e-5)
    assert held.weight[:, 0].tolist() == sizes


@given(lengths, rooms, st.sampled_from(["frame", "token"]), st.sampled_from(["adjacent", "all"]))
def test_no_frame_and_no_read_is_lost(num_frames: int, max_elements: int, granularity: str, pairs: str) -> None:
    memory = watched(num_frames, max_elements, granularity=granularity, pairs=pairs)
    long_term = memory.long_term
    num_left = STRETCH * len(stretches(num_frames))
    assert long_term.elements.weight.sum(0).tolist() == [num_left] * NUM_TOKENS or not num_left
    if num_left:
        long_term.touch(torch.rand(len(long_term)), 1.0)
        before = long_term.elements.usage.sum().clone()
        memory.write(frames(3 * STRETCH, first=num_frames))
        torch.testing.assert_close(long_term.elements.usage.sum(), before)
        assert bool((long_term.elements.usage <= long_term.elements.life * len(long_term)).all())


def test_what_lies_before_the_first_merge_is_not_touched() -> None:
    leaving = frames(3, first=4)
    leaving.value.copy_(leaving.value[:1].clone())
    held = frames(4)
    held.usage.copy_(torch.arange(4.0))
    policy_ = Hermes()
    levels = policy_.levels(NUM_TOKENS, 5)
    (change,) = policy_.consolidate(leaving, (held,), levels, 4)
    assert change.kept is not None and change.kept.tolist() == [0, 1, 2, 3]
    assert change.gained.span_seconds.tolist() == [[4.0, 7.0]]
    assert torch.equal(change.gained.value, leaving.value[:1])


def plain_fold(num_frames: int, num_kept: int) -> list[tuple[float, Tensor, int]]:
    """Start, mean and count of what a fold keeps, frame by frame."""
    kept: list[tuple[float, Tensor, int]] = []
    num_seen = 0
    for leaving in stretches(num_frames):
        num_seen += STRETCH
        stride = next(2**power for power in range(20) if -(-num_seen // 2**power) <= num_kept)
        rows = kept + [
            (float(start), value, 1)
            for start, value in zip(leaving.span_seconds[:, 0], leaving.value.flatten(1), strict=True)
        ]
        stay = [row for row in rows if row[0] % stride == 0]
        sums = {start: (value * count, count) for start, value, count in stay}
        for start, value, count in rows:
            if start % stride:
                cosines = [float(functional.cosine_similarity(value, other, dim=0)) for _, other, _ in stay]
                best = stay[cosines.index(max(cosines))][0]
                sums[best] = sums[best][0] + value * count, sums[best][1] + count
        kept = [(start, total / count, count) for start, (total, count) in sums.items()]
    return kept


@given(st.integers(7, 40), st.integers(2, 9))
def test_the_fold_keeps_evenly_spread_frames_with_all_that_are_like_them(num_frames: int, max_elements: int) -> None:
    memory = watched(num_frames, max_elements, semantic_share=0.5)
    _, folded = memory.long_term.held
    want = plain_fold(num_frames, max_elements // 2)
    assert folded.span_seconds.tolist() == [[start, start + 1] for start, _, _ in want]
    assert folded.weight.tolist() == [[count] * NUM_TOKENS for _, _, count in want]
    torch.testing.assert_close(folded.value.flatten(1), torch.stack([mean for _, mean, _ in want]), rtol=0, atol=1e-5)
    assert torch.equal(folded.key, frames(num_frames).key[folded.span_seconds[:, 0].long()])


def test_room_is_divided_and_never_all_given_to_the_fold() -> None:
    assert [level.max_elements for level in Hermes(semantic_share=0.25).levels(4, 10)] == [8, 2]
    assert [level.max_elements for level in Hermes(semantic_share=0.99).levels(4, 1)] == [1]


@pytest.mark.parametrize(
    ("option", "value"), [("granularity", "patch"), ("pairs", "some"), ("semantic_share", 1.0), ("top_k", 0)]
)
def test_options_that_make_no_sense_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        policy("hermes", **{option: value})
