"""Where a box will be on the next frame: a Kalman filter of constant velocity.

State: box centre x and y, aspect a = width / height, height h, and their velocities per frame. Neither motion nor
noise couples the four, so the filter is four filters of two states, whose 8 x 8 covariance has three numbers for each:
computing them one by one is exact, and needs no inverse.

All numbers may be floats, for one object, or float64 arrays of one shape, for as many. One object on floats costs some
10 us a frame, a tenth of the same in arrays: between two frames of a network nothing of them is in the caches.

Source: SORT and DeepSORT (Wojke et al., arXiv 1703.07402), whose noise SAMURAI (Yang et al., arXiv 2411.11922,
section 4.1) takes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Number = Any
"""A float, or an array of one for each object."""
Box = tuple[Number, Number, Number, Number]
"""x1, y1, x2, y2."""

POSITION_NOISE, VELOCITY_NOISE = 1 / 20, 1 / 160
"""Standard deviations per frame, as a share of the box's height. For the aspect they are absolute:"""
_ASPECT, _ASPECT_VELOCITY, _ASPECT_MEASURED = 1e-2, 1e-5, 1e-1


class Measurement(NamedTuple):
    """A box as the filter sees it. Also used for the variances of its four."""

    x: Number
    y: Number
    aspect: Number
    height: Number

    @property
    def box(self) -> Box:
        half_width, half_height = self.aspect * self.height / 2, self.height / 2
        return self.x - half_width, self.y - half_height, self.x + half_width, self.y + half_height


class Axis(NamedTuple):
    """The filter of one of the four."""

    position: Number
    velocity: Number
    variance: Number
    """Of the position."""
    both: Number
    """Covariance of position and velocity."""
    velocity_variance: Number


class Motion(NamedTuple):
    """The filter of one object, or of many."""

    x: Axis
    y: Axis
    aspect: Axis
    height: Axis

    @property
    def measurement(self) -> Measurement:
        """Where the box is expected."""
        return Measurement(*(axis.position for axis in self))

    @property
    def mean(self) -> np.ndarray:
        """(..., 8): positions, then velocities."""
        return np.stack([axis.position for axis in self] + [axis.velocity for axis in self], -1)

    @property
    def covariance(self) -> np.ndarray:
        """(..., 8, 8) in the order of `mean`."""
        out = np.zeros((*np.shape(self.x.position), 8, 8))
        for place, axis in enumerate(self):
            out[..., place, place] = axis.variance
            out[..., place, place + 4] = out[..., place + 4, place] = axis.both
            out[..., place + 4, place + 4] = axis.velocity_variance
        return out


def measure(box: Box) -> Measurement:
    """A box of no height counts as 1 high."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    divisor = height + (height == 0)
    return Measurement(x1 + width / 2, y1 + height / 2, width / divisor, divisor)


def initiate(box: Box) -> Motion:
    """Begin at a box, at rest."""
    seen = measure(box)
    variances = _variances(seen.height, 2 * POSITION_NOISE, _ASPECT)
    velocity_variances = _variances(seen.height, 10 * VELOCITY_NOISE, _ASPECT_VELOCITY)
    rest = 0.0 * seen.height
    return Motion(
        *(
            Axis(position, rest, variance, rest, velocity_variance)
            for position, variance, velocity_variance in zip(seen, variances, velocity_variances, strict=True)
        )
    )


def predict(motion: Motion) -> Motion:
    """One frame on."""
    height = motion.height.position
    noises = zip(
        _variances(height, POSITION_NOISE, _ASPECT), _variances(height, VELOCITY_NOISE, _ASPECT_VELOCITY), strict=True
    )
    return Motion(
        *(
            Axis(
                position + velocity,
                velocity,
                variance + 2 * both + velocity_variance + noise,
                both + velocity_variance,
                velocity_variance + velocity_noise,
            )
            for (position, velocity, variance, both, velocity_variance), (noise, velocity_noise) in zip(
                motion, noises, strict=True
            )
        )
    )


def measured_variances(motion: Motion) -> Measurement:
    """Variances of what would be measured: those of the positions and the noise of measuring."""
    noises = _variances(motion.height.position, POSITION_NOISE, _ASPECT_MEASURED)
    return Measurement(*(axis.variance + noise for axis, noise in zip(motion, noises, strict=True)))


def update(motion: Motion, box: Box) -> Motion:
    """Take in a measured box."""
    return Motion(
        *(
            _corrected(axis, position, variance)
            for axis, position, variance in zip(motion, measure(box), measured_variances(motion), strict=True)
        )
    )


def _corrected(axis: Axis, seen: Number, seen_variance: Number) -> Axis:
    position, velocity, variance, both, velocity_variance = axis
    gain, velocity_gain = variance / seen_variance, both / seen_variance
    surprise = seen - position
    return Axis(
        position + gain * surprise,
        velocity + velocity_gain * surprise,
        variance - gain * variance,
        both - gain * both,
        velocity_variance - velocity_gain * both,
    )


def _variances(height: Number, share: float, aspect: float) -> Measurement:
    variance = (share * height) ** 2
    return Measurement(variance, variance, aspect**2 + 0.0 * height, variance)
