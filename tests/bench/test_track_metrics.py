"""Measures of tracks where the value can be told by hand; `test_track_parity` has those of the benchmarks' own code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vidmem.bench.track_metrics import (
    boundary,
    boundary_accuracy,
    box_overlap,
    dilate,
    region_similarity,
    score_boxes,
    statistics,
)


def close(got: object, want: object) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-9)


def test_decay_of_a_long_track_is_of_its_first_and_last_quarter() -> None:
    values = np.concatenate([np.full(250, 0.9), np.full(500, 0.5), np.full(250, 0.1)])
    got = statistics(values)
    close([got.mean, got.recall], [0.5, 0.25])
    # 999 / 4 = 249.75 frames: the border frames are 250 and 749, counted from 0, and belong to both sides.
    close(got.decay, (250 * 0.9 + 0.5) / 251 - (0.5 + 250 * 0.1) / 251)


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[y : y + height, x : x + width] = True
    return mask


def test_a_rectangle_shifted_by_a_quarter_of_its_width() -> None:
    truth, track = rectangle(10, 10, 40, 20), rectangle(20, 10, 40, 20)
    close(region_similarity(track, truth), 30 * 20 / (50 * 20))
    # A boundary is a ring of 41 x 21 pixels, 120 in all, and 0.008 of the diagonal of 100 is one pixel. Near the other
    # ring are 32 pixels of the upper side, 32 of the lower, and of the side within the upper and lowermost.
    assert boundary(truth).sum() == 120
    close(boundary_accuracy(track, truth), (32 + 32 + 2) / 120)


def test_boundaries_within_the_tolerance_agree_and_others_do_not() -> None:
    truth = rectangle(10, 10, 40, 20)
    close(boundary_accuracy(rectangle(11, 10, 40, 20), truth), 1.0)
    # Of the side within two pixels at either end are near, of the side without none, and 19 of either upright.
    close(boundary_accuracy(rectangle(10, 12, 40, 20), truth), (4 + 2 * 19) / 120)
    close(boundary_accuracy(rectangle(10, 12, 40, 20), truth, tolerance=0.02), 1.0)
    close(boundary_accuracy(rectangle(60, 45, 10, 10), truth), 0.0)


@pytest.mark.parametrize(
    ("track", "truth", "j", "f"),
    [
        (np.zeros((60, 80), bool), np.zeros((60, 80), bool), 1.0, 1.0),
        (np.zeros((60, 80), bool), rectangle(10, 10, 5, 5), 0.0, 0.0),
        (rectangle(10, 10, 5, 5), np.zeros((60, 80), bool), 0.0, 0.0),
        (np.ones((60, 80), bool), np.ones((60, 80), bool), 1.0, 1.0),
        (np.ones((60, 80), bool), rectangle(0, 0, 80, 30), 0.5, 0.0),
    ],
    ids=["both absent", "missed", "made up", "both everywhere", "no boundary"],
)
def test_absent_objects(track: np.ndarray, truth: np.ndarray, j: float, f: float) -> None:
    close(region_similarity(track, truth), j)
    close(boundary_accuracy(track, truth), f)
    close(region_similarity(track[None], truth[None]), [j])


def test_boxes_told_by_hand() -> None:
    truth = np.array([[0, 0, 10, 10]] * 4 + [[0, 0, 0, 0]] * 2 + [[0, 0, 100, 10]], float)
    track = np.array(
        [[0, 0, 10, 10], [5, 0, 10, 10], [30, 0, 10, 10], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 5, 5], [15, 0, 100, 10]],
        float,
    )
    close(box_overlap(track, truth), [1, 1 / 3, 0, 0, 1, 0, 850 / 1150])
    scores = score_boxes(track, truth)
    # Thresholds below 1, below 1/3 and below 17/23: 20, 7 and 15 of 21.
    close(scores.success_auc, (20 + 7 + 0 + 0 + 20 + 0 + 15) / 21 / 7)
    close(scores.precision, 4 / 7)
    close(scores.normalised_precision, 3 / 7)
    close(scores.average_overlap, (2 + 1 / 3 + 17 / 23) / 7)
    close([scores.success_50, scores.success_75], [3 / 7, 2 / 7])


@given(mask=arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), radius=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_dilation_reaches_all_pixels_within_the_radius(mask: np.ndarray, radius: int) -> None:
    set_pixels = np.argwhere(mask)
    want = [
        [bool(len(set_pixels)) and bool((((set_pixels - (y, x)) ** 2).sum(1) <= radius**2).any()) for x in range(width)]
        for y in range(mask.shape[0])
        for width in [mask.shape[1]]
    ]
    np.testing.assert_array_equal(dilate(mask, radius), want)
    np.testing.assert_array_equal(dilate(np.stack([mask, mask]), radius), [want, want])


@given(masks=arrays(bool, (2, 3, 9, 11)))
@settings(max_examples=100, deadline=None)
def test_both_measures_are_the_same_either_way_round_and_full_for_a_perfect_track(masks: np.ndarray) -> None:
    one, other = masks
    close(region_similarity(one, other), region_similarity(other, one))
    close(boundary_accuracy(one, other), boundary_accuracy(other, one))
    close([region_similarity(one, one), boundary_accuracy(one, one)], np.ones((2, 3)))


def test_tracks_of_another_shape_than_the_truth_are_refused() -> None:
    with pytest.raises(ValueError, match="the track's masks are"):
        region_similarity(np.zeros((2, 4, 4), bool), np.zeros((3, 4, 4), bool))
    with pytest.raises(ValueError, match="no frames"):
        statistics(np.array([]))
