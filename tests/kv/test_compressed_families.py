"""Compressed, quantised and consolidated blocks of all four families: contexts that a model answers from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vidmem.bench.family_kit import QUESTION, UNEVEN, Case, case_of
from vidmem.bench.random_families import FAMILIES
from vidmem.kv.block import Block
from vidmem.kv.compress import Compression, Seen, compress
from vidmem.kv.consolidate import consolidate, tokens_within
from vidmem.kv.context import ContextAttention, assemble
from vidmem.kv.formats import Format
from vidmem.kv.packing import pack, unpack
from vidmem.kv.quantise import num_bytes
from vidmem.kv.records import BlockId
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.kv.usage import CountedModel, UsageCounter, Used
from vidmem.kv.writer import StreamWriter
from vidmem.models.kv_dialogue import Dialogue

FORMATS: tuple[Format, ...] = ("none", "int8", "int4", "int2", "kivi2")
WORST_ERROR = {"none": 0.0, "int8": 0.005, "int4": 0.07, "int2": 0.5, "kivi2": 0.5}
"""Of a number, relative to the largest of its tensor: half a step of a group that spans twice that."""


@pytest.fixture(params=FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    return case_of(request.param)


def seen_stream(case: Case, writer: StreamWriter, num: int, seed: int = 20) -> list[Seen]:
    images, spans = case.footage(num, seed=seed)
    frames = case.family.frames(images, spans)
    return [Seen(block, frame.tokens.is_visual) for block, frame in zip(writer.write(frames), frames, strict=True)]


def through(block: Block, format: Format, case: Case) -> Block:
    return unpack(pack(block, format), case.family.layout, case.family.dtype)


def test_ratio_1_unquantised_is_one_plain_forward(case: Case) -> None:
    images, spans = case.footage(sum(UNEVEN))
    ids, family, writer = case.chat.ids(QUESTION).closing, case.family, case.writer()
    want = case.stock_logits(images, spans, ids)
    blocks: list[Block] = []
    before: Seen | None = None
    for first, size in ((0, 1), (1, 3), (4, 2)):
        per = family.frames_per_block
        frames = family.frames(images[first * per : (first + size) * per], spans[first : first + size])
        clip = [Seen(b, f.tokens.is_visual) for b, f in zip(writer.write(frames), frames, strict=True)]
        blocks += compress(clip, Compression(keep_ratio=1.0), before=before).blocks
        before = clip[-1]
    rested = [through(block, "none", case) for block in blocks]
    got = case.question_logits(assemble(writer.opening, retrieved=rested), ids)
    assert float((got - want).abs().max()) < 1e-4


@pytest.mark.parametrize("format", FORMATS)
def test_compressed_blocks_come_back_from_every_format(case: Case, format: Format) -> None:
    writer = case.writer()
    for ratio in (1.0, 0.4, 0.0):
        for block in compress(seen_stream(case, writer, 3), Compression(keep_ratio=ratio)).blocks:
            back = through(block, format, case)
            assert torch.equal(back.positions, block.positions) and back.span == block.span
            for name in ("keys", "values"):
                before, after = getattr(block, name), getattr(back, name)
                assert after.shape == before.shape and after.dtype == before.dtype
                error = float((after - before).abs().max() / before.abs().max())
                assert error <= WORST_ERROR[format]
                assert (error == 0.0) == (format == "none")
                assert after.data_ptr() != before.data_ptr()


@pytest.mark.parametrize("format", ["none", "int2"])
def test_tiers_give_back_what_memory_held(case: Case, format: Format, tmp_path: Path) -> None:
    """The same bytes from RAM and, opened again, from disk."""
    writer = case.writer()
    blocks = compress(seen_stream(case, writer, 4), Compression(keep_ratio=0.3)).blocks
    tiers = Tiers(SegmentLog(tmp_path / "kv"), "cpu", TierConfig(1 << 22, 1 << 22))
    for block in blocks:
        tiers.put(pack(block, format))
    position = tiers.flush()
    fetched = []
    for _ in range(2):
        with tiers.fetch([BlockId(index) for index in range(len(blocks))]) as payloads:
            fetched.append([unpack(payload, case.family.layout, case.family.dtype) for payload in payloads])
        tiers.close()
        tiers = Tiers(SegmentLog(tmp_path / "kv", position), "cpu", TierConfig(1 << 22, 1 << 22))
    tiers.close()
    for block, *others in zip(blocks, *fetched, strict=True):
        want = through(block, format, case)
        for other in others:
            assert torch.equal(other.keys, want.keys) and torch.equal(other.values, want.values)
            assert torch.equal(other.positions, block.positions) and other.span == block.span


def test_positions_keep_their_pattern(case: Case) -> None:
    """Text stays text, and a picture's tokens keep their row and column."""
    for seen, block in zip(
        clip := seen_stream(case, case.writer(), 3), compress(clip, Compression(keep_ratio=0.5)).blocks, strict=True
    ):
        original = [tuple(column.tolist()) for column in seen.block.positions.T]
        assert {original[place] for place in seen.text} <= {tuple(column.tolist()) for column in block.positions.T}
        assert {tuple(column.tolist()) for column in block.positions.T} <= set(original)
        assert block.positions.shape == (case.family.layout.num_axes, len(block))
        assert block.extent <= seen.block.extent


