"""From a decoded picture to the views that were asked for: one scaling each, upright, RGB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import VideoReformatter

from vidmem.types import View


@dataclass(frozen=True, slots=True)
class Orientation:
    """What makes a coded picture upright: first mirrored left to right if `mirrored`, then turned."""

    quarter_turns: int = 0
    """Counter-clockwise, 0 to 3."""
    mirrored: bool = False

    @property
    def swaps_sides(self) -> bool:
        return self.quarter_turns % 2 == 1

    def apply(self, picture: np.ndarray) -> np.ndarray:
        if self.mirrored:
            picture = picture[:, ::-1]
        return np.rot90(picture, self.quarter_turns) if self.quarter_turns else picture


def orientation(frame: av.VideoFrame) -> Orientation:
    """Read the display matrix that comes with a picture; angles between quarter turns go to the nearest.

    The matrix (ISO/IEC 14496-12, 9 int32) sends the pixel (x, y) to (a x + c y, b x + d y).
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32, count=5).astype(float)
    if a * d - b * c == 0.0:
        return Orientation()
    mirrored = a * d - b * c < 0.0
    if mirrored:
        a, b = -a, -b
    # y points down, so a positive b turns clockwise.
    return Orientation(quarter_turns=round(-np.degrees(np.arctan2(b, a)) / 90.0) % 4, mirrored=mirrored)


def _display_matrix(frame: av.VideoFrame) -> bytes | None:
    try:
        # PyAV's type stub knows one key only.
        return bytes(cast(Any, frame.side_data)[SideDataType.DISPLAYMATRIX])
    except KeyError:
        return None


def fitted_size(view: View, width: int, height: int, pixel_aspect: Fraction | None = None) -> tuple[int, int]:
    """Width and height of a view of an upright picture of `width` x `height` pixels shaped `pixel_aspect`."""
    if not view.keep_aspect:
        return view.width, view.height
    shown_width, shown_height = float(width), float(height)
    if pixel_aspect and pixel_aspect > 1:
        shown_width *= float(pixel_aspect)
    elif pixel_aspect and 0 < pixel_aspect < 1:
        shown_height /= float(pixel_aspect)
    scale = min(1.0, view.width / shown_width, view.height / shown_height)
    return max(1, round(shown_width * scale)), max(1, round(shown_height * scale))


class ViewMaker:
    """Scales pictures to views by libswscale, bicubic, YUV to RGB in the same pass. Keeps its scaler tables.

    Building the tables anew for every picture, as `frame.reformat` does, costs about as much as the scaling itself
    for small pictures.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self._views = tuple(views)
        self._scalers = [VideoReformatter() for _ in self._views]

    def __call__(
        self, frame: av.VideoFrame, *, upright: Orientation, pixel_aspect: Fraction | None = None
    ) -> tuple[np.ndarray, ...]:
        """Views (H, W, 3) uint8 of one picture, which stays as it is, made upright."""
        width, height = frame.width, frame.height
        if upright.swaps_sides:
            width, height = height, width
            pixel_aspect = 1 / pixel_aspect if pixel_aspect else None
        pictures = []
        for view, scaler in zip(self._views, self._scalers, strict=True):
            shown = fitted_size(view, width, height, pixel_aspect)
            coded = shown[::-1] if upright.swaps_sides else shown
            scaled = scaler.reformat(
                frame, width=coded[0], height=coded[1], format="rgb24", interpolation="BICUBIC", threads=1
            )
            pictures.append(np.ascontiguousarray(upright.apply(scaled.to_ndarray())))
        return tuple(pictures)

    def from_array(self, picture: np.ndarray, pixel_aspect: Fraction | None = None) -> tuple[np.ndarray, ...]:
        """Views of an upright RGB array, uint8 (H, W, 3)."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        return self(frame, upright=Orientation(), pixel_aspect=pixel_aspect)
