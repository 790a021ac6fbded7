"""VideoLLaMB's SceneTilling against numbers from running its code; tolerances are those of its description."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vidmem.memory.policies.event_reference import coded_boundaries, coded_left_boundaries, sampled_frames
from vidmem.memory.scenes import depth_scores, depth_threshold, neighbour_cosines

from .fixture import Fixture, padded


def group_of(name: str) -> str:
    return name.split("__")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    if group == "seg_const":
        return check_boundaries
    return {"depth": check_depth, "seg": check_segmentation}.get(group.split("_")[0])


def check_depth(fixture: Fixture, group: str) -> None:
    similarity = fixture[f"{group}__sim"]
    fixture.close(f"{group}__depth", depth_scores(similarity), atol=1e-5)
    fixture.close(f"{group}__left_depth", depth_scores(similarity, sides="left"), atol=1e-5)


def check_segmentation(fixture: Fixture, group: str) -> None:
    similarity = neighbour_cosines(fixture[f"{group}__x"])
    fixture.close(f"{group}__sim", similarity, atol=1e-5)
    depth = depth_scores(similarity)
    fixture.close(f"{group}__depth", depth, atol=1e-5)
    threshold = depth_threshold(depth, float(fixture[f"{group}__alpha"]))
    # One depth has no deviation: NaN as coded, and nothing is above it either way.
    fixture.close(f"{group}__threshold", threshold.where(threshold.isfinite(), torch.nan).reshape(1), atol=1e-5)
    boundaries = check_boundaries(fixture, group)
    steps = padded(sampled_frames(boundaries), fixture[f"{group}__steps8"], -1)
    fixture.same(f"{group}__steps8", steps)


def check_boundaries(fixture: Fixture, group: str) -> list[int]:
    features = fixture[f"{group}__x"]
    given = fixture.ints(f"{group}__k")[0] if f"{group}__k" in fixture else -1
    num_cuts = None if given == -1 else given
    alpha = float(fixture[f"{group}__alpha"]) if f"{group}__alpha" in fixture else 0.5
    boundaries = coded_boundaries(features, num_cuts=num_cuts, alpha=alpha)
    fixture.same(f"{group}__boundaries", boundaries)
    fixture.same(f"{group}__boundaries_left", coded_left_boundaries(features, num_cuts=num_cuts, alpha=alpha))
    return boundaries
