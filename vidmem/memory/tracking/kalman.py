"""Where a box will be on the next frame: a Kalman filter of constant velocity, for many objects at once.

State: box centre x and y, aspect a = width / height, height h, and their velocities per frame. Neither motion nor
noise couples the four, so the filter is four filters of two states, and its 8 x 8 covariance has three numbers for
each: computing them elementwise is exact, and needs no inverse, however many objects.

Source: SORT and DeepSORT (Wojke et al., arXiv 1703.07402), whose noise SAMURAI (Yang et al., arXiv 2411.11922,
section 4.1) takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POSITION_NOISE, VELOCITY_NOISE = 1 / 20, 1 / 160
"""Standard deviations per frame, as a share of the box's height."""
_OF_HEIGHT = np.array([1.0, 1.0, 0.0, 1.0])
"""What scales with the height; the aspect's deviations are absolute:"""
_ASPECT, _ASPECT_VELOCITY, _ASPECT_MEASURED = (np.array([0.0, 0.0, deviation, 0.0]) for deviation in (1e-2, 1e-5, 1e-1))


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Filters of any number of objects, float64. The last axis of all is (x, y, a, h)."""

    filters: np.ndarray
    """(..., 5, 4): position, velocity, variance of position, its covariance with velocity, variance of velocity."""

    @property
    def mean(self) -> np.ndarray:
        """(..., 8): positions, then velocities."""
        return self.filters[..., :2, :].reshape(*self.filters.shape[:-2], 8)

    @property
    def covariance(self) -> np.ndarray:
        """(..., 8, 8) in the order of `mean`."""
        _, _, position, both, velocity = _rows(self)
        eye = np.eye(4)
        rows = [(position, both), (both, velocity)]
        return np.concatenate([np.concatenate([part[..., None] * eye for part in row], -1) for row in rows], -2)

    @property
    def boxes(self) -> np.ndarray:
        """(..., 4): x1, y1, x2, y2 of the positions."""
        return to_box(self.filters[..., 0, :])


def to_measurement(box: np.ndarray) -> np.ndarray:
    """(..., 4) boxes to centre, aspect and height, float64. A box of no height gets height 1."""
    box = np.asarray(box, np.float64)
    size = box[..., 2:] - box[..., :2]
    measurement = np.empty_like(box)
    measurement[..., :2] = box[..., :2] + size / 2
    measurement[..., 3] = height = np.where(size[..., 1] == 0, 1.0, size[..., 1])
    measurement[..., 2] = size[..., 0] / height
    return measurement


def to_box(measurement: np.ndarray) -> np.ndarray:
    """The reverse: (..., 4) to (..., 4)."""
    box = np.empty_like(measurement)
    half = measurement[..., 3:] / 2 * np.concatenate([measurement[..., 2:3], np.ones_like(measurement[..., :1])], -1)
    box[..., :2], box[..., 2:] = measurement[..., :2] - half, measurement[..., :2] + half
    return box


def stack(motions: Sequence[Motion]) -> Motion:
    """Filters of single objects as one of all."""
    return Motion(np.stack([motion.filters for motion in motions]))


def initiate(box: np.ndarray) -> Motion:
    """Begin at boxes (..., 4), at rest."""
    position = to_measurement(box)
    filters = np.zeros((*position.shape[:-1], 5, 4))
    filters[..., 0, :] = position
    filters[..., 2, :] = _variance(position, 2 * POSITION_NOISE, _ASPECT)
    filters[..., 4, :] = _variance(position, 10 * VELOCITY_NOISE, _ASPECT_VELOCITY)
    return Motion(filters)


def predict(motion: Motion) -> Motion:
    """One frame on."""
    position, velocity, variance, both, velocity_variance = _rows(motion)
    filters = np.empty_like(motion.filters)
    filters[..., 0, :] = position + velocity
    filters[..., 1, :] = velocity
    noise = _variance(position, POSITION_NOISE, _ASPECT)
    filters[..., 2, :] = variance + 2 * both + velocity_variance + noise
    filters[..., 3, :] = both + velocity_variance
    filters[..., 4, :] = velocity_variance + _variance(position, VELOCITY_NOISE, _ASPECT_VELOCITY)
    return Motion(filters)


def project(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """What would be measured: mean (..., 4) and its variance (..., 4), the noise of measuring included."""
    position, variance = motion.filters[..., 0, :], motion.filters[..., 2, :]
    return position, variance + _variance(position, POSITION_NOISE, _ASPECT_MEASURED)


def update(motion: Motion, box: np.ndarray) -> Motion:
    """Take in measured boxes (..., 4)."""
    position, velocity, variance, both, velocity_variance = _rows(motion)
    expected, measured_variance = project(motion)
    surprise = to_measurement(box) - expected
    gain, velocity_gain = variance / measured_variance, both / measured_variance
    filters = np.empty_like(motion.filters)
    filters[..., 0, :] = position + gain * surprise
    filters[..., 1, :] = velocity + velocity_gain * surprise
    filters[..., 2, :] = variance - gain * variance
    filters[..., 3, :] = both - gain * both
    filters[..., 4, :] = velocity_variance - velocity_gain * both
    return Motion(filters)


def _rows(motion: Motion) -> list[np.ndarray]:
    return [motion.filters[..., row, :] for row in range(5)]


def _variance(position: np.ndarray, share: float, aspect: np.ndarray) -> np.ndarray:
    """Variances (..., 4) of x, y, aspect and height, from their deviations."""
    return np.square(position[..., 3:] * (share * _OF_HEIGHT) + aspect)
