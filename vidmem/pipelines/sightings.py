"""What is gathered of one object between two commits: where it was, when it was seen, how it looked. On the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vidmem.index import Track
from vidmem.index.objects import Box
from vidmem.models.tracker import ObjectResult
from vidmem.types import Span

LOOK_AGAIN_SECONDS = 30.0
"""After so long without one, a key moment is kept though the object looks as before."""
_ALIKE = 0.9
"""Cosine from which two looks at an object are as one."""
_COMPARED = 8
"""Latest looks that a new one is compared with."""
_CUT_WORTH = 0.5
"""What an object that the frame's edge cuts tells, of what it would tell whole."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One object on one frame."""

    seconds: float
    box: Box | None
    """None where it is not seen."""
    score: float
    """How sure it is that the object is there and its mask right, in [0, 1]."""

    @classmethod
    def of(cls, found: ObjectResult, seconds: float, size: tuple[int, int]) -> Sighting:
        """Of what the tracker says, in a frame of that height and width."""
        height, width = size
        if not found.visible or found.box is None:
            return cls(seconds, None, score_of(found))
        left, top, right, bottom = found.box
        return cls(seconds, (left / width, top / height, right / width, bottom / height), score_of(found))

    @property
    def worth(self) -> float:
        """How much this moment tells of the object's looks: most when it is sure, large (by its side) and whole."""
        if self.box is None:
            return 0.0
        left, top, right, bottom = self.box
        is_cut = min(left, top) <= 0 or max(right, bottom) >= 1
        return self.score * float(np.sqrt((right - left) * (bottom - top))) * (_CUT_WORTH if is_cut else 1.0)


def score_of(found: ObjectResult) -> float:
    """How sure it is that an object is there and its mask right, in [0, 1]."""
    there = 1.0 / (1.0 + float(np.exp(-found.object_score)))
    return there * min(max(found.iou, 0.0), 1.0)


@dataclass(slots=True)
class Presence:
    """When an object was seen. One frame without it, between two with it, is no absence."""

    _begun: float | None = None
    _missed: float | None = None
    _ended: list[Span] = field(default_factory=list)

    def see(self, seconds: float, *, is_seen: bool) -> None:
        """Take in the next frame."""
        if is_seen:
            self._begun = seconds if self._begun is None else self._begun
            self._missed = None
        elif self._begun is not None and self._missed is None:
            self._missed = seconds
        elif self._begun is not None and self._missed is not None:
            self._ended.append(Span(self._begun, self._missed))
            self._begun = self._missed = None

    def interrupt(self, seconds: float) -> None:
        """Nobody looks from here to the next frame."""
        end = seconds if self._missed is None else self._missed
        if self._begun is not None and end > self._begun:
            self._ended.append(Span(self._begun, end))
        self._begun = self._missed = None

    def take(self, until: float) -> tuple[Span, ...]:
        """The spans that were open since the last call, in the order of time; what goes on ends, so far, at `until`."""
        spans, self._ended = self._ended, []
        end = until if self._missed is None else self._missed
        if self._begun is not None and end > self._begun:
            spans.append(Span(self._begun, end))
        return tuple(spans)


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
    """An object on a frame on which it is seen, with its picture."""

    sighting: Sighting
    mask: np.ndarray
    """Bool (H, W)."""
    thumbnail: np.ndarray
    """uint8 RGB (h, w, 3), for people."""
    eye_crop: np.ndarray
    """uint8 RGB (h, w, 3), for the encoder."""


@dataclass(slots=True, eq=False)
class Trail:
    """One object since the last commit, and what is needed of it before that."""

    known_until: float = -1.0
    """What was seen up to here was committed by an earlier pass, and is not given again."""
    num_seen: int = 0
    """Frames on which it was seen."""
    _last_seen: float | None = None
    _sightings: list[Sighting] = field(default_factory=list)
    _presence: Presence = field(default_factory=Presence)
    _best: Glimpse | None = None
    _looks: list[tuple[float, np.ndarray]] = field(default_factory=list)

    def see(self, sighting: Sighting) -> None:
        """Take in the next frame."""
        is_seen = sighting.box is not None
        if is_seen:
            self.num_seen, self._last_seen = self.num_seen + 1, sighting.seconds
        self._presence.see(sighting.seconds, is_seen=is_seen)
        if sighting.seconds > self.known_until:
            self._sightings.append(sighting)

    def interrupt(self, seconds: float) -> None:
        """Nobody looks from here to the next frame."""
        self._presence.interrupt(seconds)

    def unseen_for(self, seconds: float) -> float:
        """How long it was not seen by then, as far as is known; for ever if it never was."""
        last = self._last_seen if self._last_seen is not None else self.known_until
        return seconds - last if last >= 0 else math.inf

    def is_best(self, sighting: Sighting) -> bool:
        """Whether a sighting tells more than any since the last commit, so that `show` should be called."""
        least = 0.0 if self._best is None else self._best.sighting.worth
        return sighting.seconds > self.known_until and sighting.worth > least

    def show(self, glimpse: Glimpse) -> None:
        """Take in how the object looked at a moment that tells more than any other since the last commit."""
        self._best = glimpse

    @property
    def best(self) -> Glimpse | None:
        """The moment since the last commit that tells most."""
        return self._best

    @property
    def has_news(self) -> bool:
        """Whether there is anything that was not taken."""
        return bool(self._sightings)

    def is_new_look(self, embedding: np.ndarray) -> bool:
        """Whether the best moment, with that embedding (C,), is worth to be kept beside the latest ones."""
        assert self._best is not None, "there is nothing to be kept"
        if not self._looks or self._best.sighting.seconds - self._looks[-1][0] >= LOOK_AGAIN_SECONDS:
            return True
        return max(float(embedding @ other) for _, other in self._looks) < _ALIKE

    def remember(self, seconds: float, embedding: np.ndarray) -> None:
        """Note a key moment that is kept."""
        self._looks = [*self._looks, (seconds, embedding)][-_COMPARED:]

    def take(self, until: float) -> tuple[Track, tuple[Span, ...]]:
        """Give away the track and the spans since the last call, and the best moment."""
        track = track_of(self._sightings)
        self._sightings, self._best = [], None
        spans = self._presence.take(until)
        return track, tuple(
            Span(max(span.start, self.known_until), span.end) for span in spans if span.end > self.known_until
        )


def track_of(sightings: Sequence[Sighting]) -> Track:
    hidden = (np.nan,) * 4
    return Track(
        np.array([sighting.seconds for sighting in sightings], dtype=np.float64),
        np.array([sighting.box or hidden for sighting in sightings], dtype=np.float32).reshape(-1, 4),
        np.array([sighting.score for sighting in sightings], dtype=np.float32),
    )
