from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from layered import DIM, LAYOUT, ROTARY, Toy, frames, tokens
from torch import Tensor

from vidmem.kv.asking import LayerRecall, QuestionScores
from vidmem.kv.attention import Window, late_attend
from vidmem.kv.block import Block
from vidmem.kv.context import ContextAttention, RamBlocks, align, assemble, assemble_layer
from vidmem.kv.recall import Budget, block_scores, choose, fuse, ranking, top_groups
from vidmem.kv.representatives import Representatives
from vidmem.kv.rope import grid_positions, text_positions
from vidmem.kv.tokens import join
from vidmem.kv.writer import StreamWriter
from vidmem.types import Span


def block(num: int, start: float, seed: int = 0) -> Block:
    keys, values = torch.randn(2, LAYOUT.num_layers, LAYOUT.num_kv_heads, num, DIM, generator=torch.manual_seed(seed))
    return Block(keys, values, text_positions(num, 1), Span(start, start + 1))


def memory(sizes: list[int], num_opening: int = 3) -> tuple[Toy, StreamWriter, RamBlocks, Representatives]:
    model = Toy()
    writer = StreamWriter(model, LAYOUT, ROTARY, tokens(num_opening))
    store, representatives = RamBlocks(), Representatives(LAYOUT)
    for written in writer.write(frames(sizes)):
        store.append(written)
        representatives.append(written)
    return model, writer, store, representatives


def test_a_context_is_in_order_without_gaps() -> None:
    opening, gist, early, late, new = block(2, 0), block(1, 0, 1), block(3, 4, 2), block(2, 9, 3), block(2, 11, 4)
    context = assemble(opening, gist=[gist], retrieved=[late, early], working=[new])
    assert context.num_tokens == 10 and context.next == 10
    for index, layer in enumerate(context.layers):
        assert layer.positions.tolist() == [list(range(10))]
        want = [part.keys[index] for part in (opening, gist, early, late, new)]
        assert torch.equal(layer.key, torch.cat(want, dim=1))


def test_pictures_keep_their_grid_where_they_stand() -> None:
    opening, picture = block(2, 0), block(6, 1)
    opening = Block(opening.keys, opening.values, text_positions(2, 3), opening.span)
    picture = Block(picture.keys, picture.values, grid_positions(2, 3), picture.span)
    context = assemble(opening, retrieved=[picture])
    assert context.next == 5
    assert context.layers[0].positions.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2], [0, 1, 2, 2, 2, 3, 3, 3], [0, 1, 2, 3, 4, 2, 3, 4],
    ]  # fmt: skip


def test_a_context_copies_what_it_is_made_of() -> None:
    opening, retrieved = block(2, 0), block(2, 1)
    context = assemble(opening, retrieved=[retrieved])
    before = context.layers[0].key.clone()
    opening.keys.zero_(), retrieved.keys.zero_()
    assert torch.equal(context.layers[0].key, before)


def test_what_does_not_belong_together_is_refused() -> None:
    opening, other = block(2, 0), block(2, 3)
    with pytest.raises(ValueError, match="may stand in a context once"):
        assemble(opening, retrieved=[other], working=[other])
    half = Block(other.keys.half(), other.values.half(), other.positions, other.span)
    with pytest.raises(ValueError, match="float16"):
        assemble(opening, retrieved=[half])
    fewer = Block(other.keys[:1], other.values[:1], other.positions, other.span)
    with pytest.raises(ValueError, match="does not go with"):
        assemble(opening, retrieved=[fewer])


def test_blocks_in_ram_are_found_by_id_and_nothing_else() -> None:
    store, blocks = RamBlocks(), [block(1, index) for index in range(3)]
    assert [store.append(each) for each in blocks] == [0, 1, 2]
    assert store.fetch([2, 0]) == [blocks[2], blocks[0]]
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match=r"\[0, 3\)"):
            store.fetch([wrong])


class Plain:
    """A forward with nothing before it: causal attention at positions from 0."""

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        return late_attend(query, key, value, ROTARY.tables(text_positions(key.shape[1], 1)), scale=scale)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 4))
def test_asking_everything_is_one_pass_over_stream_and_question(sizes: list[int], num_question: int) -> None:
    model, writer, store, _ = memory(sizes)
    question = tokens(num_question, seed=7)
    context = assemble(writer.opening, retrieved=store.fetch(range(len(store))))
    got = model.run(question, ContextAttention(context, ROTARY, question.positions))
    want = model.run(join([tokens(3), *(frame.tokens for frame in frames(sizes)), question]), Plain())
    torch.testing.assert_close(got, want[-num_question:], atol=2e-5, rtol=0)


