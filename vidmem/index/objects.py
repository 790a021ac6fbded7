"""Objects that were followed through a video, as they go into the store and come out: values, checked when built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NewType

import numpy as np

from vidmem.index.masks import run_lengths
from vidmem.types import Span, VideoId

ObjectId = NewType("ObjectId", int)
"""Stable number of one object of a store. Never given out twice."""

Origin = Literal["asked", "found"]
"""Whether somebody pointed at the object, or it was found without."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as fractions of the frame's width and height."""

_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Where one object was, or in a piece of that time: a struct of arrays, in time order. N may be 0."""

    seconds: np.ndarray
    """(N,) float64, strictly rising."""
    boxes: np.ndarray
    """(N, 4) float32: left, top, right, bottom as fractions of the frame; four NaN where it is not seen."""
    scores: np.ndarray
    """(N,) float32: how sure the tracker was."""

    def __post_init__(self) -> None:
        seconds = np.ascontiguousarray(self.seconds, dtype=np.float64)
        boxes = np.ascontiguousarray(self.boxes, dtype=np.float32)
        scores = np.ascontiguousarray(self.scores, dtype=np.float32)
        for name, values in (("seconds", seconds), ("boxes", boxes), ("scores", scores)):
            object.__setattr__(self, name, values)
        if seconds.ndim != 1 or boxes.shape != (len(seconds), 4) or scores.shape != seconds.shape:
            raise ValueError(f"a track needs (N,) times, (N, 4) boxes and (N,) scores, not {boxes.shape} boxes")
        if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any() or (seconds < 0).any():
            raise ValueError("a track's times must be finite, not negative and strictly rising")
        if not np.isfinite(scores).all():
            raise ValueError("a track's scores must be finite")
        hidden = np.isnan(boxes)
        if (hidden.any(axis=1) != hidden.all(axis=1)).any() or not _are_boxes(boxes[~hidden[:, 0]]):
            raise ValueError("a track's boxes must be left, top, right, bottom as fractions of the frame, or all NaN")

    @classmethod
    def empty(cls) -> Track:
        return cls(np.empty(0), np.empty((0, 4)), np.empty(0))

    @property
    def is_seen(self) -> np.ndarray:
        """(N,) bool."""
        return ~np.isnan(self.boxes[:, 0])

    def box(self, place: int) -> Box:
        """One of `boxes`, as floats."""
        left, top, right, bottom = self.boxes[place].tolist()
        return left, top, right, bottom

    def __len__(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """An object at a key moment."""

    seconds: float
    box: Box
    mask_size: tuple[int, int]
    """Height and width of the mask in its own pixels; it covers the whole frame."""
    mask: bytes = field(repr=False)
    """`masks.encode_mask` of it."""
    crop: bytes = field(repr=False)
    """A JPEG of the object."""
    embedding: np.ndarray
    """(C,) float32 of unit length, C that of the store's encoder."""

    def __post_init__(self) -> None:
        embedding = np.ascontiguousarray(self.embedding, dtype=np.float32)
        height, width = (int(side) for side in self.mask_size)
        left, top, right, bottom = (float(side) for side in self.box)
        plain = {"seconds": float(self.seconds), "box": (left, top, right, bottom), "mask_size": (height, width)}
        for name, value in (plain | {"embedding": embedding}).items():
            object.__setattr__(self, name, value)
        if not (np.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"a look's time must be finite and not negative, got {self.seconds}")
        if not _are_boxes(np.array([self.box], dtype=np.float64)):
            raise ValueError(f"a look's box must be left, top, right, bottom as fractions of the frame, got {self.box}")
        if not self.crop:
            raise ValueError("a look needs a crop")
        if embedding.ndim != 1 or not abs(np.linalg.norm(embedding) - 1.0) <= _UNIT_TOLERANCE:
            raise ValueError("a look's embedding must be (C,), finite and of unit length")
        if run_lengths(self.mask).sum() != height * width:
            raise ValueError(f"a look's mask has not the {height} x {width} pixels of its size")


@dataclass(frozen=True, slots=True, eq=False)
class ObjectUpdate:
    """What is new of one object.

    A label and its score come together, or those that are stored stay.
    """

    object_id: ObjectId
    track: Track | None = None
    """Comes behind all that is stored of its track."""
    spans: Sequence[Span] = ()
    """Stretches in which it was seen, in time order. One that touches or overlaps the last one before it becomes one
    with it: whether a stretch that goes on is told as its new part or anew from its beginning is all the same. None
    begins before the beginning of the last one that is stored."""
    looks: Sequence[Look] = ()
    label: str | None = None
    label_score: float | None = None

    def __post_init__(self) -> None:
        if (self.label is None) != (self.label_score is None):
            raise ValueError("a label and its score come together")
        if not all(0 < span.seconds < math.inf for span in self.spans):
            raise ValueError("an object is seen for some time, and not for ever")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the store, without its track, masks and vectors."""

    object_id: ObjectId
    video_id: VideoId
    label: str
    """Empty if it has none."""
    label_score: float
    origin: Origin
    added_at: str
    """RFC 3339 with zone."""
    spans: tuple[Span, ...]
    """In which it was seen: in time order, apart from each other."""
    tracked_from: float | None
    """Time of the first box of its track, whether it is seen there or not; None if it has no track yet."""
    tracked_until: float | None
    """Time of the last one."""
    num_looks: int
    thumbnail_path: str | None
    """Crop of its newest look; None if it has no look."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredLook:
    """An object of the store at a key moment; fields as `Look` has them."""

    seconds: float
    box: Box
    mask_size: tuple[int, int]
    mask: bytes = field(repr=False)
    embedding: np.ndarray
    thumbnail_path: str


@dataclass(frozen=True, slots=True)
class ObjectHit:
    """An object that a search found, by the look of it that is most alike to the query."""

    object_id: ObjectId
    video_id: VideoId
    score: float
    """Inner product of query and look, larger is more alike."""
    seconds: float
    """Time of that look."""
    thumbnail_path: str
    """Crop of that look."""


def _are_boxes(boxes: np.ndarray) -> bool:
    """Whether boxes (N, 4) lie in the frame, with left and top first."""
    in_frame = (boxes >= 0) & (boxes <= 1)  # NaN is not
    return bool(in_frame.all() and (boxes[:, :2] <= boxes[:, 2:]).all())
