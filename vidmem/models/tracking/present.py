"""The one frame that the tracker is at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.models.tracking.network import Features, Network
from vidmem.types import format_seconds

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, eq=False)
class Present:
    """A frame of the stream. The network sees it when something on it is first looked for."""

    index: int
    """How many frames came before."""
    seconds: float
    size: Size
    """Of the video's frames, whatever the size of the picture."""
    square: np.ndarray | Tensor
    """Uint8 RGB (S, S, 3), of the network's size."""
    network: Network

    @cached_property
    def features(self) -> Features:
        return self.network.see(self.square)

    def check_next(self, size: Size, seconds: float) -> None:
        """Raises BadInput if a frame of that size and time can't follow."""
        if not seconds > self.seconds:
            raise BadInput(
                f"the frame at {format_seconds(seconds)} does not come after the one at"
                f" {format_seconds(self.seconds)}: give frames in the order of their times."
            )
        if size != self.size:
            (height, width), (first_height, first_width) = size, self.size
            raise BadInput(
                f"the frame at {format_seconds(seconds)} is {width} x {height}, those before {first_width} x"
                f" {first_height}: scale it, or begin a new tracker."
            )

    def check_at(self, seconds: float) -> None:
        """Raises BadInput if a prompt for that time is not for this frame."""
        if seconds != self.seconds:
            raise BadInput(
                f"the frame at {format_seconds(seconds)} is {'gone' if seconds < self.seconds else 'yet to come'}: the"
                f" present one, at {format_seconds(self.seconds)}, can be prompted."
            )


def check_picture(picture: np.ndarray | Tensor, seconds: float) -> None:
    """Raises BadInput if it is no uint8 RGB picture (H, W, 3) with a time."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype not in (np.uint8, torch.uint8):
        raise BadInput(
            f"the frame at {format_seconds(seconds)} is {picture.dtype} of shape {tuple(picture.shape)}: give uint8 RGB"
            " (H, W, 3)."
        )
    if not np.isfinite(seconds):
        raise BadInput(f"a frame can't be at {seconds} s: give the seconds since the stream began.")


def squashed(picture: np.ndarray | Tensor, square: int) -> np.ndarray | Tensor:
    """A picture at the network's size, as `sam2` loads the frames of a folder; unchanged if it has that size."""
    if tuple(picture.shape[:2]) == (square, square):
        return picture
    pixels = picture.cpu().numpy() if isinstance(picture, Tensor) else np.ascontiguousarray(picture)
    return np.array(Image.fromarray(pixels).resize((square, square), Image.Resampling.BICUBIC))