def test_an_answer_from_gist_and_compressed_and_quantised_blocks(case: Case) -> None:
    """[opening | gist | compressed 2 bit | whole]: the long-term, the retrieved and the working part of a context."""
    family = case.family
    model = CountedModel(family, family.rotary, every=4)
    writer = StreamWriter(model, family.layout, family.rotary, family.text(case.chat.ids("").opening))
    model.watched = [Used.fresh(writer.opening)]
    images, spans = case.footage(8, seed=21)
    per, clips = family.frames_per_block, []
    for first in range(0, 8, 2):
        frames = family.frames(images[first * per : (first + 2) * per], spans[first : first + 2])
        clips.append([Seen(b, f.tokens.is_visual) for b, f in zip(writer.write(frames), frames, strict=True)])
        model.watched += [Used.fresh(seen.block) for seen in clips[-1]]
    budget = 40 * family.layout.bytes_per_token(4) // 8
    num = tokens_within(budget, "int4", family.layout, family.dtype)
    gist = consolidate(model.watched[1:5], num).block
    assert num_bytes("int4", family.layout, len(gist), family.dtype) <= budget
    small = [through(block, "int2", case) for block in compress(clips[2], Compression(0.5), before=clips[1][-1]).blocks]
    working = [seen.block for seen in clips[3]]
    context = assemble(writer.opening, gist=[through(gist, "int4", case)], retrieved=small, working=working)
    extents = [block.extent for block in (writer.opening, gist, *small, *working)]
    assert context.next == sum(extents)
    positions = context.layers[0].positions
    assert int(positions.min()) == 0 and int(positions.max()) == context.next - 1
    ids, said = case.chat.ids(QUESTION).closing, list[int]()
    for _ in range(4):
        logits = case.question_logits(context, [*ids, *said])[-1]
        assert bool(logits.isfinite().all())
        said.append(int(logits.argmax()))
    pieces = list(Dialogue(family, context).say(QUESTION, max_new_tokens=4))
    assert "".join(pieces) == family.tokenizer.decode(said, skip_special_tokens=True)
    # Each part is seen: without the gist the same question has other logits.
    without = assemble(writer.opening, retrieved=small, working=working)
    assert float((case.question_logits(without, ids) - case.question_logits(context, ids)).abs().max()) > 1e-3


def test_usage_is_the_stock_models_own_attention(case: Case) -> None:
    """Against the weights that transformers' eager attention gives away, on a question over a whole stream."""
    images, spans = case.footage(3, seed=22)
    ids, writer = case.chat.ids(QUESTION).closing, case.writer()
    clip = case.stream(writer, images, spans, [3]).fetch(range(3))
    used = [Used.fresh(block) for block in (writer.opening, *clip)]
    tail = case.tail(ids)
    inner = ContextAttention(assemble(writer.opening, retrieved=clip), case.family.rotary, tail.positions)
    counter = UsageCounter(inner, case.family.rotary, used, tail.positions)
    case.family.run(tail, counter)
    decoder = case.family.decoder
    decoder.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            out = case.family.model(**case.stock_inputs(images, spans, ids), use_cache=False, output_attentions=True)
    finally:
        decoder.set_attn_implementation("vidmem")
    want = torch.stack([weights[0, :, -len(tail) :].mean(0).sum(0) for weights in out.attentions]).mean(0)
    torch.testing.assert_close(counter.received(), want, atol=1e-4, rtol=0)
