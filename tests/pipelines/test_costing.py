"""What settings are said to cost is what they cost."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vidmem.kv.records import FIRST_OFFSET
from vidmem.models.preset import Preset, load_preset
from vidmem.pipelines import VideoMemory
from vidmem.pipelines.costing import costs
from vidmem.pipelines.loading import Models
from vidmem.world.video import render_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from random_models import write_preset

SECONDS = 40


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    render_file(path, seed=3, duration=SECONDS, fps=2, size=(160, 90))
    return path


def kv_preset(folder: Path) -> Preset:
    path = write_preset(folder)
    path.write_text(path.read_text().replace('mode = "tokens"', 'mode = "kv"'))
    return load_preset(path)


def test_bytes_on_disk_of_an_hour_are_those_of_a_short_video_times_its_part(tmp_path: Path, video: Path) -> None:
    preset = kv_preset(tmp_path / "models")
    models = Models(preset)
    said = costs(models, preset)
    with VideoMemory.open(tmp_path / "a.vidmem", models=models) as memory:
        memory.ingest(video, progress=False)
        state = memory.state()
    part = SECONDS / 3600
    # The table at the beginning of a log has room for many more blocks than these.
    assert said.kv_bytes * part == pytest.approx(state.kv[0].num_bytes - FIRST_OFFSET, rel=0.25)
    assert said.disk_bytes * part == pytest.approx(state.disk.kv_bytes - FIRST_OFFSET, rel=0.25)


def test_less_is_kept_for_less(tmp_path: Path) -> None:
    preset = kv_preset(tmp_path / "models")
    models = Models(preset)
    whole = costs(models, preset)
    halved, quartered = (
        costs(models, replace(preset, kv=replace(preset.kv, keep_ratio=ratio))) for ratio in (0.5, 0.25)
    )
    tokens = costs(models, replace(preset, mode="tokens"))
    faster = costs(models, preset, fps=2.0)
    # Time marks are kept whole.
    assert whole.kv_bytes - halved.kv_bytes == pytest.approx(2 * (halved.kv_bytes - quartered.kv_bytes), rel=0.2)
    assert quartered.kv_bytes < halved.kv_bytes < whole.kv_bytes
    assert tokens.kv_bytes == 0 and tokens.token_bytes == whole.token_bytes
    assert faster.disk_bytes == 2 * whole.disk_bytes and faster.question_tokens == whole.question_tokens
