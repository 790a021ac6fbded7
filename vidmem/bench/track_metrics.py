"""How good a track is, by the measures of DAVIS (masks), and of OTB, LaSOT and GOT-10k (boxes). Pure numpy.

An absent object is an empty mask or a box without area. Where truth and track both say absent they agree fully.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SUCCESS_THRESHOLDS = np.arange(21) / 20
"""Overlaps from 0 to 1 that the success curve is taken at."""
PRECISION_PIXELS = 20.0
NORMALISED_PRECISION = 0.2


@dataclass(frozen=True, slots=True)
class Statistics:
    """One measure over the frames of a track, as DAVIS sums it up."""

    mean: float
    recall: float
    """Share of frames above 0.5."""
    decay: float
    """Mean of the first quarter less that of the last."""


@dataclass(frozen=True, slots=True)
class MaskScores:
    region: Statistics
    """J."""
    boundary: Statistics
    """F."""

    @property
    def mean(self) -> float:
        """J&F."""
        return (self.region.mean + self.boundary.mean) / 2


@dataclass(frozen=True, slots=True)
class BoxScores:
    success_auc: float
    """Mean of the success curve at 21 thresholds (OTB, LaSOT)."""
    precision: float
    """Share of frames whose centre is at most 20 pixels off (OTB, LaSOT)."""
    normalised_precision: float
    """The same with each offset divided by the true box's side, at most 0.2 (TrackingNet, LaSOT)."""
    average_overlap: float
    """AO (GOT-10k)."""
    success_50: float
    """SR_0.5: share of frames whose overlap is above 0.5 (GOT-10k)."""
    success_75: float


def score_masks(predicted: np.ndarray, truth: np.ndarray) -> MaskScores:
    """Measure one object's masks (T, H, W) bool. DAVIS leaves out the first frame, which is given, and the last.

    Source: Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation", CVPR 2016,
        section 5; the masks of several objects as in Pont-Tuset et al., arXiv 1704.00675: each for itself.
    """
    return MaskScores(statistics(region_similarity(predicted, truth)), statistics(boundary_accuracy(predicted, truth)))


def region_similarity(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """J: overlap of masks (..., H, W) bool: (...,). 1 where both are empty."""
    _check_shapes(predicted, truth, "masks")
    union = (predicted | truth).sum((-2, -1))
    return np.where(union > 0, (predicted & truth).sum((-2, -1)) / np.maximum(union, 1), 1.0)


def boundary_accuracy(predicted: np.ndarray, truth: np.ndarray, *, tolerance: float = 0.008) -> np.ndarray:
    """F: harmonic mean of how much of either boundary lies near the other: masks (..., H, W) bool to (...,).

    1 where neither mask has a boundary, 0 where only one has.

    Args:
        tolerance: share of the picture's diagonal, rounded up to pixels, that boundaries may lie apart.
    """
    _check_shapes(predicted, truth, "masks")
    radius = math.ceil(tolerance * math.hypot(*truth.shape[-2:]))
    ours, true = boundary(predicted), boundary(truth)
    num_ours, num_true = ours.sum((-2, -1)), true.sum((-2, -1))
    # A mask without boundary has nothing wrong and misses everything.
    precision = np.where(num_ours > 0, (ours & dilate(true, radius)).sum((-2, -1)) / np.maximum(num_ours, 1), 1.0)
    recall = np.where(num_true > 0, (true & dilate(ours, radius)).sum((-2, -1)) / np.maximum(num_true, 1), 1.0)
    both = precision + recall
    return np.where(both > 0, 2 * precision * recall / np.where(both > 0, both, 1.0), 0.0)


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels of (..., H, W) bool that differ from the one to the right, below, or right below: (..., H, W) bool.

    A mask is taken to go on beyond the right and lower edge of the picture.
    """
    padding = [(0, 0)] * (mask.ndim - 2) + [(0, 1), (0, 1)]
    beyond = np.pad(mask, padding, mode="edge")
    here, right, below = beyond[..., :-1, :-1], beyond[..., :-1, 1:], beyond[..., 1:, :-1]
    return (here != right) | (here != below) | (here != beyond[..., 1:, 1:])


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Pixels of (..., H, W) bool at most `radius` pixels from one that is set, by a disk: (..., H, W) bool."""
    *_, height, width = mask.shape
    padding = [(0, 0)] * (mask.ndim - 2) + [(radius, radius), (radius + 1, radius)]
    before = np.pad(mask, padding).cumsum(-1, dtype=np.int32)
    out = np.zeros_like(mask)
    for row in range(-radius, radius + 1):
        reach = math.isqrt(radius**2 - row**2)
        rows = before[..., radius + row : radius + row + height, :]
        last = rows[..., radius + 1 + reach : radius + 1 + reach + width]
        out |= last > rows[..., radius - reach : radius - reach + width]
    return out


def statistics(values: np.ndarray) -> Statistics:
    """Sum up a measure over frames (T,). The quarters of the decay share their border frames.

    DAVIS's code holds the borders in 8 bits, so that its decay is wrong from the 257th frame on; ours is not.
    """
    if len(values) == 0:
        raise ValueError("there are no frames to sum up")
    borders = (np.linspace(1, len(values), 5) + 1e-10).round().astype(int) - 1
    first, last = values[: borders[1] + 1], values[borders[3] :]
    return Statistics(float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean()))


