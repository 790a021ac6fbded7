"""Segmentation as the code of VideoLLaMB and TDC-Video has it, where `scenes` and the event policy do otherwise.

Boundaries here are frames after which there is a cut; the last frame is one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.memory.scenes import cuts_above, deepest_cuts, depth_scores, lowest_cuts, neighbour_cosines


def coded_boundaries(features: Tensor, *, num_cuts: int | None = None, alpha: float = 0.5) -> list[int]:
    """VideoLLaMB's boundaries of frames (T, d): by threshold, the 15 deepest at most, or the `num_cuts` deepest.

    Raises:
        ValueError: `num_cuts` exceeds T - 1.
    """
    return _with_last(_cuts(depth_scores(neighbour_cosines(features)), num_cuts, alpha, max_cuts=15), len(features))


def coded_left_boundaries(features: Tensor, *, num_cuts: int | None = None, alpha: float = 0.5) -> list[int]:
    """The variant for streaming: depth below the left peak alone, any number of cuts, the last frame only if there is
    no other boundary, so that the frames after the last cut belong to no segment.

    Raises:
        ValueError: `num_cuts` exceeds T - 1.
    """
    cuts = _cuts(depth_scores(neighbour_cosines(features), sides="left"), num_cuts, alpha, max_cuts=None)
    return cuts or _with_last([], len(features))


def _cuts(depth: Tensor, num_cuts: int | None, alpha: float, *, max_cuts: int | None) -> list[int]:
    cuts = cuts_above(depth, alpha=alpha, max_cuts=max_cuts) if num_cuts is None else deepest_cuts(depth, num_cuts)
    return [int(place) for place in cuts.nonzero()]


def _with_last(cuts: list[int], num_frames: int) -> list[int]:
    """`cuts`, and the last frame. All cuts lie before it."""
    return cuts + [num_frames - 1] * (num_frames > 0)


def sampled_frames(boundaries: list[int], *, max_frames: int = 8) -> list[list[int]]:
    """Up to `max_frames` frames of each segment, from its first to its last, that go into VideoLLaMB's bridge."""
    starts = [0, *(boundary + 1 for boundary in boundaries)]
    return [
        torch.linspace(start, end, min(max_frames, end + 1 - start)).long().tolist()
        for start, end in zip(starts, boundaries, strict=False)
    ]


@dataclass(frozen=True, slots=True)
class TdcCuts:
    """Frames that TDC-Video looks at, and places in that list after which it cuts."""

    kept_frames: tuple[int, ...]
    cut_after: tuple[int, ...]


def tdc_cuts(features: Tensor, max_cuts: int = 24, *, max_frames: int = 224) -> TdcCuts:
    """TDC-Video's cuts of frames (T, ..., d): the `max_cuts` lowest cosines of all of a frame's numbers.

    Of more than `max_frames` frames as many are looked at, at equal steps. Of `max_cuts + 1` or fewer each is a segment
    by itself; the cut after the last frame then leaves an empty segment behind it.
    """
    num_frames = len(features)
    kept = list(range(num_frames))
    if num_frames <= max_cuts + 1:
        return TdcCuts(tuple(kept), tuple(kept))
    if num_frames > max_frames:
        kept = [int(num_frames / max_frames * place) for place in range(max_frames)]
    cuts = lowest_cuts(neighbour_cosines(features[kept].flatten(1)), min(max_cuts, len(kept) - 1))
    return TdcCuts(tuple(kept), tuple(cuts.nonzero().flatten().tolist()))
