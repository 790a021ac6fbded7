from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from layered import DIM, HEADS, LAYOUT, ROTARY, Toy, frames, tokens
from torch import Tensor

from vidmem.kv.attention import Window
from vidmem.kv.block import Block
from vidmem.kv.rope import rotate, text_positions
from vidmem.kv.slab import Slab
from vidmem.kv.tokens import FrameTokens, Tokens, join
from vidmem.kv.writer import StreamWriter

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=9)


def written(writer: StreamWriter, all_frames: list[FrameTokens], cuts: list[int]) -> list[Block]:
    blocks, begin = [], 0
    for end in [*sorted({cut % (len(all_frames) + 1) for cut in cuts}), len(all_frames)]:
        blocks += writer.write(all_frames[begin:end])
        begin = end
    return blocks


class Slow:
    """Attention of a whole stream at once, a softmax a query, as spec/rekv.md has it: the oracle of the writer."""

    def __init__(self, num_opening: int, sizes: list[int], window: Window | None) -> None:
        bounds = torch.tensor([num_opening, *sizes]).cumsum(0).tolist()
        self.ends = [end for end, size in zip(bounds, [num_opening, *sizes], strict=True) for _ in range(size)]
        self.window, self.raw = window, list[tuple[Tensor, Tensor]]()

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        self.raw.append((key, value))
        num = key.shape[1]
        size = self.window.size if self.window else math.inf
        turned_query, turned_key = (rotate(x, *ROTARY.tables(text_positions(num, 1))) for x in (query, key))
        far_query = rotate(query, *ROTARY.tables(torch.tensor([[self.window.size - 1 if self.window else 0]])))
        out = torch.empty_like(query)
        for head in range(HEADS):
            group = head // (HEADS // LAYOUT.num_kv_heads)
            for row in range(num):
                near = [index for index in range(row + 1) if row - index < size]
                logits = [turned_query[head, row] @ turned_key[group, index] for index in near]
                seen = list(near)
                if self.window:
                    far = range(min(max(self.ends[row] - self.window.size, 0), self.window.num_initial))
                    logits += [far_query[head, row] @ key[group, index] for index in far]
                    seen += far
                out[head, row] = torch.stack(logits).mul(scale).softmax(0) @ value[group, seen]
        return out


@settings(max_examples=40)
@example(
    4, [5, 5, 5, 1, 1, 1, 1, 1, 1], [], 16, True
)  # a run of five frames, each of which sees one initial token more
@given(st.integers(1, 4), SIZES, st.lists(st.integers(0, 9), max_size=3), st.none() | st.integers(0, 24), st.booleans())
def test_clips_are_one_pass_over_the_stream(
    num_opening: int, sizes: list[int], cuts: list[int], window_size: int | None, keeps_initial: bool
) -> None:
    window = Window(num_opening + window_size, num_opening if keeps_initial else 0) if window_size is not None else None
    model, opening, all_frames = Toy(), tokens(num_opening), frames(sizes)
    writer = StreamWriter(model, LAYOUT, ROTARY, opening, window=window)
    blocks = [writer.opening, *written(writer, all_frames, cuts)]
    slow = Slow(num_opening, sizes, window)
    model.run(join([opening, *(frame.tokens for frame in all_frames)]), slow)
    assert [len(block) for block in blocks] == [num_opening, *sizes]
    assert writer.num_tokens == num_opening + sum(sizes)
    for layer_index, (key, value) in enumerate(slow.raw):
        ours = torch.cat([block.keys[layer_index] for block in blocks], dim=1)
        torch.testing.assert_close(ours, key, atol=1e-5, rtol=0)
        ours = torch.cat([block.values[layer_index] for block in blocks], dim=1)
        torch.testing.assert_close(ours, value, atol=1e-5, rtol=0)


def test_a_window_bounds_memory_however_long_the_stream_is() -> None:
    writer = StreamWriter(Toy(), LAYOUT, ROTARY, tokens(3), window=Window(12, 3))
    held = []
    for clip in range(40):
        writer.write(frames([4, 4], first=2 * clip))
        held.append(writer.num_bytes)
    assert writer.num_tokens == 3 + 40 * 8
    assert len(set(held[3:])) == 1
    assert held[-1] <= 2 * (12 + 8) * LAYOUT.bytes_per_token(4)


def test_blocks_share_no_memory_with_the_stream() -> None:
    all_frames = frames([3, 3])
    quiet, loud = (StreamWriter(Toy(), LAYOUT, ROTARY, tokens(2)) for _ in range(2))
    (first,) = loud.write(all_frames[:1])
    first.keys.zero_(), first.values.zero_()
    loud.opening.keys.zero_()
    want = written(quiet, all_frames, [1])[1]
    (got,) = loud.write(all_frames[1:])
    assert torch.equal(got.keys, want.keys)


@pytest.mark.parametrize("layer_index", range(LAYOUT.num_layers))
@pytest.mark.parametrize("window", [None, Window(6, 2)])
def test_a_clip_that_fails_leaves_the_stream_as_it_was(layer_index: int, window: Window | None) -> None:
    model, quiet_model = Toy(), Toy()
    writer, quiet = (StreamWriter(m, LAYOUT, ROTARY, tokens(2), window=window) for m in (model, quiet_model))
    for clip in range(4):
        model.fail_at = layer_index
        with pytest.raises(RuntimeError):
            writer.write(frames([9, 9], first=50))
        model.fail_at = None
        got, want = (one.write(frames([3, 2], first=2 * clip)) for one in (writer, quiet))
        for mine, theirs in zip(got, want, strict=True):
            torch.testing.assert_close(mine.keys, theirs.keys, atol=1e-6, rtol=0)
            assert torch.equal(mine.positions, theirs.positions)
    assert writer.num_tokens == quiet.num_tokens


