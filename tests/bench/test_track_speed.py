from __future__ import annotations

import pytest
import torch

from vidmem.bench.track import sizes_figures
from vidmem.bench.track_speed import box_of, drifting_boxes, frame_times, growth, held_over, peak_bytes, random_model
from vidmem.models.sam_config import MemoryAttentionConfig, MemoryEncoderConfig, SamConfig, TrunkConfig
from vidmem.models.tracking.prompts import Prompt

SMALL = SamConfig(
    image_size=64,
    d_model=32,
    trunk=TrunkConfig(
        embed_dim=8, stages=(1, 1, 2, 1), window_spec=(4, 4, 4, 2), global_att_blocks=(3,),
        window_pos_embed_bkg_spatial_size=(4, 4),
    ),
    memory_attention=MemoryAttentionConfig(num_layers=1, dim_feedforward=64),
    memory_encoder=MemoryEncoderConfig(out_dim=16, num_layers=1),
)  # fmt: skip


def test_both_are_timed_on_the_same_frames() -> None:
    times = frame_times(SMALL, num_objects=2, num_frames=5, warm_up=2)
    assert times.ours > 0 and times.package > 0
    assert times.ratio == times.package / times.ours


def test_sizes_are_timed_in_bfloat16_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = sizes_figures(0, quick=True, sizes={"small": SMALL}, device="cpu")
    assert list(figures) == ["track_small_speed", "track_small_speed_to_package"]
    assert all(figure.value and figure.value > 0 for figure in figures.values())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (figure,) = sizes_figures(0, quick=True).values()
    assert figure.value is None and "GPU" in figure.unit


def test_tracking_holds_the_same_after_many_frames() -> None:
    prompts = [Prompt(index, box=box_of(index, 0, 2)) for index in range(2)]
    frames = list(drifting_boxes(16, 2, seed=0))
    told: list[int] = []
    model = random_model(SMALL, 0)
    samples = held_over(model, frames, prompts, num_frames=120, num_samples=6, progress=told.append)
    assert told == [100]
    assert [sample.num_frames for sample in samples] == [20, 40, 60, 80, 100, 120]
    assert growth(samples[1:])["tensor_bytes"] == 0.0


@pytest.mark.slow
def test_the_package_holds_all_frames_and_ours_one() -> None:
    peaks = peak_bytes(SMALL, num_frames=400)
    assert peaks.package > 400 * 3 * 64 * 64 * 4
    assert peaks.ours < peaks.package
