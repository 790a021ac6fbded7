"""Where a box will be on the next frame: a Kalman filter of constant velocity, for many objects at once.

State: box centre x and y, aspect a = width / height, height h, and their velocities per frame. Neither motion nor
noise couples the four, so the filter is four filters of two states, and its 8 x 8 covariance has three numbers for
each: computing them elementwise is exact, needs no inverse, and costs some ten microseconds however many objects.

Source: SORT and DeepSORT (Wojke et al., arXiv 1703.07402), whose noise SAMURAI (Yang et al., arXiv 2411.11922,
section 4.1) takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POSITION_NOISE, VELOCITY_NOISE = 1 / 20, 1 / 160
"""Standard deviations, as a share of the box's height. For the aspect they are absolute:"""
_ASPECT, _ASPECT_VELOCITY, _ASPECT_MEASURED = 1e-2, 1e-5, 1e-1


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
        _, _, position, both, velocity = np.moveaxis(self.filters, -2, 0)
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
    width, height = box[..., 2] - box[..., 0], box[..., 3] - box[..., 1]
    x, y = box[..., 0] + width / 2, box[..., 1] + height / 2
    height = np.where(height == 0, 1.0, height)
    return np.stack([x, y, width / height, height], -1)


def to_box(measurement: np.ndarray) -> np.ndarray:
    """The reverse: (..., 4) to (..., 4)."""
    x, y, aspect, height = np.moveaxis(measurement, -1, 0)
    width = aspect * height
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)


def stack(motions: Sequence[Motion]) -> Motion:
    """Filters of single objects as one of all."""
    return Motion(np.stack([motion.filters for motion in motions]))


def initiate(box: np.ndarray) -> Motion:
    """Begin at boxes (..., 4), at rest."""
    position = to_measurement(box)
    height = position[..., 3]
    variance, velocity_variance = (
        np.square(_scaled(height, scale, aspect))
        for scale, aspect in ((2 * POSITION_NOISE, _ASPECT), (10 * VELOCITY_NOISE, _ASPECT_VELOCITY))
    )
    nothing = np.zeros_like(position)
    return Motion(np.stack([position, nothing, variance, nothing, velocity_variance], -2))


def predict(motion: Motion) -> Motion:
    """One frame on."""
    position, velocity, variance, both, velocity_variance = np.moveaxis(motion.filters, -2, 0)
    height = position[..., 3]
    noise = np.square(_scaled(height, POSITION_NOISE, _ASPECT))
    velocity_noise = np.square(_scaled(height, VELOCITY_NOISE, _ASPECT_VELOCITY))
    moved = [
        position + velocity,
        velocity,
        variance + 2 * both + velocity_variance + noise,
        both + velocity_variance,
        velocity_variance + velocity_noise,
    ]
    return Motion(np.stack(moved, -2))


def project(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """What would be measured: mean (..., 4) and its variance (..., 4), the noise of measuring included."""
    position = motion.filters[..., 0, :]
    noise = np.square(_scaled(position[..., 3], POSITION_NOISE, _ASPECT_MEASURED))
    return position, motion.filters[..., 2, :] + noise


def update(motion: Motion, box: np.ndarray) -> Motion:
    """Take in measured boxes (..., 4)."""
    position, velocity, variance, both, velocity_variance = np.moveaxis(motion.filters, -2, 0)
    expected, measured_variance = project(motion)
    surprise = to_measurement(box) - expected
    gain, velocity_gain = variance / measured_variance, both / measured_variance
    corrected = [
        position + gain * surprise,
        velocity + velocity_gain * surprise,
        variance - gain * variance,
        both - gain * both,
        velocity_variance - velocity_gain * both,
    ]
    return Motion(np.stack(corrected, -2))


def _scaled(height: np.ndarray, scale: float, aspect: float) -> np.ndarray:
    """Standard deviations (..., 4) of x, y, aspect and height."""
    deviation = np.empty((*np.shape(height), 4))
    deviation[...] = (np.asarray(height) * scale)[..., None]
    deviation[..., 2] = aspect
    return deviation
