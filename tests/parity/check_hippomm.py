"""HippoMM against numbers from running its code. Tolerances are those of the fixtures' description."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vidmem.memory.policies.hippomm_reference import frames_of_window, key_frames, recall_as_coded
from vidmem.memory.windows import Sound, WindowConfig, cut_windows

from .fixture import Fixture, padded


def group_of(name: str) -> str:
    return name.split("__")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    if group.startswith("key_"):
        return check_key_frames
    if group.startswith("segm_"):
        return check_windows
    return {"retr": check_recall}.get(group)


def check_key_frames(fixture: Fixture, group: str) -> None:
    features = fixture[f"{group}__x"]
    fixture.same(f"{group}__idx", key_frames(features))
    fixture.same(f"{group}__idx_thr05", key_frames(features, threshold=0.5))


def check_windows(fixture: Fixture, group: str) -> None:
    similarity_threshold, max_seconds, min_seconds, pause_db = fixture[f"{group}__thr"].tolist()
    times = fixture[f"{group}__times"].double()
    sound = None
    if f"{group}__audio" in fixture:
        sound = Sound(fixture[f"{group}__audio"], *fixture.ints(f"{group}__sr"))
    config = WindowConfig(similarity_threshold, max_seconds, min_seconds, pause_db)
    spans = cut_windows(times.tolist(), fixture[f"{group}__sims"], sound, config=config)
    fixture.close(f"{group}__start", torch.tensor([start for start, _ in spans]), atol=1e-5)
    fixture.close(f"{group}__end", torch.tensor([end for _, end in spans]), atol=1e-5)
    frames = [frames_of_window(span, times).tolist() for span in spans]
    fixture.same(f"{group}__frames", padded(frames, fixture[f"{group}__frames"], -1))


def check_recall(fixture: Fixture, group: str) -> None:
    key_seconds = fixture[f"{group}__key_times"]
    recall = recall_as_coded(fixture[f"{group}__query"], fixture[f"{group}__features"], key_seconds)
    fixture.same(f"{group}__top5", recall.hits.index)
    fixture.close(f"{group}__top5_sim", recall.hits.similarity, atol=1e-5)
    fixture.close(f"{group}__seg_start", recall.span_seconds[:, 0], atol=1e-5)
    fixture.close(f"{group}__seg_end", recall.span_seconds[:, 1], atol=1e-5)
    # Frames are a second apart, so a key frame's second is its number among all frames.
    frames = [key_seconds[index].round().tolist() for index in recall.key_index]
    fixture.same(f"{group}__seg_frames", padded(frames, fixture[f"{group}__seg_frames"], -1))