def test_an_empty_clip_is_nothing() -> None:
    writer = StreamWriter(Toy(), LAYOUT, ROTARY, tokens(2))
    assert writer.write([]) == [] and writer.num_tokens == 2


def test_a_stream_without_opening_or_with_too_few_initial_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        StreamWriter(Toy(), LAYOUT, ROTARY, tokens(0))
    with pytest.raises(ValueError, match="more initial tokens than the 2"):
        StreamWriter(Toy(), LAYOUT, ROTARY, tokens(2), window=Window(4, 3))
    with pytest.raises(ValueError, match="smaller than the opening of 2"):
        StreamWriter(Toy(), LAYOUT, ROTARY, tokens(2), window=Window(1))


@given(st.none() | st.integers(1, 6), st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=12))
def test_the_slab_holds_what_a_list_would(window_size: int | None, steps: list[tuple[int, bool]]) -> None:
    slab = Slab(LAYOUT, window_size=window_size, device="cpu", dtype=torch.float32)
    shape = LAYOUT.num_layers, LAYOUT.num_kv_heads, 0, DIM
    whole = torch.empty(shape)
    for step, (num, is_committed) in enumerate(steps):
        new = torch.randn(*shape[:2], num, DIM, generator=torch.manual_seed(step))
        slab.reserve(torch.arange(slab.end, slab.end + num)[None])
        for layer_index in range(LAYOUT.num_layers):
            slab.put(layer_index, new[layer_index], -new[layer_index])
        if is_committed:
            slab.commit()
            whole = torch.cat((whole, new), dim=2)
        begin = max(slab.end - window_size, 0) if window_size else 0
        assert slab.start <= begin and slab.end == whole.shape[2]
        keys, values = slab.copy(begin, slab.end)
        assert torch.equal(keys, whole[:, :, begin:]) and torch.equal(values, -whole[:, :, begin:])
        assert torch.equal(slab.read(1, begin, slab.end)[0], whole[1, :, begin:])
        assert slab.positions(begin, slab.end).flatten().tolist() == list(range(begin, slab.end))


def test_tokens_join_as_they_stand() -> None:
    picture = Tokens(
        torch.ones(4, 6), torch.tensor([[0] * 4, [0, 0, 1, 1], [0, 1, 0, 1]]), torch.ones(4, dtype=torch.bool),
        deepstack=torch.arange(8.0).view(2, 4, 1).expand(2, 4, 6),
    )  # fmt: skip
    text = Tokens(torch.zeros(3, 6), text_positions(3, 3), torch.zeros(3, dtype=torch.bool))
    whole = join([text, picture, text, picture])
    assert whole.positions[0].tolist() == [0, 1, 2, 3, 3, 3, 3, 5, 6, 7, 8, 8, 8, 8]
    assert whole.positions[2].tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 6, 7, 8, 9, 8, 9]
    assert whole.is_visual.tolist() == [False] * 3 + [True] * 4 + [False] * 3 + [True] * 4
    assert whole.deepstack is not None and whole.deepstack[:, :, 0].tolist() == [[0, 1, 2, 3] * 2, [4, 5, 6, 7] * 2]
    assert join([text, text]).deepstack is None


@settings(max_examples=40)
@example(2, [5] * 9, 8, 6, 0)  # what goes on stands far behind the window's front
@given(st.integers(1, 4), SIZES, st.none() | st.integers(0, 12), st.integers(0, 9), st.integers(0, 3))
def test_a_writer_goes_on_where_another_was_killed(
    num_opening: int, sizes: list[int], window_size: int | None, cut: int, spare: int
) -> None:
    """From the blocks that reach back as far as the window, or a few more, and the number of all tokens."""
    window = Window(num_opening + window_size, num_opening) if window_size is not None else None
    model, opening, all_frames = Toy(), tokens(num_opening), frames(sizes)
    cut %= len(sizes) + 1
    whole = StreamWriter(model, LAYOUT, ROTARY, opening, window=window)
    blocks = [*whole.write(all_frames[:cut]), *whole.write(all_frames[cut:])]
    first = cut
    while first and (window is None or sum(map(len, blocks[first:cut])) < window.size):
        first -= 1
    first = max(0, first - spare)
    resumed = StreamWriter(model, LAYOUT, ROTARY, opening, window=window)
    resumed.resume(blocks[first:cut], sum(sizes[:cut]))
    for ours, theirs in zip(resumed.write(all_frames[cut:]), blocks[cut:], strict=True):
        torch.testing.assert_close(ours.keys, theirs.keys, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.values, theirs.values, atol=1e-5, rtol=0)
    assert resumed.num_tokens == whole.num_tokens


def test_too_few_blocks_do_not_fill_a_window() -> None:
    writer = StreamWriter(Toy(), LAYOUT, ROTARY, tokens(2), window=Window(9, 2))
    blocks = writer.write(frames([4] * 5))
    resumed = StreamWriter(Toy(), LAYOUT, ROTARY, tokens(2), window=Window(9, 2))
    with pytest.raises(ValueError, match="8 tokens don't fill a window that reaches back 9"):
        resumed.resume(blocks[-2:], 20)
