"""Prompts: what tells the tracker which object is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vidmem.errors import BadInput

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the frame, right and bottom exclusive."""

_TOP_LEFT, _BOTTOM_RIGHT = 2, 3
"""The labels that `sam2` gives a box's corners."""


@dataclass(frozen=True, slots=True)
class Click:
    """A place in the frame, in pixels from the left and top, that is on the object or is not."""

    x: float
    y: float
    on: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """One object on the present frame: a mask, or a box, clicks, or both.

    It replaces an earlier prompt for the same object and frame; clicks and boxes refine the mask that came of that.

    Raises:
        BadInput: it says nothing, says it twice, or names no object that could be there.
    """

    object_id: int
    clicks: Sequence[Click] = ()
    box: Box | None = None
    mask: np.ndarray | Tensor | None = None
    """Of the frame's height and width; the object is where it is true, or above 0."""

    def __post_init__(self) -> None:
        given = bool(self.clicks) or self.box is not None
        if given == (self.mask is not None):
            raise BadInput(f"{self._who}: give a mask, or clicks or a box, and not both.")
        if self.box is not None:
            left, top, right, bottom = self.box
            if not (left < right and top < bottom):
                raise BadInput(f"{self._who}: the box {_shown(self.box)} has no area: give it a width and a height.")
        if self.mask is not None and not bool((self.mask > 0).any()):
            raise BadInput(f"{self._who}: the mask is empty: mark at least one pixel.")

    @property
    def _who(self) -> str:
        return f"the prompt for object {self.object_id}"

    def check(self, frame_size: tuple[int, int], *, square: int) -> None:
        """Raises BadInput if it does not fit a frame of that height and width."""
        height, width = frame_size
        for click in self.clicks:
            if not (0 <= click.x <= width and 0 <= click.y <= height):
                raise BadInput(
                    f"{self._who}: the click ({click.x:g}, {click.y:g}) is outside the frame of {width} x {height}."
                )
        if self.box is not None:
            left, top, right, bottom = self.box
            if not (left >= 0 and top >= 0 and right <= width and bottom <= height):
                raise BadInput(
                    f"{self._who}: the box {_shown(self.box)} is not inside the frame of {width} x {height}."
                )
        if self.mask is not None:
            if tuple(self.mask.shape) != frame_size:
                shape = " x ".join(str(side) for side in reversed(self.mask.shape))
                raise BadInput(f"{self._who}: the mask is {shape}, the frame {width} x {height}: make them equal.")
            if not self.mask_input(square, torch.device("cpu")).any():
                raise BadInput(
                    f"{self._who}: the mask vanishes at the tracker's {square} x {square} pixels: mark more of it."
                )

    def points(self, frame_size: tuple[int, int], *, square: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Coordinates (1, P, 2) in pixels of the network's square and labels (1, P), a box's corners first."""
        places = [(click.x, click.y) for click in self.clicks]
        labels = [int(click.on) for click in self.clicks]
        if self.box is not None:
            places = [self.box[:2], self.box[2:], *places]
            labels = [_TOP_LEFT, _BOTTOM_RIGHT, *labels]
        height, width = frame_size
        scaled = torch.tensor(places, dtype=torch.float32) / torch.tensor([width, height]) * square
        return scaled[None].to(device), torch.tensor(labels, dtype=torch.int32)[None].to(device)

    def mask_input(self, square: int, device: torch.device) -> Tensor:
        """The mask in the network's square: (1, 1, S, S) float32 of 0 and 1."""
        assert self.mask is not None, "there is no mask in this prompt"
        mask = (torch.as_tensor(self.mask) > 0).float()[None, None].to(device)
        if mask.shape[-2:] == (square, square):
            return mask
        # As `sam2` does it.
        size = (square, square)
        scaled = functional.interpolate(mask, size=size, align_corners=False, mode="bilinear", antialias=True)
        return (scaled >= 0.5).float()


def _shown(box: Box) -> str:
    """By its corners, however it was given."""
    left, top, right, bottom = box
    return f"from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
