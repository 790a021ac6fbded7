"""Draws the sample world: backgrounds, sprites, signs, light, and the masks and boxes behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidmem.world.script import Chapter, Script, Stay
from vidmem.world.things import EMOJI, SHEET_COLUMNS, SPRITE_PIXELS

SCENE_ASPECT = 16 / 9
"""Width to height that the world is made for; other frame sizes show it squeezed, as an encoder's square does."""
NIGHT_TINT = np.array([0.40, 0.44, 0.60], dtype=np.float32)


@lru_cache(maxsize=1)
def _sheet() -> Image.Image:
    return Image.open(Path(__file__).with_name("sprites.png")).convert("RGBA")


@lru_cache(maxsize=256)
def _picture(thing: str) -> Image.Image:
    """One thing at its native size, RGBA."""
    if thing.startswith("sign "):
        return _draw_sign(thing.removeprefix("sign "))
    row, column = divmod(list(EMOJI).index(thing), SHEET_COLUMNS)
    left, top = column * SPRITE_PIXELS, row * SPRITE_PIXELS
    return _sheet().crop((left, top, left + SPRITE_PIXELS, top + SPRITE_PIXELS))


def _draw_sign(word: str) -> Image.Image:
    """A white board with a dark frame and a word in capitals, as wide as 1.6 of its height."""
    board = Image.new("RGBA", (208, 128))
    draw = ImageDraw.Draw(board)
    draw.rounded_rectangle((1, 17, 206, 111), radius=12, fill=(250, 250, 245, 255), outline=(20, 40, 120, 255), width=8)
    font = ImageFont.load_default(size=66)
    draw.text((104, 64), word, font=font, fill=(15, 25, 90, 255), anchor="mm", stroke_width=2, stroke_fill=(15, 25, 90))
    return board


@lru_cache(maxsize=64)  # more than are ever on stage, so that hours take no more memory than seconds
def _sprite(thing: str, width: int, height: int, flipped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Colour times alpha (h, w, 3) and alpha (h, w, 1), float32 in [0, 255] and [0, 1]."""
    picture = _picture(thing)
    if flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # premultiplied, so that the resize does not bleed the black of clear pixels into the edges
    picture = picture.convert("RGBa").resize(
        (width, height), Image.Resampling.BOX if width > 600 else Image.Resampling.BICUBIC, reducing_gap=2.0
    )
    rgba = np.asarray(picture, dtype=np.float32)
    return rgba[..., :3], rgba[..., 3:] / 255.0


def draw_background(seed: int, width: int, height: int) -> np.ndarray:
    """One of five kinds of backdrop with colours, grain and clutter of its own: float32 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    kind = seed % 5
    ys, xs = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    first, second, third = rng.uniform(40, 225, (3, 3)).astype(np.float32)
    if kind == 0:  # sky over ground
        image = np.where((ys > rng.uniform(0.45, 0.75))[..., None], second * (0.6 + 0.4 * ys[..., None]), first)
    elif kind == 1:  # a smooth gradient at any angle
        angle = rng.uniform(0, 2 * np.pi)
        mix = np.clip((xs - 0.5) * np.cos(angle) + (ys - 0.5) * np.sin(angle) + 0.5, 0, 1)[..., None]
        image = first * (1 - mix) + second * mix
    elif kind == 2:  # wallpaper
        count = rng.integers(3, 9)
        mix = ((np.floor(xs * count * SCENE_ASPECT) + np.floor(ys * count)) % 2)[..., None]
        image = first * (1 - 0.25 * mix) + second * 0.25 * mix
    elif kind == 3:  # wall and floor with stripes
        mix = (np.sin(xs * rng.uniform(15, 60)) > 0)[..., None] * 0.2
        image = np.where((ys > 0.7)[..., None], third, first * (1 - mix) + second * mix)
    else:  # clouds of soft noise
        coarse = rng.uniform(0, 1, (rng.integers(3, 7), rng.integers(4, 9))).astype(np.float32)
        soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))[..., None]
        image = first * (1 - soft) + second * soft
    image = _add_clutter(np.ascontiguousarray(image, dtype=np.float32), rng)
    grain = rng.normal(0, 5, (64, 64, 1)).astype(np.float32)
    return np.clip(image + np.resize(grain, (height, width, 1)), 0, 255)


