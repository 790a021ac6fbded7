"""XMem's rule on KV against loops, and against XMem's own policy on the same numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.errors import BadInput
from vidmem.kv.block import Block, Layout
from vidmem.kv.consolidate import consolidate, tokens_within
from vidmem.kv.formats import Format
from vidmem.kv.quantise import num_bytes
from vidmem.kv.rope import text_positions
from vidmem.kv.usage import Used
from vidmem.memory.elements import Elements
from vidmem.memory.policies.xmem import XMem
from vidmem.types import Span

LAYERS, HEADS, DIM = 2, 3, 4


def used_blocks(sizes: list[int], *, num_axes: int = 1, seed: int = 0) -> list[Used]:
    chance = torch.manual_seed(seed)
    made = []
    for index, size in enumerate(sizes):
        keys, values = (torch.randn(LAYERS, HEADS, size, DIM, generator=chance) for _ in range(2))
        block = Block(keys, values, text_positions(size, num_axes), Span(index, index + 1))
        made.append(Used(block, torch.rand(size, generator=chance), torch.full((size,), float(len(sizes) - index))))
    return made


def test_a_prototypes_value_is_what_attention_with_its_key_reads() -> None:
    leaving = used_blocks([3, 4, 2])
    gist = consolidate(leaving, 4, sharpness=2.0)
    keys, values = (torch.cat([getattr(used.block, name) for used in leaving], 2) for name in ("keys", "values"))
    frequency = [float(u) / float(n) for used in leaving for u, n in zip(used.usage, used.life, strict=True)]
    chosen = sorted(sorted(range(9), key=lambda place: -frequency[place])[:4])
    assert torch.equal(gist.block.keys, keys[:, :, chosen])
    for layer in range(LAYERS):
        for head in range(HEADS):
            for at, place in enumerate(chosen):
                squares = [
                    float((keys[layer, head, other] - keys[layer, head, place]).square().sum()) for other in range(9)
                ]
                weights = [math.exp(-2.0 * square / math.sqrt(DIM)) for square in squares]
                want = sum(w * values[layer, head, other] for other, w in enumerate(weights)) / sum(weights)
                torch.testing.assert_close(gist.block.values[layer, head, at], want, atol=1e-5, rtol=0)


def test_one_head_is_the_policy_for_frames() -> None:
    """A head of a layer is a memory of XMem's, whose keys are the head's."""
    leaving = used_blocks([4, 3, 5], seed=3)
    gist = consolidate(leaving, 5, sharpness=1.5)
    keys, values = (torch.cat([getattr(used.block, name)[1, 2] for used in leaving]) for name in ("keys", "values"))
    usage, life = (torch.cat([getattr(used, name) for used in leaving]) for name in ("usage", "life"))
    elements = Elements(keys, values[:, None], torch.zeros(12, 2, dtype=torch.float64), usage, life, torch.ones(12, 1))
    policy = XMem(num_prototypes=5, logit_scale=2 * 1.5 / math.sqrt(DIM))
    want = policy.prototypes(elements)
    torch.testing.assert_close(gist.block.keys[1, 2], want.key)
    torch.testing.assert_close(gist.block.values[1, 2], want.value[:, 0], atol=1e-5, rtol=0)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 30), st.sampled_from([1, 3]))
def test_a_gist_is_a_block_within_its_bounds(sizes: list[int], num: int, num_axes: int) -> None:
    leaving = used_blocks(sizes, num_axes=num_axes, seed=sum(sizes))
    gist = consolidate(leaving, num)
    assert len(gist.block) == min(num, sum(sizes))
    assert gist.block.span == Span(0, len(sizes))
    assert torch.equal(gist.block.positions, text_positions(len(gist.block), num_axes))
    assert gist.block.extent == len(gist.block)
    assert len(gist.usage) == len(gist.life) == len(gist.block)
    values = torch.cat([used.block.values for used in leaving], 2)
    assert bool((gist.block.values <= values.amax(2, keepdim=True) + 1e-5).all())
    assert bool((gist.block.values >= values.amin(2, keepdim=True) - 1e-5).all())
    frequency = torch.cat([used.frequency for used in leaving])
    assert float(gist.frequency.min()) >= float(frequency.sort(descending=True).values[len(gist.block) - 1])


def test_what_fits_is_kept_as_it_is() -> None:
    leaving = used_blocks([3, 4])
    gist = consolidate(leaving, 7)
    assert torch.equal(gist.block.keys, torch.cat([used.block.keys for used in leaving], 2))
    assert torch.equal(gist.block.values, torch.cat([used.block.values for used in leaving], 2))


def test_infinite_sharpness_is_choosing_and_great_sharpness_comes_to_it() -> None:
    leaving = used_blocks([6, 6])
    chosen, near = consolidate(leaving, 5, sharpness=math.inf), consolidate(leaving, 5, sharpness=1e4)
    torch.testing.assert_close(chosen.block.values, near.block.values)
    flat = consolidate(leaving, 5, sharpness=0.0)
    everything = torch.cat([used.block.values for used in leaving], 2).mean(2, keepdim=True)
    torch.testing.assert_close(flat.block.values, everything.expand_as(flat.block.values))


def test_the_most_used_tokens_live_through_many_consolidations() -> None:
    leaving = used_blocks([4, 4])
    leaving[0].usage[2] = 100.0
    wanted = leaving[0].block.keys[:, :, 2].clone()
    gist = consolidate(leaving, 3)
    for seed in range(5):
        newer = used_blocks([4, 4], seed=10 + seed)
        gist = consolidate([gist, *newer], 3)
    assert torch.equal(gist.block.keys[:, :, 0], wanted)
    assert len(gist.block) == 3 and float(gist.usage[0]) == 100.0


def test_half_precision_stays_half_precision() -> None:
    used = used_blocks([8])[0]
    block = used.block
    half = Used(
        Block(block.keys.bfloat16(), block.values.bfloat16(), block.positions, block.span), used.usage, used.life
    )
    gist = consolidate([half], 3)
    assert gist.block.values.dtype == torch.bfloat16
    exact = consolidate([used], 3)
    torch.testing.assert_close(gist.block.values.float(), exact.block.values, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("format", ["none", "int8", "int4", "int2", "kivi2"])
@given(budget=st.integers(1, 400_000))
def test_a_byte_budget_is_used_up(format: Format, budget: int) -> None:
    layout = Layout(num_layers=2, num_kv_heads=3, head_dim=32)

    def size(tokens: int) -> int:
        return num_bytes(format, layout, tokens, torch.bfloat16)

    if size(1) > budget:
        with pytest.raises(BadInput, match=f"at least {size(1)}"):
            tokens_within(budget, format, layout, torch.bfloat16)
        return
    tokens = tokens_within(budget, format, layout, torch.bfloat16)
    assert size(tokens) <= budget < size(tokens + 1)


def test_a_gist_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one of each"):
        consolidate([], 3)
    with pytest.raises(ValueError, match="at least one of each"):
        consolidate(used_blocks([2]), 0)
