"""What must hold of every policy: no frame is lost on the way, order where it must not matter, inputs of every kind."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory import Elements, Memory, MemoryConfig
from vidmem.memory.policies import _KINDS

from .samples import KEY_DIM, NUM_TOKENS, POLICIES, TOKEN_DIM, clip_sizes, configs, filled, frames

NUM_FRAMES = 40

IN_FULL = [
    (name, options, level)
    for name, options in POLICIES
    for level in {"hermes": (0, 1), "event": (1,)}.get(name, (0,))
    if name in ("hermes", "infinity-video", "flash-vstream", "videostreaming", "event", "mc-vit")
    and (level == 0 or name == "event" or "semantic_share" in options)
    and options.get("method", "kmeans") == "kmeans"
    and options.get("samples", "mean") == "mean"
]
"""Those that average, and forget nothing, with the level of memory that tells of every frame."""


def config_of(name: str, options: dict[str, object], max_elements: int = 12) -> MemoryConfig:
    return MemoryConfig(4.0, 5, 2, max_elements, name, options)


def changed(some: Elements, *, key: torch.Tensor | None = None, value: torch.Tensor | None = None) -> Elements:
    """The same frames with other keys and values."""
    return Elements.fresh(some.key if key is None else key, some.value if value is None else value, some.span_seconds)


def all_held(memory: Memory) -> list[Elements]:
    return [memory.sensory.elements, memory.working.elements, *memory.long_term.held]


def test_every_policy_is_tried_here() -> None:
    assert {name for name, _ in POLICIES} == {kind.name for kind in _KINDS}


@given(st.sampled_from(IN_FULL), clip_sizes.filter(sum), st.integers(8, 20))
def test_averages_weigh_as_many_frames_as_were_averaged(
    policy: tuple[str, dict[str, object], int], sizes: list[int], max_elements: int
) -> None:
    name, options, level = policy
    memory = filled(config_of(name, options, max_elements), sizes)
    weight = memory.long_term.held[level].weight.sum(0) + len(memory.working)
    torch.testing.assert_close(weight, torch.full_like(weight, float(sum(sizes))))


@given(st.sampled_from(POLICIES[:3]), clip_sizes.filter(sum))
def test_averages_weigh_as_many_frames_as_were_averaged_until_they_are_forgotten(
    policy: tuple[str, dict[str, object]], sizes: list[int]
) -> None:
    memory = filled(config_of(*policy, max_elements=200), sizes)
    weights = [memory.working.elements.weight, memory.long_term.elements.weight]
    assert torch.cat(weights).sum(0).tolist() == [sum(sizes)] * NUM_TOKENS


# Others go by nearness to a mean (the same, of two frames), by lots or by what was read: there rounding decides.
without_ties = configs().filter(
    lambda config: config.policy not in ("em", "flash-vstream", "infinity-video", "mc-vit", "xmem")
)


@given(without_ties, clip_sizes.filter(sum), st.permutations(range(KEY_DIM)), st.permutations(range(TOKEN_DIM)))
def test_the_order_of_channels_makes_no_difference(
    config: MemoryConfig, sizes: list[int], of_key: list[int], of_value: list[int]
) -> None:
    some = frames(sum(sizes))
    memory, other = Memory(config), Memory(config)
    memory.write(some)
    other.write(changed(some, key=some.key[:, of_key], value=some.value[..., of_value]))
    for held, shuffled in zip(all_held(memory), all_held(other), strict=True):
        assert torch.equal(held.span_seconds, shuffled.span_seconds)
        torch.testing.assert_close(held.key[:, of_key], shuffled.key, atol=1e-4, rtol=0)
        torch.testing.assert_close(held.value[..., of_value], shuffled.value, atol=1e-4, rtol=0)
        torch.testing.assert_close(held.usage, shuffled.usage, atol=1e-4, rtol=0)


@given(configs(), clip_sizes.filter(sum), st.permutations(range(NUM_TOKENS)))
def test_the_order_of_tokens_makes_no_difference_where_all_are_kept(
    config: MemoryConfig, sizes: list[int], order: list[int]
) -> None:
    some = frames(sum(sizes))
    memory, other = Memory(config), Memory(config)
    memory.write(some)
    other.write(changed(some, value=some.value[:, order]))
    if any(level.num_tokens != NUM_TOKENS for level in memory.long_term.levels):
        return  # what is made coarser is a grid
    for held, shuffled in zip(all_held(memory), all_held(other), strict=True):
        assert torch.equal(held.span_seconds, shuffled.span_seconds)
        torch.testing.assert_close(held.value[:, order], shuffled.value, atol=1e-4, rtol=0)
        torch.testing.assert_close(held.weight[:, order], shuffled.weight)


@given(configs(), clip_sizes.filter(sum), st.permutations(range(3)))
def test_the_order_of_queries_makes_no_difference(config: MemoryConfig, sizes: list[int], order: list[int]) -> None:
    memory, other = filled(config, sizes), filled(config, sizes)
    query = frames(3, seed=1).key
    readout, shuffled = memory.read(query), other.read(query[order])
    torch.testing.assert_close(readout.affinity[:, order], shuffled.affinity)
    torch.testing.assert_close(readout.value[order], shuffled.value)
    for held, same_held in zip(all_held(memory), all_held(other), strict=True):
        torch.testing.assert_close(held.usage, same_held.usage)


@given(configs(), clip_sizes.filter(sum))
def test_a_read_makes_no_difference_to_the_next_and_nothing_changes_nothing(
    config: MemoryConfig, sizes: list[int]
) -> None:
    memory = filled(config, sizes)
    query = frames(2, seed=1).key
    first, again = memory.read(query), memory.read(query)
    assert torch.equal(first.value, again.value) and torch.equal(first.affinity, again.affinity)
    before = memory.state_dict()
    memory.write(frames(0))
    memory.touch(torch.empty(0, 2, dtype=torch.float64))
    assert memory.read(query[:0]).value.shape == (0, NUM_TOKENS, TOKEN_DIM)
    restored = Memory.from_state_dict(config, before)
    for state in (memory.state_dict(), restored.state_dict()):
        assert all(torch.equal(tensor, state[name]) for name, tensor in before.items() if tensor.numel())


def some_of(kind: str) -> Elements:
    some = frames(NUM_FRAMES)
    if kind == "single":
        return some[:1]
    if kind == "zeros":
        return changed(some, key=torch.zeros_like(some.key), value=torch.zeros_like(some.value))
    if kind == "all equal":
        return changed(some, key=some.key[:1].expand_as(some.key), value=some.value[:1, :1].expand_as(some.value))
    place = [frame // 3 for frame in range(NUM_FRAMES)]
    return changed(some, key=some.key[place], value=some.value[place])


@pytest.mark.parametrize("kind", ["single", "all equal", "copies", "zeros"])
@pytest.mark.parametrize(("name", "options"), POLICIES)
def test_frames_without_a_difference_are_kept_and_read(name: str, options: dict[str, object], kind: str) -> None:
    some, memory = some_of(kind), Memory(config_of(name, options))
    for first in range(0, len(some), 3):
        memory.write(some[first : first + 3])
        readout = memory.read(torch.cat([some.key[:1], torch.zeros(1, KEY_DIM)]))
        torch.testing.assert_close(readout.affinity.sum(0), torch.ones(2))
        if kind != "copies":  # a mean of what is equal is equal to it
            torch.testing.assert_close(readout.value, some.value[:1].expand(2, -1, -1))
    for held, level in zip(memory.long_term.held, memory.long_term.levels, strict=True):
        assert len(held) <= level.max_elements
    for tensor in memory.state_dict().values():
        assert bool(tensor.isfinite().all())


@pytest.mark.parametrize(("name", "options"), POLICIES)
def test_what_is_not_finite_is_neither_written_nor_asked(name: str, options: dict[str, object]) -> None:
    memory = filled(config_of(name, options), [20])
    before = memory.state_dict()
    for number in (torch.nan, torch.inf):
        for part in ("key", "value"):
            some = frames(3, first=20)
            getattr(some, part)[1].view(-1)[0] = number
            with pytest.raises(ValueError, match="frame 1 of 3 has an embedding or tokens that are NaN or infinite"):
                memory.write(some)
        query = frames(2, seed=1).key
        query[1, 0] = number
        with pytest.raises(ValueError, match="query 1 of 2 is NaN or infinite"):
            memory.read(query)
    assert all(torch.equal(tensor, memory.state_dict()[name]) for name, tensor in before.items())


@pytest.mark.parametrize(("name", "options"), POLICIES)
def test_half_precision_frames_stay_half_and_are_read_in_float32(name: str, options: dict[str, object]) -> None:
    some, memory = frames(NUM_FRAMES), Memory(config_of(name, options))
    memory.write(changed(some, value=some.value.bfloat16()))
    assert {held.value.dtype for held in all_held(memory)} == {torch.bfloat16}
    assert memory.read(some.key[:1]).value.dtype == torch.float32
