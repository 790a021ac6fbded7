"""What an object looks like to the frame encoder, and what it is called, out of an open vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from vidmem.errors import BadInput, MissingModel
from vidmem.models.encoder import FrameEncoder
from vidmem.models.tracking.results import PixelBox
from vidmem.types import View

_ARTICLES = ("a ", "an ", "the ")
_WORDS_AT_ONCE = 64
_BLUR = 0.1
"""Of what is not the object, in widths of the crop: nothing can be recognised, light and colours stay."""

_CLOSE_PAIRS = 0.02
"""Of all pairs of phrases, those whose things are taken for each other. Of the sample world, with 0.05 one frame in a
hundred that shows a thing would be taken for another one's."""

_Window = tuple[float, float, float, float]
"""Left, top, right, bottom in fractions of the frame; may reach beyond it."""


class Label(NamedTuple):
    """What something is called. `cosine` is its similarity with the words."""

    word: str
    cosine: float


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Words that things may be called by. They can be any: the encoder's text side reads them."""

    phrases: tuple[str, ...]
    embeddings: Tensor
    """(n, C) float32 of unit length, on the encoder's device."""
    floor: float
    """Cosine below which nothing is called anything: the encoder's `relevance_floor`."""

    @classmethod
    def read(cls, path: Path, encoder: FrameEncoder, *, floor: float) -> Vocabulary:
        """Read and embed a text file, UTF-8 with one phrase a line, as the encoder is to read it: `a dog`.

        Empty lines, lines that begin with `#`, and repetitions are passed over.

        Raises:
            MissingModel: there is no such file.
            BadInput: it is no text, or has no phrase.
        """
        phrases = tuple(_phrases(path))
        parts = [phrases[first : first + _WORDS_AT_ONCE] for first in range(0, len(phrases), _WORDS_AT_ONCE)]
        return cls(phrases, torch.cat([encoder.encode_text(part) for part in parts]), floor)

    def label_of(self, embedding: Tensor) -> Label | None:
        """The nearest phrase, without its article, for an appearance (C,) of any length; None below the floor."""
        similarity = self.embeddings @ torch.nn.functional.normalize(embedding.float(), dim=0)
        cosine, nearest = similarity.max(dim=0)
        if cosine < self.floor:
            return None
        return Label(_without_article(self.phrases[int(nearest)]), float(cosine))

    def rivals_of(self, phrase: str, embedding: Tensor) -> Tensor:
        """Embeddings (n, C) of the phrases that something may be mistaken for, which is called `phrase`.

        They are those whose words are most alike to the encoder: as two in a hundred pairs of the vocabulary are. None
        that only says more or less than the phrase does: `a car` is no rival of `a red car`.

        Args:
            embedding: (C,) of the phrase, of unit length, on the device of `embeddings`.
        """
        words, count = _words(phrase), len(self.phrases)
        pairs = (self.embeddings @ self.embeddings.T)[tuple(torch.triu_indices(count, count, offset=1))]
        if not len(pairs):
            return self.embeddings[:0]
        is_close = self.embeddings @ embedding >= torch.quantile(pairs.float(), 1 - _CLOSE_PAIRS)
        others = [not (words <= _words(other) or _words(other) <= words) for other in self.phrases]
        return self.embeddings[is_close & torch.tensor(others, device=is_close.device)]


