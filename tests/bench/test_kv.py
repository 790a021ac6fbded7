"""The benchmark of KV memory runs from end to end, small, and its parts measure what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vidmem.bench import kv, kv_ask, kv_scale, kv_stream
from vidmem.bench.kv_ask import AskRun
from vidmem.bench.kv_exact import exactness
from vidmem.bench.kv_packing import kv_packing_figures, pack_plainly, unpack_plainly
from vidmem.bench.kv_reload import kv_reload_figures
from vidmem.bench.kv_write import kv_write_figures
from vidmem.bench.random_families import random_model
from vidmem.kv.block import Layout
from vidmem.kv.quantise import dequantise, quantise
from vidmem.models.preset import load_preset
from vidmem.types import Span
from vidmem.world.answers import Facts, Question

needs_models = pytest.mark.skipif(bool(load_preset("tiny").missing()), reason="the embedded models are not here")

ROWS = {
    "exactness": ("kv_exact_logits", "kv_exact_answers", "kv_exact_rotated_keys"),
    "needles": ("kv_needles_below_oracle", "kv_needles_above_uniform", "kv_needles_fall_from_10min"),
    "first token": ("kv_first_token_to_uniform",),
    "recall": ("kv_recall_growth", "kv_recall_10h"),
    "bytes while streaming": ("kv_stream_bytes_growth", "kv_stream_resident_growth"),
    "formats": ("kv_2bit_to_fp16", "kv_2bit_points_lost", "kv_stored_to_bf16"),
    "relevant frames": ("kv_relevant_frames_to_uniform", "kv_relevant_frames_over_rekv"),
    "representatives": ("kv_representative_bytes_to_rekv",),
    "reload": ("kv_reload_to_pieces", "kv_reload_to_sequential"),
    "packing": ("kv_int4_pack_to_plain", "kv_int4_unpack_to_plain", "kv_int4_answer_error"),
    "write overhead": ("kv_write_overhead",),
}


@needs_models
@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes where others use the machine too
def test_bench_kv_gives_every_figure() -> None:
    said: list[str] = []
    figures = json.loads(json.dumps(kv.run(seed=3, quick=True, progress=said.append)))["figures"]
    for row, names in ROWS.items():
        for name in names:
            assert figures[name]["target"] is not None, (row, name)
    assert figures["kv_exact_logits"]["holds"] and figures["kv_exact_answers"]["holds"]
    assert figures["kv_stream_bytes_growth"]["holds"]
    assert all(0 <= figures[f"kv_needles_{name}"]["value"] <= 1 for name in AskRun().scores)
    assert 0 < figures["kv_relevant_frames_hybrid"]["value"] <= 1
    assert figures["kv_first_token"]["value"] > 0 < figures["kv_recall_1h"]["value"]
    assert figures["kv_gpus"]["value"] == torch.cuda.device_count()
    assert said


@pytest.mark.parametrize("name", ["smolvlm", "qwen3_vl"])
def test_exactness_sees_a_wrong_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model whose keys stand one place off, logits and keys differ by far more than the targets."""
    from vidmem.kv.rope import Rotary

    right = exactness(name, 0)
    assert right.logits < 1e-4 and right.keys < 1e-5 and right.same_text
    tables = Rotary.tables
    monkeypatch.setattr(Rotary, "tables", lambda self, positions: tables(self, positions + positions % 2))
    wrong = exactness(name, 0)
    assert wrong.logits > 1e-2 and wrong.keys > 1e-2
    assert random_model(name) is random_model(name)


def test_plain_int4_comes_back_as_ours_does() -> None:
    numbers = torch.randn(2, 2, 64, 32, generator=torch.manual_seed(0))
    ours, _ = dequantise(quantise(numbers, numbers, "int4"))
    plain = pack_plainly(numbers)
    assert plain.codes.numel() == numbers.numel() // 2
    apart = (unpack_plainly(plain) - ours).abs()
    assert float((apart > 1e-3).float().mean()) < 0.002  # but for numbers half way between two codes
    assert float(apart.max()) < 0.6
    assert float((ours - numbers).abs().max()) > 0.05  # 4 bits lose something


def test_packing_and_reloading_give_their_figures(tmp_path: Path) -> None:
    figures = kv_packing_figures(1, rounds=2, layout=Layout(2, 2, 32))
    figures |= kv_reload_figures(tmp_path, num_frames=4, num_layers=2, rounds=1)
    assert {*ROWS["packing"], *ROWS["reload"]} <= set(figures)
    assert all(figure.value > 0 for figure in figures.values())
    assert figures["kv_int4_answer_error"].value < 0.1


@needs_models
def test_streaming_and_writing_give_their_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stream").mkdir()
    figures = kv_write_figures(tmp_path, 1, num_clips=3, warm_up=1, say=lambda line: None)
    assert figures["kv_write_prefill"].value > 0 and figures["kv_write_overhead"].value > -1
    monkeypatch.setattr(kv_stream, "_FEWEST_CLIPS", 28)
    figures = kv_stream.kv_stream_figures(tmp_path / "stream", 1, hours=0.0, say=lambda line: None)
    assert 0 < figures["kv_stream_bytes_growth"].value < 0.001  # the landmarks
    # 900 tokens and more of 6 layers, 4 heads of 64, keys and values in float32.
    assert figures["kv_stream_bytes"].value * 1e6 > 850 * 6 * 4 * 64 * 2 * 4
    assert figures["kv_stream_resident"].value > figures["kv_stream_bytes"].value


@needs_models
def test_recall_over_simulated_hours_gives_its_figures(tmp_path: Path) -> None:
    hours = (0.02, 0.03, 0.04)
    figures = kv_scale.kv_scale_figures(tmp_path, 1, hours=hours, rounds=1, num_stored=16, say=lambda line: None)
    ratio = figures["kv_recall_100h"].value / figures["kv_recall_1h"].value
    assert figures["kv_recall_growth"].value == pytest.approx(ratio, rel=1e-3)
    assert figures["kv_recall_10h"].value > 0


def question(kind: str) -> Question:
    return Question(kind, "What was it?", "A dog was it.", Facts(thing="dog"), Span(0, 1))


def test_accuracy_is_compared_in_points() -> None:
    long, short = AskRun(), AskRun()
    for name, answers in {"hybrid": "dd", "oracle": "dd", "oracle_blocks": "dc", "uniform": "dc"}.items():
        for kind, said in zip(("what", "when"), answers, strict=True):
            long.scores[name].add(replace(question(kind), kind="what"), {"d": "A dog.", "c": "A cat."}[said])
    short.scores["hybrid"].add(question("what"), "A dog.")
    figures = kv_ask.accuracy_figures(short, long, long)
    assert figures["kv_needles_oracle_blocks"].value == 0.5
    assert figures["kv_needles_below_oracle"].value == 0 and figures["kv_needles_below_oracle"].holds
    assert figures["kv_needles_above_uniform"].value == 50 and figures["kv_needles_fall_from_10min"].value == 0


def test_representatives_are_counted_against_query_heads() -> None:
    figures = kv_ask.byte_figures(100.0, Layout(6, 2, 64), 16, 256)
    assert figures["kv_representative_bytes"].value == 100 + 256 * 2
    assert figures["kv_representative_bytes_to_rekv"].value == pytest.approx(612 / 12288, rel=1e-4)
