"""The benchmarks and the demonstration run from end to end, small, with the embedded models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidmem import demo
from vidmem.bench import ingest, world
from vidmem.models.preset import load_preset

pytestmark = pytest.mark.skipif(bool(load_preset("tiny").missing()), reason="the embedded models are not here")


def test_the_demonstration_answers_with_evidence(tmp_path: Path) -> None:
    """How many must be right is the demonstration's and the benchmark's to say; here, that it is not by chance."""
    document = demo.as_document(demo.run(tmp_path))
    assert len(document["answers"]) >= 10
    assert document["right"] >= 8
    assert all(answer.evidence for answer in document["answers"])
    assert document["ingest"].frames == 180
    again = [event for event in demo.run(tmp_path, num_questions=1) if isinstance(event, demo.Watched)]
    assert again[0].report.already_there


def test_bench_world_gives_every_figure() -> None:
    said: list[str] = []
    result = json.loads(json.dumps(world.run(seed=3, quick=True, progress=said.append)))
    figures = result["figures"]
    for name in (
        "clip_accuracy",
        "clip_accuracy_worst_kind",
        "clip_accuracy_blind",
        "clip_accuracy_latest_4_frames",
        "retrieval_recall_at_1",
        "needle_10min",
        "needle_1h",
        "first_token_1h",
        "recall_1h",
        "demo_answers_right",
    ):
        assert set(figures[name]) == {"value", "unit", "target", "holds"}
    assert figures["clip_accuracy"]["value"] > figures["clip_accuracy_blind"]["value"]
    assert said


@pytest.mark.slow
@pytest.mark.timeout(900)  # nine processes, most import torch: minutes where others use the machine too
def test_bench_ingest_gives_every_figure() -> None:
    figures = ingest.run(seed=3, quick=True)["figures"]
    assert figures["ingest_speed"]["value"] > 0 < figures["ingest_speed_moving"]["value"]
    assert figures["decode_identical_frames"]["value"] == 1.0
    assert "pyav" in figures["decode_cpu_to_best_other"]["unit"]
    shares = [figures[f"ingest_{step}_share"]["value"] for step in ("decode", "encode", "memory", "store")]
    assert sum(shares) == pytest.approx(1.0, abs=1e-3)
