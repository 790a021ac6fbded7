"""Boxes of masks, and motion that they are overlapped with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vidmem.memory.tracking.boxes import box_iou, candidate_boxes, enlarged, mask_boxes

from .naive_samurai import overlap


@given(masks=arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=100, deadline=None)
def test_boxes_hold_the_outermost_pixels(masks: np.ndarray) -> None:
    for box, mask in zip(mask_boxes(torch.from_numpy(masks)), masks, strict=True):
        ys, xs = mask.nonzero()
        assert box.tolist() == ([xs.min(), ys.min(), xs.max(), ys.max()] if len(xs) else [0, 0, 0, 0])


@given(logits=arrays(np.float32, (3, 7, 7), elements=st.floats(-8, 8, width=32)), scale=st.sampled_from((1, 4)))
@settings(max_examples=100, deadline=None)
def test_edges_lie_where_the_logits_cross_zero(logits: np.ndarray, scale: int) -> None:
    got = candidate_boxes(torch.from_numpy(logits), 7 * scale)
    for box, grid in zip(got, logits, strict=True):
        if not (grid > 0).any():
            assert box == (0, 0, 0, 0)
            continue
        want = []
        for axis, turned in ((0, False), (1, False), (0, True), (1, True)):
            lines = np.flip(grid, 1 - axis) if turned else grid
            lines = lines.T if axis else lines
            first = int((lines > 0).any(0).argmax())
            reach = 0.5
            if first > 0:
                rows = [(row[first], row[first - 1]) for row in lines if row[first] > 0]
                reach = max(inner / (inner - outer) for inner, outer in rows)
            edge = 6 - first + reach if turned else first - reach
            want.append(min(max((edge + 0.5) * scale - 0.5, 0), 7 * scale - 1))
        np.testing.assert_allclose(box, want, atol=1e-4)


def test_a_disc_has_the_box_of_its_enlarged_mask_to_about_a_pixel() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for centre, radius in (((20.3, 31.8), 9.4), ((3.1, 60.0), 8.0), ((40.0, 40.0), 1.2)):
        logits = (radius - torch.hypot(y - centre[0], x - centre[1]))[None]
        pixels = mask_boxes(enlarged(logits, (256, 256)))
        assert np.abs(np.array(candidate_boxes(logits, 256)) - pixels).max() < 1.5


def test_masks_in_half_precision_have_boxes_too() -> None:
    logits = torch.full((2, 8, 8), -8.0)
    logits[0, 2:5, 3:6] = 8.0
    assert candidate_boxes(logits.bfloat16(), 32) == [(11.5, 7.5, 23.5, 19.5), (0, 0, 0, 0)]


@given(boxes=arrays(np.float64, (2, 4), elements=st.integers(0, 9).map(float)))
@settings(max_examples=200, deadline=None)
def test_overlap_is_that_of_the_areas(boxes: np.ndarray) -> None:
    boxes[:, 2:] = np.maximum(boxes[:, :2], boxes[:, 2:])
    one, other = boxes.tolist()
    assert box_iou(one, other) == pytest.approx(overlap(*boxes))
