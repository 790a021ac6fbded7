"""What must hold of a memory whatever is written and read (DESIGN, section 3)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory import Elements, Memory, MemoryConfig

from .samples import KEY_DIM, NUM_TOKENS, TOKEN_DIM, clip_sizes, configs, filled, frames, same


def assert_invariants(memory: Memory, num_written: int) -> None:
    config = memory.config
    sensory, working, levels = memory.sensory.elements, memory.working.elements, memory.long_term.held
    assert len(working) <= config.working_max_frames
    assert sum(held.num_tokens for held in levels) <= config.max_elements * NUM_TOKENS
    assert all(len(held) <= level.max_elements for held, level in zip(levels, memory.long_term.levels, strict=True))
    newest_end = float(num_written)
    assert all(start >= newest_end - config.sensory_seconds for start in sensory.span_seconds[:-1, 0].tolist())
    for elements in (sensory, working, *levels):
        starts, ends = elements.span_seconds.unbind(1)
        assert bool((starts <= ends).all()) and bool((starts[1:] >= starts[:-1]).all())
        assert bool((elements.usage >= 0).all()) and bool((elements.usage <= elements.life * 1.001).all())
        # Nothing stands for less than one frame's token, and all together for no more frames than there were.
        assert bool((elements.weight > 0.999).all()) and bool((elements.weight.sum(0) < num_written + 0.001).all())
    if num_written:
        # Newest frames are there, whole and unchanged, and long-term memory ends before them.
        first = num_written - len(working)
        assert torch.equal(working.value, frames(len(working), first=first).value)
        assert torch.equal(sensory.value[-1:], working.value[-1:])
        assert all(float(held.span_seconds[:, 1].max()) <= first for held in levels if len(held))
        assert len(working) >= min(num_written, config.working_min_frames)


@given(configs(), clip_sizes)
def test_bounds_and_order_hold_after_every_write(config: MemoryConfig, sizes: list[int]) -> None:
    memory, first = Memory(config), 0
    for size in sizes:
        memory.write(frames(size, first=first))
        first += size
        assert_invariants(memory, first)


@given(configs(), clip_sizes)
def test_how_frames_are_cut_into_writes_makes_no_difference(config: MemoryConfig, sizes: list[int]) -> None:
    by_clip, one_by_one = filled(config, sizes), filled(config, [1] * sum(sizes))
    assert same(by_clip.sensory.elements, one_by_one.sensory.elements)
    assert same(by_clip.working.elements, one_by_one.working.elements, atol=1e-4)
    for held, other in zip(by_clip.long_term.held, one_by_one.long_term.held, strict=True):
        assert same(held, other, atol=1e-4)


@given(configs(), clip_sizes)
def test_the_same_input_gives_the_same_memory(config: MemoryConfig, sizes: list[int]) -> None:
    once, again = filled(config, sizes).state_dict(), filled(config, sizes).state_dict()
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)


@given(configs(), clip_sizes.filter(sum), st.integers(1, 3))
def test_a_read_changes_only_usage_and_life(config: MemoryConfig, sizes: list[int], num_queries: int) -> None:
    memory = filled(config, sizes)
    before = memory.state_dict()
    readout = memory.read(frames(num_queries, seed=1).key)
    after = memory.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    stores = [
        "working",
        *(name.removesuffix(".usage") for name in before if name.endswith(".usage") and "long" in name),
    ]
    assert changed <= {f"{store}.{field}" for store in stores for field in ("usage", "life")}
    torch.testing.assert_close(readout.affinity.sum(0), torch.ones(num_queries))
    assert readout.value.shape == (num_queries, NUM_TOKENS, TOKEN_DIM)
    usage_before, usage_after = (
        torch.cat([state[f"{store}.usage"] for store in (*stores[1:], "working")])[: len(readout.usage)]
        for state in (before, after)
    )
    torch.testing.assert_close(usage_after - usage_before, readout.usage, atol=1e-5, rtol=1e-5)


@given(configs(), clip_sizes, clip_sizes)
def test_a_saved_memory_goes_on_as_the_original(config: MemoryConfig, sizes: list[int], more: list[int]) -> None:
    original = filled(config, sizes)
    restored = Memory.from_state_dict(config, original.state_dict())
    first = sum(sizes)
    for size in more:
        for memory in (original, restored):
            memory.write(frames(size, first=first))
        first += size
        if first:
            query = frames(2, seed=1).key
            assert torch.equal(original.read(query).value, restored.read(query).value)
    one, other = original.state_dict(), restored.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one if one[name].numel())


@given(clip_sizes, st.booleans())
def test_moviechat_accounts_for_every_second_until_it_forgets(sizes: list[int], carry_over: bool) -> None:
    options = {"carry_over": carry_over}
    bounds = {"working_max_frames": 6, "working_min_frames": 3, "max_elements": 200}
    memory = filled(MemoryConfig(**bounds, policy="moviechat", policy_options=options), sizes)
    spans = torch.cat([memory.long_term.elements.span_seconds, memory.working.elements.span_seconds]).tolist()
    assert [0.0] + [end for _, end in spans] == [start for start, _ in spans] + [float(sum(sizes))]


def test_state_says_what_each_store_holds() -> None:
    bounds = {"sensory_seconds": 2, "working_max_frames": 4, "working_min_frames": 2}
    memory = filled(MemoryConfig(**bounds, policy="moviechat"), [5])
    state = memory.state()
    assert (state.sensory.num_elements, state.sensory.bound, state.sensory.unit) == (2, 2, "seconds")
    assert (state.working.oldest_seconds, state.working.newest_seconds) == (3.0, 5.0)
    assert (state.long_term.num_elements, state.long_term.num_tokens) == (2, 2 * NUM_TOKENS)
    assert state.num_bytes == 6 * frames(1).num_bytes
    assert state.working.num_reserved_bytes >= state.working.num_bytes
    empty = Memory().state()
    assert empty.num_bytes == 0 and empty.working.oldest_seconds is None


def test_a_readout_returns_the_frame_that_the_query_is_like() -> None:
    memory = filled(MemoryConfig(working_max_frames=6, working_min_frames=3), [12])
    elements = Elements.cat([memory.long_term.elements, memory.working.elements])
    for place in (0, len(elements) - 1):
        readout = memory.read(elements.key[place : place + 1])
        assert int(readout.usage.argmax()) == place
        (element,) = memory.elements_at(torch.tensor([place]))
        assert same(element, Elements.cat([memory.long_term.elements, memory.working.elements])[place : place + 1])
    assert readout.num_long_term == len(memory.long_term)
    assert torch.equal(readout.span_seconds, elements.span_seconds)
    assert len(memory.elements_at(torch.tensor([], dtype=torch.int64))) == 0


def test_a_global_read_leaves_working_memory_out_once_there_is_long_term_memory() -> None:
    options = {"read": "global"}
    config = MemoryConfig(working_max_frames=4, working_min_frames=2, policy="moviechat", policy_options=options)
    assert len(filled(config, [4]).read(frames(1).key).usage) == 4
    memory = filled(config, [5])
    assert len(memory.read(frames(1).key).usage) == len(memory.long_term) == 2
    assert memory.working.elements.life.tolist() == [0.0, 0.0]


def test_touched_spans_share_one_read_among_the_elements_they_overlap() -> None:
    memory = filled(MemoryConfig(working_max_frames=4, working_min_frames=4), [4])
    memory.touch(torch.tensor([[0.5, 1.5], [3.0, 3.0], [2.0, 3.0]]))
    assert memory.working.elements.usage.tolist() == [0.5, 0.5, 1.0, 0.0]
    assert memory.working.elements.life.tolist() == [3.0] * 4


def test_what_is_read_often_is_remembered_by_xmem() -> None:
    options = {"num_prototypes": 1, "reads_on_write": False}
    config = MemoryConfig(
        working_max_frames=4, working_min_frames=1, max_elements=3, policy="xmem", policy_options=options
    )
    memory = Memory(config)
    for first in range(40):
        memory.write(frames(1, first=first))
        memory.touch(torch.tensor([[2.0, 3.0]]))
    assert [2.0, 3.0] in memory.long_term.elements.span_seconds.tolist()


def test_new_frames_read_the_ones_before_them() -> None:
    memory = Memory(MemoryConfig(policy="xmem", working_max_frames=4, working_min_frames=2))
    memory.write(frames(3))
    assert memory.working.elements.life.tolist() == [2.0, 1.0, 0.0]
    torch.testing.assert_close(memory.working.elements.usage.sum(), torch.tensor(2.0))


def test_time_that_runs_backwards_is_refused_and_leaves_memory_as_it_was() -> None:
    memory = filled(MemoryConfig(), [5])
    before = memory.state_dict()
    for bad in (frames(1, first=2), frames(3, first=5)[torch.tensor([1, 0, 2])]):
        with pytest.raises(ValueError, match="time runs forward only"):
            memory.write(bad)
    broken = frames(1, first=6)
    broken.span_seconds[0, 1] = torch.nan
    with pytest.raises(ValueError, match="time runs forward only"):
        memory.write(broken)
    assert all(torch.equal(tensor, memory.state_dict()[name]) for name, tensor in before.items())


@pytest.mark.parametrize("part", ["key", "value"])
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_refused_and_leave_memory_as_it_was(part: str, number: float) -> None:
    memory = filled(MemoryConfig(), [5])
    before = memory.state_dict()
    some = frames(3, first=5)
    getattr(some, part)[1].view(-1)[0] = number
    with pytest.raises(ValueError, match="frame 1 of 3 has an embedding or tokens that are NaN or infinite"):
        memory.write(some)
    assert all(torch.equal(tensor, memory.state_dict()[name]) for name, tensor in before.items())
    huge = frames(1, first=5)
    huge.value.fill_(3e38)
    memory.write(huge)
    assert len(memory) == 6


def test_uniform_keeps_every_nth_frame_from_the_first_one_on() -> None:
    options = {"working_max_frames": 3, "working_min_frames": 2, "max_elements": 5, "policy": "uniform"}
    memory = filled(MemoryConfig(**options), [7])
    assert memory.long_term.elements.span_seconds[:, 0].tolist() == [0, 1, 2, 3]
    memory.write(frames(1, first=7))
    assert memory.long_term.elements.span_seconds[:, 0].tolist() == [0, 2, 4]
    memory.write(frames(30, first=8))
    assert memory.long_term.elements.span_seconds[:, 0].tolist() == [0, 8, 16, 24, 32]


def test_a_reservoir_keeps_every_frame_as_likely_as_any_other() -> None:
    kept = torch.zeros(60)
    for seed in range(200):
        options = {"seed": seed}
        memory = filled(
            MemoryConfig(
                working_max_frames=2, working_min_frames=1, max_elements=12, policy="reservoir", policy_options=options
            ),
            [61],
        )
        starts = memory.long_term.elements.span_seconds[:, 0].long()
        assert len(starts) == 12
        kept[starts] += 1
    share = kept / 200  # 0.2 each; the standard deviation of one is 0.028
    assert float((share - 0.2).abs().max()) < 0.12 and abs(float(share[:30].mean()) - 0.2) < 0.02


def test_frames_of_another_encoder_are_refused() -> None:
    memory = filled(MemoryConfig(), [2])
    other = Elements.fresh(torch.ones(1, KEY_DIM + 1), torch.ones(1, 4, 3), torch.tensor([[7.0, 8.0]]))
    with pytest.raises(ValueError, match=r"keys \(7,\) and tokens \(4, 3\), this memory has \(6,\)"):
        memory.write(other)


def test_queries_are_checked() -> None:
    with pytest.raises(ValueError, match="empty"):
        Memory().read(torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"\(Q, 6\)"):
        filled(MemoryConfig(), [1]).read(torch.ones(6))


def test_a_state_that_is_not_whole_or_too_large_is_refused() -> None:
    config = MemoryConfig(working_max_frames=6, working_min_frames=3)
    state = filled(config, [6]).state_dict()
    with pytest.raises(ValueError, match="holds 6 working frames, these settings allow 4"):
        Memory.from_state_dict(MemoryConfig(working_max_frames=4, working_min_frames=3), state)
    del state["working.usage"]
    with pytest.raises(ValueError, match="lacks working.usage"):
        Memory.from_state_dict(config, state)


def test_settings_are_checked() -> None:
    for field, value in (("sensory_seconds", 0), ("working_min_frames", 33), ("max_elements", 0)):
        with pytest.raises(ValueError, match=field):
            MemoryConfig(**{field: value})


def test_memory_written_in_inference_mode_is_read_outside() -> None:
    memory = Memory()
    with torch.inference_mode():
        memory.write(frames(40))
    memory.read(frames(1).key)
    memory.write(frames(3, first=40))
    assert len(memory.working) <= 32
