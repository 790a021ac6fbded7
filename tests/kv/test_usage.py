"""Counted attention against softmax in loops, and against the attention that really ran."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from layered import DIM, HEADS, LAYOUT, ROTARY, Toy, frames, tokens
from torch import Tensor

from vidmem.kv.context import Context, ContextAttention, LayerContext, assemble
from vidmem.kv.rope import rotate, text_positions
from vidmem.kv.usage import CountedModel, UsageCounter, Used, attention_received, counted_queries
from vidmem.kv.writer import StreamWriter


def slow_received(query: Tensor, key: Tensor, rows: list[int]) -> list[float]:
    """Of queries and keys that are turned already."""
    num_new, num_keys = query.shape[1], key.shape[1]
    got = [0.0] * num_keys
    for head in range(query.shape[0]):
        for row in rows:
            seen = num_keys - num_new + row + 1
            shared = key[head // (query.shape[0] // key.shape[0])]
            weights = [math.exp(float(query[head, row] @ shared[place]) * DIM**-0.5) for place in range(seen)]
            for place, weight in enumerate(weights):
                got[place] += weight / sum(weights) / query.shape[0]
    return got


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_received_attention_is_the_softmax_of_the_counted_queries(every: int) -> None:
    chance = torch.manual_seed(every)
    query, key = torch.randn(HEADS, 5, DIM, generator=chance), torch.randn(2, 9, DIM, generator=chance)
    tables = ROTARY.tables(text_positions(9, 1))
    got = attention_received(query, key, tables, scale=DIM**-0.5, every=every)
    rows = [row for row in range(5) if (4 - row) % every == 0]
    new = (tables[0][4:], tables[1][4:])
    torch.testing.assert_close(
        got, torch.tensor(slow_received(rotate(query, *new), rotate(key, *tables), rows)), atol=1e-5, rtol=0
    )
    assert float(got.sum()) == pytest.approx(len(rows), abs=1e-5)


@given(st.integers(1, 40), st.integers(1, 50))
def test_the_last_query_is_always_counted(num_queries: int, every: int) -> None:
    counted = counted_queries(num_queries, every).tolist()
    assert counted[-1] == num_queries - 1 and counted[0] < every
    assert all(b - a == every for a, b in zip(counted, counted[1:], strict=False))


def test_values_that_tell_their_place_read_out_what_is_counted() -> None:
    """With one-hot values the attention's own output is the attention that each token received."""
    chance = torch.manual_seed(0)
    num_old, num_new = DIM - 2, 2
    keys = torch.randn(LAYOUT.num_kv_heads, num_old, DIM, generator=chance)
    query = torch.randn(HEADS, num_new, DIM, generator=chance)
    key = torch.randn(LAYOUT.num_kv_heads, num_new, DIM, generator=chance)
    hot = torch.eye(DIM).expand(LAYOUT.num_kv_heads, -1, -1)
    writer = StreamWriter(Toy(), LAYOUT, ROTARY, tokens(num_old))
    block = writer.opening
    block = type(block)(keys.expand_as(block.keys), block.values, block.positions, block.span)
    context = Context((LayerContext(keys, hot[:, :num_old], text_positions(num_old, 1)),), num_old)
    inner = ContextAttention(context, ROTARY, text_positions(num_new, 1))
    counter = UsageCounter(inner, ROTARY, [Used.fresh(block)], text_positions(num_new, 1))
    out = counter.attend(0, query, key, hot[:, num_old:], scale=DIM**-0.5)
    torch.testing.assert_close(counter.received(), out.mean(0).sum(0), atol=1e-5, rtol=0)
    assert torch.equal(out, inner.attend(0, query, key, hot[:, num_old:], scale=DIM**-0.5))


def test_a_stream_that_is_counted_is_the_stream() -> None:
    plain = StreamWriter(Toy(), LAYOUT, ROTARY, tokens(3, seed=9))
    model = CountedModel(Toy(), ROTARY, every=2)
    writer = StreamWriter(model, LAYOUT, ROTARY, tokens(3, seed=9))
    watched = model.watched = [Used.fresh(writer.opening)]
    for first in (0, 2, 4):
        clip = frames([4, 3], first=first)
        blocks = writer.write(clip)
        for block, other in zip(blocks, plain.write(clip), strict=True):
            assert torch.equal(block.keys, other.keys) and torch.equal(block.values, other.values)
        watched += [Used.fresh(block) for block in blocks]
    assert model.watched is watched
    lives = [used.life.unique().tolist() for used in model.watched]
    assert lives == [[12.0], [8.0], [8.0], [4.0], [4.0], [0.0], [0.0]]  # 4 of a clip's 7 tokens are counted
    assert all(bool((used.usage > 0).all()) for used in model.watched[:5])
    assert all(float(used.frequency.max()) <= 1 for used in model.watched)
    assert float(model.watched[-1].frequency.sum()) == 0.0


def test_a_question_counts_too_and_shares_add_up() -> None:
    model = Toy()
    writer = StreamWriter(model, LAYOUT, ROTARY, tokens(3, seed=9))
    blocks = writer.write(frames([4, 3]))
    question = tokens(5, seed=7)
    used = [Used.fresh(block) for block in (writer.opening, *blocks)]
    context = assemble(writer.opening, retrieved=blocks)
    counter = UsageCounter(ContextAttention(context, ROTARY, question.positions), ROTARY, used, question.positions)
    hidden = model.run(question, counter)
    assert torch.equal(hidden, model.run(question, ContextAttention(context, ROTARY, question.positions)))
    assert float(counter.received().sum()) == pytest.approx(5, abs=1e-4)
    once = counter.counted()
    torch.testing.assert_close(torch.cat([part.usage for part in once]), counter.received()[:10])
    again = UsageCounter(ContextAttention(context, ROTARY, question.positions), ROTARY, once, question.positions)
    model.run(question, again)
    twice = again.counted()
    for first, second in zip(once, twice, strict=True):
        torch.testing.assert_close(second.usage, 2 * first.usage)
        torch.testing.assert_close(second.frequency, first.frequency)
