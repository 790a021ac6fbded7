"""Segmentation written down as it is defined, place by place: the oracle of `vidmem.memory.scenes`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from vidmem.memory.scenes import SceneRule


def naive_peak(similarities: Sequence[float], place: int, step: int) -> float:
    peak = similarities[place]
    while 0 <= place + step < len(similarities) and similarities[place + step] >= peak:
        place += step
        peak = similarities[place]
    return peak


def naive_depths(similarities: Sequence[float], *, left_only: bool = False) -> list[float]:
    depths = []
    for place, similarity in enumerate(similarities):
        left = naive_peak(similarities, place, -1)
        right = similarity if left_only else naive_peak(similarities, place, 1)
        depths.append(left - similarity if left_only else left + right - 2 * similarity)
    return depths


def naive_boundaries(depths: Sequence[float], *, num_cuts: int | None, alpha: float) -> list[int]:
    """VideoLLaMB's boundaries: frames after which there is a cut, the last frame always."""
    deepest_first = sorted(range(len(depths)), key=lambda place: -depths[place])
    if num_cuts is not None:
        cuts = sorted(deepest_first[:num_cuts])
    elif len(depths) < 2:
        cuts = []
    else:
        threshold = statistics.fmean(depths) + alpha * statistics.stdev(depths)
        cuts = [place for place, depth in enumerate(depths) if depth > threshold]
        if len(cuts) > 15:
            cuts = sorted(deepest_first[:15])
    return cuts if cuts and cuts[-1] == len(depths) else [*cuts, len(depths)]


def naive_stream(similarities: Sequence[float], rule: SceneRule) -> tuple[list[int], float]:
    """Cuts of a stream, from all similarities so far anew at each frame, and how near a depth came to a threshold."""
    cuts: list[int] = []
    nearest = 1.0
    for num_frames in range(1, len(similarities) + 2):
        seen = similarities[: num_frames - 1]
        scene_start = cuts[-1] + 1 if cuts else 0
        if seen:
            valley = len(seen) - 1
            while valley > 0 and seen[valley - 1] <= seen[valley]:
                valley -= 1
            depths = naive_depths(seen)
            threshold = rule.min_depth
            if valley > 1:
                spread = statistics.stdev(depths[:valley])
                threshold = max(threshold, statistics.fmean(depths[:valley]) + rule.alpha * spread)
            nearest = min(nearest, abs(depths[valley] - threshold))
            rises = seen[-1] > seen[valley]
            if rises and depths[valley] > threshold and valley + 1 - scene_start >= rule.min_frames:
                cuts.append(valley)
                scene_start = valley + 1
        if num_frames - scene_start == rule.max_frames:
            cuts.append(num_frames - 1)
    return cuts, nearest
