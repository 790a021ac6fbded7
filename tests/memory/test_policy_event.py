"""Events: where they begin, what their summaries are made of, and that the gist spans everything."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vidmem.memory import Elements, Memory, MemoryConfig
from vidmem.memory.policies import Event, Level
from vidmem.memory.policies.event import NUM_RECENT

from .samples import KEY_DIM, NUM_TOKENS, frames


def scenes(lengths: list[int], *, noise: float = 0.05, seed: int = 0) -> Elements:
    """Frames of scenes that look different, with a little noise."""
    some = frames(sum(lengths), seed=seed)
    scene = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.int64))
    some.key.copy_(functional.normalize(torch.eye(KEY_DIM)[scene % KEY_DIM] + noise * some.key, dim=1))
    return some


def remembered(some: Elements, *, chunk: int = 6, max_elements: int = 200, **options: object) -> Memory:
    config = MemoryConfig(
        working_max_frames=chunk,
        working_min_frames=1,
        max_elements=max_elements,
        policy="event",
        policy_options={"gist_share": 0.5} | options,
    )
    memory = Memory(config)
    memory.write(some)
    return memory


@given(st.lists(st.integers(5, 12), min_size=2, max_size=5), st.integers(1, 20), st.integers(0, 99))
def test_events_begin_where_the_picture_changes_however_frames_leave(lengths: list[int], chunk: int, seed: int) -> None:
    memory = remembered(scenes(lengths, seed=seed), chunk=chunk)
    starts = memory.long_term.held[1].span_seconds[:, 0].tolist()
    changes = [sum(lengths[:place]) for place in range(len(lengths))]
    num_gone = sum(lengths) - len(memory.working)
    assert starts == [change for change in changes if change < num_gone]


def test_stillness_is_one_event_and_a_short_scene_is_none() -> None:
    assert len(remembered(scenes([60])).long_term.held[1]) == 1
    flash = scenes([10, 2, 10], noise=0.01)
    flash.key[12:] = flash.key[:10]
    starts = remembered(flash, min_frames=4).long_term.held[1].span_seconds[:, 0].tolist()
    assert starts == [0, 10]
    assert remembered(flash, min_frames=2).long_term.held[1].span_seconds[:, 0].tolist() == [0, 10, 12]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 9), st.sampled_from([0.0, 0.3]))
def test_a_summary_is_the_mean_of_its_event_with_the_summary_before_it(
    lengths: list[int], chunk: int, carry: float
) -> None:
    some = scenes(lengths, noise=0.3)
    memory = remembered(some, chunk=chunk, carry=carry, min_frames=1, gist_share=0.5)
    details, gist = memory.long_term.held
    num_gone = sum(lengths) - len(memory.working)
    assert details.span_seconds[:, 0].tolist() == list(range(num_gone))
    starts = [*gist.span_seconds[:, 0].long().tolist(), num_gone] if num_gone else []
    before = None
    for number, (start, end) in enumerate(pairwise(starts)):
        mean = some.value[start:end].mean(0)
        before = mean if before is None else mean.lerp(before, carry)
        torch.testing.assert_close(gist.value[number], before, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gist.key[number], some.key[start:end].mean(0), atol=1e-5, rtol=1e-5)
        assert gist.weight[number].tolist() == [end - start] * NUM_TOKENS


@given(
    st.lists(st.integers(1, 15), max_size=8),
    st.integers(1, 9),
    st.integers(1, 20),
    st.floats(0, 1),
    st.sampled_from([0.01, 0.4]),
    st.integers(0, 99),
)
def test_the_gist_tells_of_all_frames_and_details_of_the_newest_ones_at_least(
    lengths: list[int], chunk: int, max_elements: int, gist_share: float, noise: float, seed: int
) -> None:
    some = scenes(lengths, noise=noise, seed=seed)
    memory = remembered(some, chunk=chunk, max_elements=max_elements, gist_share=gist_share, min_frames=2)
    if not lengths:
        return
    details, gist = memory.long_term.held
    for_details, for_gist = memory.long_term.levels
    num_gone = len(some) - len(memory.working)
    spans = gist.span_seconds.tolist()
    assert [0.0, *(end for _, end in spans)] == [*(start for start, _ in spans), float(num_gone)]
    assert gist.weight[:, 0].tolist() == [end - start for start, end in spans]
    # Details are gap-free up to now, and the newest are frames as they came.
    spans = details.span_seconds.tolist()
    assert all(end == start for (_, end), (start, _) in pairwise(spans))
    assert details.weight[:, 0].tolist() == [end - start for start, end in spans]
    num_recent = min(NUM_RECENT, for_details.max_elements, num_gone)
    recent = details[len(details) - num_recent :]
    assert torch.equal(recent.value, some.value[num_gone - num_recent : num_gone])
    # Nothing is forgotten while neighbours of one event could be merged instead.
    if len(details) and spans[0][0] > 0:
        assert len(details) == for_details.max_elements
    assert num_gone <= for_details.max_elements or len(details) <= for_details.max_elements


def test_details_are_merged_inside_events_before_any_is_forgotten() -> None:
    memory = remembered(scenes([20, 20, 20], noise=0.02), max_elements=20, gist_share=0.2)
    details, gist = memory.long_term.held
    assert gist.span_seconds[:, 0].tolist() == [0, 20, 40]
    spans = details.span_seconds.tolist()
    assert spans[0][0] == 0 and len(details) == 16
    assert all(start // 20 == (end - 1) // 20 for start, end in spans)
    # Once there are more events than details, the oldest details go.
    many = remembered(scenes([3] * 30, noise=0.02), max_elements=30, gist_share=0.7, min_frames=1)
    details, gist = many.long_term.held
    assert len(details) == 9 and details.span_seconds[0, 0] > 0 and len(gist) == 21


def test_neighbours_alike_become_one_event_when_there_are_too_many() -> None:
    some = scenes([6, 6, 6, 6, 16], noise=0.02)
    # The second and third scene are nearly one, the others far apart.
    some.key[12:18] = functional.normalize(some.key[6:12] + 0.9 * torch.eye(KEY_DIM)[3], dim=1)
    gist = remembered(some, max_elements=16, gist_share=0.25).long_term.held[1]
    assert gist.span_seconds[:, 0].tolist() == [0, 6, 18, 24]


def test_levels_have_room_for_a_summary_at_least() -> None:
    assert Event().levels(4, 100) == (Level(4, 98), Level(4, 2))
    assert Event(gist_share=0.0).levels(4, 16) == (Level(4, 15), Level(4, 1))
    assert Event().levels(4, 1) == (Level(4, 0), Level(4, 1))
    assert Event(gist_share=1.0).levels(4, 3) == (Level(4, 0), Level(4, 3))


@pytest.mark.parametrize(
    ("option", "value"),
    [("min_frames", 0), ("min_depth", -0.1), ("gist_share", 1.5), ("carry", 1.0), ("carry", -0.1), ("top_k", 0)],
)
def test_options_that_make_no_sense_are_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        Event(**{option: value})