def crop_of(
    picture: np.ndarray,
    box: PixelBox,
    view: View,
    *,
    frame_size: tuple[int, int] | None = None,
    mask: np.ndarray | None = None,
    margin: float = 1.2,
    squashed: bool = False,
) -> np.ndarray:
    """An object as an encoder is to see it, in the middle of a crop; beyond the frame its edges go on.

    Args:
        picture: uint8 RGB (H, W, 3) of the whole frame, of any size.
        box: around the object, in pixels of the frame, inside it and of some area.
        view: the encoder's.
        frame_size: height and width of the frame, where `picture` is of another size.
        mask: bool of the frame's height and width; all else is blurred, so that the crop shows one thing. Blurring
            keeps light and colours as the encoder knows them; a grey or black ground does not.
        margin: how many times as large as the box the crop is.
        squashed: whether the crop has the frame's proportions, and is squashed to the view as whole frames are.

    Returns:
        uint8 RGB (view.height, view.width, 3), for `FrameEncoder.encode_frames`.

    Source: the blurred ground is of Fine-Grained Visual Prompting (Yang et al., NeurIPS 2023), section 3.3.
    """
    height, width = frame_size or (picture.shape[0], picture.shape[1])
    proportions = width / height if squashed else view.width / view.height
    window = _window(box, (height, width), proportions, margin)
    crop = _cut(picture, window, view, mode="edge")
    if mask is None:
        return crop
    # Beyond the frame there is nothing of the object.
    shown = _cut(mask.astype(np.uint8) * 255, window, view, mode="constant")
    sharp = Image.fromarray(crop)
    ground = sharp.filter(ImageFilter.GaussianBlur(_BLUR * view.width))
    return np.asarray(Image.composite(sharp, ground, Image.fromarray(shown)))


def _window(box: PixelBox, frame_size: tuple[int, int], proportions: float, margin: float) -> _Window:
    """The smallest of those proportions around a box, `margin` times enlarged."""
    left, top, right, bottom = box
    assert left < right and top < bottom, f"the box {box} has no area"
    frame_height, frame_width = frame_size
    height = margin * max(bottom - top, (right - left) / proportions)
    half_x, half_y = height * proportions / 2 / frame_width, height / 2 / frame_height
    x, y = (left + right) / 2 / frame_width, (top + bottom) / 2 / frame_height
    return x - half_x, y - half_y, x + half_x, y + half_y


def _cut(pixels: np.ndarray, window: _Window, view: View, *, mode: str) -> np.ndarray:
    """A window of a picture (H, W, 3) or (H, W), at a view's size; beyond the picture it is padded in a numpy mode."""
    columns, before_x, after_x = _inside(window[0], window[2], view.width)
    rows, before_y, after_y = _inside(window[1], window[3], view.height)
    height, width = pixels.shape[:2]
    part = Image.fromarray(pixels).resize(
        (view.width - before_x - after_x, view.height - before_y - after_y),
        Image.Resampling.BICUBIC if pixels.ndim == 3 else Image.Resampling.BILINEAR,
        box=(columns[0] * width, rows[0] * height, columns[1] * width, rows[1] * height),
        reducing_gap=2.0,
    )
    padding = [(before_y, after_y), (before_x, after_x), (0, 0)]
    return np.pad(np.asarray(part), padding[: pixels.ndim], mode=mode)  # type: ignore[call-overload]


def _inside(start: float, end: float, size: int) -> tuple[tuple[float, float], int, int]:
    """What of a stretch lies in [0, 1], and how many of its `size` pixels lie before and after that."""
    first, last = max(start, 0.0), min(end, 1.0)
    begin = min(round((first - start) / (end - start) * size), size - 1)
    stop = max(round((last - start) / (end - start) * size), begin + 1)
    return (first, last), begin, size - stop


def _phrases(path: Path) -> Sequence[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise MissingModel(
            f"there is no vocabulary {path}: put a text file with one phrase a line there or correct the preset."
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"the vocabulary {path} is no text in UTF-8: write one phrase a line.") from error
    phrases = [line.strip() for line in lines]
    found = list(dict.fromkeys(phrase for phrase in phrases if phrase and not phrase.startswith("#")))
    if not found:
        raise BadInput(f"the vocabulary {path} has no words: write one phrase a line.")
    return found


def _words(phrase: str) -> frozenset[str]:
    return frozenset(_without_article(phrase.lower()).split())


def _without_article(phrase: str) -> str:
    for article in _ARTICLES:
        if phrase.startswith(article):
            return phrase.removeprefix(article)
    return phrase
