"""The pyramid policy against its rule written down frame by frame."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from vidmem.memory import Elements, Memory, MemoryConfig
from vidmem.memory.policies import Level, Pyramid
from vidmem.memory.resolution import resample

from .samples import KEY_DIM


def grids(num: int, *, seed: int = 0, distinct: int = 10_000) -> Elements:
    """Frames of 4 x 4 tokens, one a second, of which only `distinct` differ."""
    random = torch.Generator().manual_seed(seed)
    starts = torch.arange(num, dtype=torch.float64)
    looks = torch.arange(num) % distinct
    value = torch.randn(num, 16, 3, generator=random)[looks]
    return Elements.fresh(torch.randn(num, KEY_DIM, generator=random), value, torch.stack([starts, starts + 1], 1))


def naive_pyramid(value: Tensor, policy: Pyramid, levels: tuple[Level, ...]) -> list[list[int]]:
    """The frames of each level, all compared anew at each step."""
    means = value.double().mean(1)
    held: list[list[int]] = [[] for _ in levels]
    for frame in range(len(value)):
        moving, first = frame, next(n for n, interval in enumerate(policy.intervals) if frame % interval == 0)
        for number in range(first, len(levels)):
            members = held[number]
            if not levels[number].max_elements:
                continue
            evicted = None
            if len(members) == levels[number].max_elements:
                rows = means[members]
                cosines = functional.cosine_similarity(rows[1:], rows[:-1], dim=1).tolist()
                evicted = members.pop(cosines.index(max(cosines)) if cosines else 0)
            held[number] = sorted([*members, moving])
            if evicted is None:
                break
            moving = evicted
    return held


@given(
    st.integers(0, 60),
    st.integers(1, 6),
    st.integers(1, 9),
    st.sampled_from([(8, 2, 3), (1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1)]),
    st.integers(0, 99),
)
def test_levels_hold_the_frames_of_the_plain_rule_at_their_resolution(
    num: int, max_elements: int, chunk: int, shares: tuple[int, ...], seed: int
) -> None:
    options = {"shares": shares, "intervals": (4, 2, 1)}
    memory = Memory(
        MemoryConfig(
            working_max_frames=chunk,
            working_min_frames=1,
            max_elements=max_elements,
            policy="pyramid",
            policy_options=options,
        )
    )
    some = grids(num, seed=seed)
    memory.write(some)
    levels, num_gone = memory.long_term.levels, num - len(memory.working)
    want = naive_pyramid(some.value[:num_gone], Pyramid(**options), levels) if num else []
    for held, frames, level in zip(memory.long_term.held, want, levels, strict=True):
        assert held.span_seconds[:, 0].tolist() == frames
        assert torch.equal(held.key, some.key[frames])
        torch.testing.assert_close(held.value, resample(some.value[frames], level.num_tokens), atol=1e-6, rtol=0)
        assert held.weight.unique().tolist() == [1.0] * bool(frames)


def test_levels_fill_their_budget_and_no_more() -> None:
    assert Pyramid().levels(256, 13) == (Level(256, 8), Level(64, 8), Level(16, 48))
    assert Pyramid().levels(16, 1) == (Level(16, 0), Level(4, 0), Level(1, 16))
    assert Pyramid(shares=(1, 0, 0)).levels(16, 5) == (Level(16, 5), Level(4, 0), Level(1, 0))
    assert [level.num_tokens for level in Pyramid().levels(12, 4)] == [12, 3, 1]


@given(st.integers(1, 300), st.integers(1, 40), st.tuples(*[st.integers(0, 5)] * 3).filter(any))
def test_what_one_element_more_would_take_is_all_that_is_left(num: int, max_elements: int, shares: tuple) -> None:
    levels = Pyramid(shares=shares).levels(num, max_elements)
    left = num * max_elements - sum(level.num_tokens * level.max_elements for level in levels)
    last = max(number for number, share in enumerate(shares) if share)
    assert 0 <= left < levels[last].num_tokens
    assert all(level.max_elements == 0 for level, share in zip(levels, shares, strict=True) if not share)


def test_a_frame_with_no_level_at_or_below_its_own_is_forgotten() -> None:
    options = {"shares": (1, 0, 0), "intervals": (4, 2, 1)}
    memory = Memory(MemoryConfig(working_max_frames=2, working_min_frames=1, policy="pyramid", policy_options=options))
    memory.write(grids(13))
    assert memory.long_term.held[0].span_seconds[:, 0].tolist() == [0, 4, 8]


def test_what_was_read_of_a_frame_goes_down_with_it() -> None:
    memory = Memory(MemoryConfig(working_max_frames=2, working_min_frames=1, max_elements=2, policy="pyramid"))
    some = grids(15, distinct=1)
    memory.write(some[:3])
    memory.touch(torch.tensor([[0.0, 1.0]]))
    assert memory.long_term.held[0].usage.tolist() == [1.0]
    memory.write(some[3:])
    # The first level holds one frame, now a later one; the next one's had to make room in its turn.
    first, second, third = memory.long_term.held
    assert first.span_seconds[:, 0].tolist() == [8] and second.span_seconds[:, 0].tolist() == [12]
    assert third.span_seconds[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13]
    assert third.usage.tolist() == [1.0] + [0.0] * 11
    assert third.value.shape[1] == 1


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"intervals": (8, 4)}, "of the same levels"),
        ({"intervals": (8, 4, 2)}, "end with 1"),
        ({"intervals": (0, 4, 1)}, "above 0"),
        ({"intervals": (), "ratios": (), "shares": ()}, "intervals"),
        ({"ratios": (1, 2, 0)}, "ratios"),
        ({"shares": (0, 0, 0)}, "shares"),
        ({"shares": (1, -1, 1)}, "shares"),
        ({"top_k": 0}, "top_k"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Pyramid(**options)
