"""Pictures that cost a decoder what footage does. The sample world itself stands still most of the time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vidmem.world.script import Script
from vidmem.world.video import Size, frames

GRAIN = 2.0
"""Standard deviation of the noise that each picture has of its own, of 255."""
PAN_PIXELS = 3
"""How far the camera turns from one picture to the next."""


def moving_footage(script: Script, *, fps: int, size: Size) -> Iterator[tuple[float, np.ndarray]]:
    """A script under a camera that turns and grains: no picture equals the one before it."""
    width, height = size
    rng = np.random.default_rng(script.config.seed)
    grain = rng.normal(0.0, GRAIN, (height + 64, width + 64, 1)).round().astype(np.int16)
    for index, (seconds, picture) in enumerate(frames(script, fps=fps, size=size)):
        top, left = rng.integers(0, 64, 2)
        turned = np.roll(picture, index * PAN_PIXELS, axis=1).astype(np.int16)
        turned += grain[top : top + height, left : left + width]
        yield seconds, turned.clip(0, 255).astype(np.uint8)