@given(st.lists(st.sets(st.integers(0, 4)), min_size=3, max_size=3))
def test_layers_of_unequal_length_are_each_asked_as_if_alone(chosen: list[set[int]]) -> None:
    model, writer, store, _ = memory([2, 3, 1, 4, 2])
    layers = [assemble_layer(writer.opening, store.fetch(sorted(ids)), index) for index, ids in enumerate(chosen)]
    context = align(layers)
    assert all(int(layer.positions.max()) + 1 == context.next for layer in context.layers)
    question = tokens(3, seed=8)

    class Alone:
        def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
            layer = layers[layer_index]
            keys, values = torch.cat((layer.key, key), 1), torch.cat((layer.value, value), 1)
            tables = ROTARY.tables(text_positions(keys.shape[1], 1))
            return late_attend(query, keys, values, tables, scale=scale)

    got = model.run(question, ContextAttention(context, ROTARY, question.positions))
    torch.testing.assert_close(got, model.run(question, Alone()), atol=2e-5, rtol=0)


def test_a_window_that_covers_the_context_changes_nothing() -> None:
    model, writer, store, _ = memory([3, 3])
    context, question = assemble(writer.opening, retrieved=store.fetch([0, 1])), tokens(3, seed=8)
    plain, wide, narrow = (
        model.run(question, ContextAttention(context, ROTARY, question.positions, window=window))
        for window in (None, Window(12, 3), Window(4, 3))
    )
    torch.testing.assert_close(plain, wide, atol=1e-6, rtol=0)
    assert float((plain - narrow).abs().max()) > 1e-3


def test_every_layer_recalls_what_its_own_queries_ask_for() -> None:
    model, writer, store, representatives = memory([2, 3, 1, 4, 2, 2])
    question = tokens(4, seed=9)
    recall = LayerRecall(
        writer.opening, store, representatives, ROTARY, question.positions, partial(top_groups, top_k=2)
    )
    queries: list[Tensor] = []

    class Listening:
        def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
            queries.append(query)
            return recall.attend(layer_index, query, key, value, scale=scale)

    model.run(question, Listening())
    for index, query in enumerate(queries):
        scores = block_scores(representatives.of_layer(index), query)
        assert recall.chosen[index] == sorted(ranking(scores, 2))
    assert len({tuple(ids) for ids in recall.chosen}) > 1  # or sharing a choice would have passed too
    for index, layer in enumerate(recall.context().layers):
        want = [writer.opening, *store.fetch(recall.chosen[index])]
        assert torch.equal(layer.key, torch.cat([part.keys[index] for part in want], dim=1))


def test_a_block_is_fetched_once_a_question() -> None:
    model, writer, store, representatives = memory([2, 3, 1, 4])
    fetched: list[int] = []

    class Counting(RamBlocks):
        def append(self, block: Block) -> int:
            return store.append(block)

        def fetch(self, block_ids: list[int]) -> list[Block]:  # type: ignore[override]
            fetched.extend(block_ids)
            return store.fetch(block_ids)

    question = tokens(4, seed=9)
    every = partial(top_groups, top_k=4)
    model.run(question, LayerRecall(writer.opening, Counting(), representatives, ROTARY, question.positions, every))
    assert sorted(fetched) == [0, 1, 2, 3]


def test_scores_of_all_layers_make_one_shared_choice() -> None:
    model, writer, store, representatives = memory([2] * 8)
    question, context = tokens(4, seed=9), assemble(writer.opening)
    asking = QuestionScores(context, representatives, ROTARY, question.positions)
    looked = model.run(question, asking)
    assert torch.equal(looked, model.run(question, ContextAttention(context, ROTARY, question.positions)))
    assert len(asking.scores) == LAYOUT.num_layers
    order = asking.ranking(limit=5)
    assert order == fuse(ranking(scores, 5) for scores in asking.scores)
    external = [7, 0]
    chosen = choose(fuse([order, external]), representatives.block_tokens, Budget(6))
    assert len(chosen) == 3 and chosen == sorted(chosen)
    assert assemble(writer.opening, retrieved=store.fetch(chosen)).num_tokens == 3 + 6
