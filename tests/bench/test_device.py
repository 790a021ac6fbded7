"""The benchmark for accelerators runs from end to end, small, and counts what it says that it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vidmem.bench import device as bench
from vidmem.bench.device_ask import PLACES
from vidmem.bench.device_models import SIZES, build
from vidmem.bench.device_rates import Rates, counted_operations, measure_rates, prefill_operations
from vidmem.bench.device_stream import DROPS, FORMAT, Footage, PlainLoop, Stream, opening_ids, window_of
from vidmem.errors import BadInput
from vidmem.kv.attention import Window, causal_mask
from vidmem.kv.packing import pack, unpack
from vidmem.kv.records import BlockId
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.kv.writer import StreamWriter
from vidmem.models.families.family import Family

CPU = torch.device("cpu")
NAMES = tuple(SIZES)


def small(name: str) -> Family:
    return build(name, CPU, torch.float32, small=True)


def test_bench_device_gives_every_figure() -> None:
    said: list[str] = []
    figures = json.loads(json.dumps(bench.run(seed=3, quick=True, progress=said.append)))["figures"]
    on_gpu = torch.cuda.is_available()
    assert figures["device_gpus"]["value"] == torch.cuda.device_count()
    assert min(figures[f"device_{name}"]["value"] for name in ("operations", "copy", "lift", "attention")) > 0
    assert figures["device_attention_error"]["holds"]
    for model in ("llava_onevision_7b", "qwen2_5_vl_7b", "qwen3_vl_8b"):
        value = {
            name.removeprefix(f"device_{model}_"): figure["value"]
            for name, figure in figures.items()
            if name.startswith(f"device_{model}_")
        }
        assert value["ingest"] / value["plain_loop"] == pytest.approx(value["ingest_to_plain_loop"], rel=1e-3)
        assert 0 < value["operations_dropped"] < value["operations"]
        speed = value["operations"] * value["ingest"] / figures["device_operations"]["value"]
        assert value["roofline_share"] == pytest.approx(speed, rel=1e-3)
        assert value["history_streamed"] == 1
        assert all(value[f"first_token_{where}"] > 0 for where in PLACES)
        needs_gpu = {value[name] is None for name in ("syncs", "syncs_dropped", "peak_memory")}
        assert needs_gpu == {not on_gpu}
    # Small models are held to nothing but being right.
    assert [name for name, figure in figures.items() if figure["target"]] == ["device_attention_error"]
    assert on_gpu or "no GPU" in said[0]


def test_figures_of_full_size_are_held_to_their_targets() -> None:
    pace = bench.Pace(frames_a_second=350.0, operations_a_frame=2e12, syncs_a_frame=0.1)
    rates = Rates(800e12, 4e12, 5e10)
    measured = bench._Measured("qwen2.5-vl-7b", None, bench.Sizes(), rates, 0, print)  # type: ignore[arg-type]
    figures = measured._ingest_figures(36.0, {"none": pace, "after": pace, "before": pace})
    assert figures["ingest_dropped_before"].target == 340 and figures["ingest_dropped_before"].holds
    assert figures["ingest_dropped_to_plain_loop"].target == 10 and not figures["ingest_dropped_to_plain_loop"].holds
    assert figures["roofline_share"].value == 350 * 2e12 / 800e12
    assert figures["syncs"].value == 0.1


def test_an_unknown_model_is_told_which_there_are() -> None:
    with pytest.raises(BadInput, match=r"'gpt' is none of .*qwen3-vl-8b, or tiny"):
        bench.run(model="gpt")


@pytest.mark.parametrize(
    ("name", "billions", "bytes_per_token", "tokens"),
    [
        # Weights: the hub's own counts of the checkpoints. Bytes: spec/transformers-kv.md, section 12.
        ("llava-onevision-7b", 8.03, 57344, 196),
        ("qwen2.5-vl-7b", 8.29, 57344, 256),
        ("qwen3-vl-8b", 8.77, 147456, 196),
    ],
)
def test_models_have_the_public_sizes(name: str, billions: float, bytes_per_token: int, tokens: int) -> None:
    family = build(name, torch.device("meta"), torch.bfloat16)
    weights = sum(weight.numel() for weight in family.model.parameters())
    assert weights / 1e9 == pytest.approx(billions, abs=0.005)
    assert family.layout.bytes_per_token(2) == bytes_per_token
    assert family.tokens_per_picture == tokens
    assert {weight.dtype for weight in family.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", NAMES)
def test_an_ingest_never_asks_its_device_for_a_number(name: str) -> None:
    """The meta device has none to give: whatever would make the host wait for a GPU, frame by frame, fails here."""
    family = build(name, torch.device("meta"), torch.bfloat16, small=True)
    window, clips = window_of(family, 2 * family.frames_per_block), Footage.of(family, 4, 0).endless()
    opening = family.text(opening_ids(family))
    writer = StreamWriter(family, family.layout, family.rotary, opening, window=window)
    for _ in range(2):  # the second reaches past the window
        for block in writer.write(family.frames(*next(clips))):
            payload = pack(block, FORMAT)
            assert payload.tensors[FORMAT].is_meta
    assert writer.num_tokens > window.size


def test_operations_of_a_prefill_are_those_that_torch_counts() -> None:
    family = small("qwen3-vl-8b")
    window = Window(90, 3)
    writer = StreamWriter(family, family.layout, family.rotary, family.text(opening_ids(family)), window=window)
    clips = Footage.of(family, 8, 0).endless()
    for _ in range(2):  # past the window
        writer.write(family.frames(*next(clips)))
    frames = family.frames(*next(clips))
    before = writer.num_tokens
    counted = counted_operations(lambda: writer.write(frames))
    count = writer.num_tokens - before
    ours = prefill_operations(family, count, num_before=before, window=window)
    heads = family.decoder.config.num_attention_heads
    seen = int(causal_mask(count, before + count, window_size=window.size).sum()) + count * window.num_initial
    attention = 4 * family.layout.num_layers * heads * family.layout.head_dim * seen
    # torch counts the products of attention too, but as many as its kernels compute, hidden ones among them.
    assert ours - attention <= counted
    linear = sum(
        2 * count * module.weight.numel() for module in family.decoder.modules() if isinstance(module, torch.nn.Linear)
    )
    assert ours == linear + attention
    tokens = torch.randn(count, family.decoder.config.hidden_size)
    layer = family.decoder.layers[0].mlp
    assert counted_operations(lambda: layer(tokens)) == 2 * count * sum(w.numel() for w in layer.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_loop_computes_what_a_stream_does(name: str) -> None:
    family = small(name)
    window = Window(2000, 3)
    images, spans = next(Footage.of(family, 8, 1).endless())
    writer = StreamWriter(family, family.layout, family.rotary, family.text(opening_ids(family)), window=window)
    blocks = writer.write(family.frames(images, spans))
    loop = PlainLoop(family, window)
    loop.write(images, spans)
    assert len(loop.representatives) == len(blocks)
    for layer, (_, values) in enumerate(loop.pieces):
        assert torch.allclose(values, blocks[-1].values[layer], atol=1e-4)
    group = family.decoder.config.num_attention_heads // family.layout.num_kv_heads
    keys = loop.pieces[1][0]
    assert torch.allclose(loop.representatives[-1][1].view(-1, keys.shape[-1])[::group], keys.mean(1), atol=1e-5)


def test_the_plain_loop_slides() -> None:
    family, window = small("llava-onevision-7b"), Window(40, 3)
    loop, clips = PlainLoop(family, window), Footage.of(family, 8, 1).endless()
    lengths = []
    for _ in range(3):
        loop.write(*next(clips))
        lengths.append(loop._cache.layers[0].keys.shape[2])
    assert lengths == [43, 43, 43]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_streamed_comes_back_from_disk(name: str, tmp_path: Path) -> None:
    family = small(name)
    window = window_of(family, 16)
    with Stream(family, tmp_path, window) as stream:
        for images, spans in (next(Footage.of(family, 8, 1).endless()), next(Footage.of(family, 8, 2).endless())):
            stream.write(images, spans)
        position, last = stream.commit(), stream.last
    assert last is not None and set(last[0][-1].tensors) == {FORMAT}
    assert position.num_blocks == stream.num_blocks == 16 // family.frames_per_block
    # The window reaches over as many frames as a question brings back; time marks differ by a token or two.
    assert abs(stream.writer.num_tokens - window.size) <= 2 * stream.num_blocks
    tiers = Tiers(SegmentLog(tmp_path, position, read_only=True), CPU, TierConfig())
    with tiers.fetch([BlockId(position.num_blocks - 1)]) as (read,):
        again = unpack(read, family.layout, torch.float32)
    tiers.close()
    assert torch.equal(again.keys, unpack(last[0][-1], family.layout, torch.float32).keys)


def test_dropping_leaves_blocks_of_fewer_tokens(tmp_path: Path) -> None:
    family, sizes = small("qwen2.5-vl-7b"), {}
    for drop in DROPS:
        with Stream(family, tmp_path / drop, window_of(family, 16), drop) as stream:
            stream.write(*next(Footage.of(family, 8, 1).endless()))
            position, prefilled = stream.commit(), stream.writer.num_tokens
        log = SegmentLog(tmp_path / drop, position, read_only=True)
        sizes[drop] = prefilled, sum(log.num_tokens())
        log.close()
    (whole, stored), opening = sizes["none"], len(opening_ids(family))
    assert whole == stored + opening
    assert sizes["after"] == (whole, stored - 4 * 12)  # of 4 pictures with 16 tokens a quarter stays
    assert sizes["before"] == (whole - 4 * 12, stored - 4 * 12)


def test_a_history_is_simulated_when_its_time_is_up(tmp_path: Path) -> None:
    sizes = replace(bench.QUICK, most_seconds=0.0, hours=40 / 3600)
    rates = measure_rates(CPU, torch.float32, side=64, copy_bytes=4096)
    measured = bench._Measured("llava-onevision-7b", small("llava-onevision-7b"), sizes, rates, 0, lambda line: None)
    history, figures = measured._history(tmp_path)
    assert figures["history_streamed"].value == 8 / 40
    assert history.position.num_blocks == 40
    log = SegmentLog(tmp_path, history.position, read_only=True)
    assert history.block_tokens == log.num_tokens() == 5 * log.num_tokens()[:8]
    assert history.landmarks.num_frames == 40
    assert [log.span(BlockId(index)).start for index in (0, 7, 8, 39)] == [0, 7, 8, 39]
    log.close()


def test_of_a_short_history_less_is_brought_back(tmp_path: Path) -> None:
    sizes = replace(bench.QUICK, hours=24 / 3600, brought_back=64)
    family, rates = small("qwen3-vl-8b"), measure_rates(CPU, torch.float32, side=64, copy_bytes=4096)
    measured = bench._Measured("qwen3-vl-8b", family, sizes, rates, 0, lambda line: None)
    history, _ = measured._history(tmp_path)
    figures = measured._first_token_figures(history)
    assert {figure.unit for figure in figures.values()} == {"ms (median), 6 frames brought back"}
    assert [figure.target for figure in figures.values()] == [25, 45, 100]


def test_it_needs_neither_decoders_nor_an_index() -> None:
    """A rented machine with a GPU has torch and transformers, and seldom the rest."""
    blocked = ("faiss", "av", "decord", "open_clip", "sam2", "gradio", "torchcodec", "ffmpeg", "imageio_ffmpeg")
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import vidmem.bench.device; print('here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "here\n", done.stderr
