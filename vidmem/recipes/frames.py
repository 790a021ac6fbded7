"""Training frames with dense labels: single moments of the world, crowded and plain, as an encoder meets them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from vidmem.types import Span
from vidmem.world.render import Renderer, Shown, draw_background
from vidmem.world.script import PLACES, THINGS, Chapter, Place, Stay

PIXELS = 112
PATCH = 14
GRID = PIXELS // PATCH
THING_INDEX = {thing: index for index, thing in enumerate(THINGS)}


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFrame:
    """A picture, uint8 (112, 112, 3), its things with places, and how much of each patch each thing covers."""

    image: np.ndarray
    things: tuple[tuple[str, Place | None], ...]
    coverage: np.ndarray
    """float32 (8, 8, things)."""
    night: bool


def random_moment(rng: random.Random, *, max_things: int = 5) -> Chapter:
    """A chapter of one second with a random crowd: copies, things on the move, overlaps."""
    places = list(PLACES)
    rng.shuffle(places)
    count = rng.choice((0, 1, 1, 2, 2, 3, 3, 4, 5)[: 2 * max_things])
    span = Span(0.0, 1.0)
    stays: list[Stay] = []
    thing = rng.choice(THINGS)
    for place in places[: min(count, max_things)]:
        if not stays or thing.startswith("sign ") or rng.random() > 0.3:
            thing = rng.choice(THINGS)
        # half way between two places, as a thing on the move is seen
        spread = (0.2, 0.2) if rng.random() < 0.2 else (0.04, 0.03)
        offset = (rng.uniform(-spread[0], spread[0]), rng.uniform(-spread[1], spread[1]))
        flipped = not thing.startswith("sign ") and rng.random() < 0.5
        stays.append(Stay(thing, span, place, rng.uniform(0.25, 0.44), offset, rng.random(), flipped))
    return Chapter(0, span, rng.randrange(2**20), tuple(stays), starts_at_night=rng.random() < 0.3)


@lru_cache(maxsize=1)
def background_bank(size: int = 1500) -> np.ndarray:
    """Backgrounds drawn once, uint8 (size, 112, 112, 3): drawing one costs ten times as much as the things on it."""
    return np.stack([draw_background(seed, PIXELS, PIXELS).astype(np.uint8) for seed in range(size)])


def _banked(seed: int, width: int, height: int) -> np.ndarray:
    bank = background_bank()
    image = bank[seed % len(bank)].astype(np.float32)
    return image.repeat(height // PIXELS, axis=0).repeat(width // PIXELS, axis=1)


class FrameMaker:
    """Draws labelled frames over the background bank."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.noise = np.random.default_rng(seed).normal(0, 1, (300, 300, 3)).astype(np.float32)
        self.exact = Renderer(PIXELS, PIXELS, _banked)
        self.double = Renderer(2 * PIXELS, 2 * PIXELS, _banked)

    def frame(self, *, max_things: int = 5) -> LabelledFrame:
        chapter = random_moment(self.rng, max_things=max_things)
        renderer = self.double if self.rng.random() < 0.25 else self.exact
        image = renderer.draw(chapter, 0.5)
        if renderer is self.double:  # as a larger video is seen after the squeeze to the encoder's size
            image = np.asarray(Image.fromarray(image).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC))
        shown = self.exact.shown(chapter, 0.5)
        coverage = np.zeros((GRID, GRID, len(THINGS)), dtype=np.float32)
        for item in shown:
            coverage[..., THING_INDEX[item.stay.thing]] += patch_coverage(item)
        things = tuple((item.stay.thing, item.stay.place) for item in shown if item.mask.sum() > 60)
        return LabelledFrame(self._disturb(image), things, coverage, chapter.starts_at_night)

    def _disturb(self, image: np.ndarray) -> np.ndarray:
        """Contrast, brightness and noise of cameras and codecs."""
        gain, lift = self.rng.uniform(0.85, 1.15), self.rng.uniform(-12, 12)
        shaken = image * np.float32(gain) + np.float32(lift)
        if self.rng.random() < 0.5:
            top, left = self.rng.randrange(300 - PIXELS), self.rng.randrange(300 - PIXELS)
            shaken += self.noise[top : top + PIXELS, left : left + PIXELS] * np.float32(self.rng.uniform(1, 7))
        return np.clip(shaken, 0, 255).astype(np.uint8)


def patch_coverage(item: Shown) -> np.ndarray:
    """Share of each patch's pixels that an object is seen on: float32 (8, 8)."""
    return item.mask.reshape(GRID, PATCH, GRID, PATCH).mean(axis=(1, 3), dtype=np.float32)