def _add_clutter(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A few plain shapes that are no things."""
    height, width = image.shape[:2]
    canvas = Image.fromarray(image.astype(np.uint8))
    draw = ImageDraw.Draw(canvas, "RGBA")
    for _ in range(int(rng.integers(0, 7))):
        x, y = rng.uniform(0, 1, 2)
        half = rng.uniform(0.02, 0.09) * height
        box = (x * width - half, y * height - half, x * width + half, y * height + half)
        colour = (*(int(c) for c in rng.integers(30, 230, 3)), int(rng.integers(60, 170)))
        match int(rng.integers(0, 3)):
            case 0:
                draw.ellipse(box, fill=colour)
            case 1:
                draw.rectangle(box, fill=colour)
            case _:
                draw.polygon([(box[0], box[3]), (box[2], box[3]), (x * width, box[1])], fill=colour)
    return np.asarray(canvas, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What one frame shows of one object: `box` (left, top, right, bottom) in pixels, clipped to the frame, and
    `mask`, bool (H, W), of the pixels that nothing in front of it hides."""

    stay: Stay
    box: tuple[int, int, int, int]
    mask: np.ndarray


class Renderer:
    """Draws frames of one size. Holds the last two backgrounds only.

    `background(seed, width, height)` gives float32 (height, width, 3), which is not modified.
    """

    def __init__(
        self, width: int, height: int, background: Callable[[int, int, int], np.ndarray] = draw_background
    ) -> None:
        self.width, self.height = width, height
        self._background = lru_cache(maxsize=2)(background)

    def frame(self, script: Script, seconds: float) -> np.ndarray:
        """The world at a time: uint8 RGB (height, width, 3)."""
        return self.draw(script.chapter_at(seconds), seconds)

    def draw(self, chapter: Chapter, seconds: float) -> np.ndarray:
        image = self._background(chapter.background_seed, self.width, self.height).copy()
        for stay in chapter.visible(seconds):
            place = self._sprite_at(stay, seconds)
            if place is None:
                continue
            rows, columns, colour, alpha = place
            image[rows, columns] = image[rows, columns] * (1 - alpha) + colour
        if chapter.is_night(seconds):
            image *= NIGHT_TINT
        return image.astype(np.uint8)

    def shown(self, chapter: Chapter, seconds: float) -> list[Shown]:
        """Boxes and visible masks of all objects, the furthest first."""
        found: list[Shown] = []
        for stay in chapter.visible(seconds):
            place = self._sprite_at(stay, seconds)
            if place is None:
                continue
            rows, columns, _, alpha = place
            mask = np.zeros((self.height, self.width), dtype=bool)
            mask[rows, columns] = alpha[..., 0] > 0.5
            for behind in found:
                behind.mask[mask] = False
            found.append(Shown(stay, (columns.start, rows.start, columns.stop, rows.stop), mask))
        return found

    def _sprite_at(self, stay: Stay, seconds: float) -> tuple[slice, slice, np.ndarray, np.ndarray] | None:
        """Rows, columns, colour and alpha of the part of a sprite that lies within the frame."""
        size, flipped = stay.look(seconds)
        height = max(2, round(size * self.height))
        stretch = 1.3 if stay.thing.startswith("sign ") else 1.0
        width = max(2, round(size * stretch * self.width / SCENE_ASPECT))
        colour, alpha = _sprite(stay.thing, width, height, flipped)
        x, y = stay.centre(seconds)
        left, top = round(x * self.width - width / 2), round(y * self.height - height / 2)
        cut_left, cut_top = max(0, -left), max(0, -top)
        right, bottom = min(width, self.width - left), min(height, self.height - top)
        if cut_left >= right or cut_top >= bottom:
            return None
        part = (slice(cut_top, bottom), slice(cut_left, right))
        return slice(top + cut_top, top + bottom), slice(left + cut_left, left + right), colour[part], alpha[part]