def score_boxes(predicted: np.ndarray, truth: np.ndarray) -> BoxScores:
    """Measure one object's boxes (T, 4): x, y, width, height, no area where the object is absent.

    Frames without truth count, for those who say absent and against those who do not; the benchmarks, whose objects
    never are or whose trackers cannot say so, leave them out: so can a caller (`truth[:, 2:].all(1)`).
    GOT-10k leaves out the first frame, which is given.

    Source: OTB (Wu et al., PAMI 2015), LaSOT (Fan et al., CVPR 2019), GOT-10k (Huang et al., PAMI 2021).
    """
    overlap, offset = box_overlap(predicted, truth), centre_offset(predicted, truth)
    return BoxScores(
        success_auc=float(success_curve(overlap).mean()),
        precision=float((np.hypot(*offset.T) <= PRECISION_PIXELS).mean()),
        normalised_precision=float((_normalised(offset, truth) <= NORMALISED_PRECISION).mean()),
        average_overlap=float(overlap.mean()),
        success_50=float((overlap > 0.5).mean()),
        success_75=float((overlap > 0.75).mean()),
    )


def success_curve(overlap: np.ndarray, thresholds: np.ndarray = SUCCESS_THRESHOLDS) -> np.ndarray:
    """Share of frames (T,) whose overlap is above each threshold (N,): (N,). At 1 it is 0, even for a perfect track."""
    return (overlap[:, None] > thresholds).mean(0)


def box_overlap(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Overlap of boxes (T, 4) by x, y, width, height: (T,). 1 where both are absent."""
    _check_shapes(predicted, truth, "boxes")
    corner = np.maximum(predicted[:, :2], truth[:, :2])
    opposite = np.minimum(predicted[:, :2] + predicted[:, 2:], truth[:, :2] + truth[:, 2:])
    shared = np.maximum(opposite - corner, 0).prod(1)
    union = predicted[:, 2:].prod(1) + truth[:, 2:].prod(1) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1.0), 1.0)


def centre_offset(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How far apart centres of boxes (T, 4) are in x and y: (T, 2). 0 where both are absent, infinite where one is."""
    _check_shapes(predicted, truth, "boxes")
    here, there = (boxes[:, 2:].prod(1, keepdims=True) > 0 for boxes in (predicted, truth))
    offset = np.abs(predicted[:, :2] + predicted[:, 2:] / 2 - truth[:, :2] - truth[:, 2:] / 2)
    return np.where(here & there, offset, np.where(here | there, np.inf, 0.0))


def _normalised(offset: np.ndarray, truth: np.ndarray) -> np.ndarray:
    side = np.where(truth[:, 2:] > 0, truth[:, 2:], 1.0)
    return np.hypot(*(offset / side).T)


def _check_shapes(predicted: np.ndarray, truth: np.ndarray, what: str) -> None:
    if predicted.shape != truth.shape:
        raise ValueError(f"the track's {what} are {predicted.shape}, the true ones {truth.shape}")
