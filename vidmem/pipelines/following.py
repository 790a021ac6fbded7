"""Objects followed through a stream of frames, and what is remembered of them handed out piece by piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from vidmem.errors import BadInput
from vidmem.index import Look, ObjectId, ObjectUpdate, Origin, encode_mask
from vidmem.models.labels import crop_of
from vidmem.models.tracker import Change, FrameResult, Prompt, Tracker
from vidmem.models.tracking.results import PixelBox
from vidmem.pipelines.noticing import Eye, Noticer
from vidmem.pipelines.sightings import Glimpse, Sighting, Trail
from vidmem.pipelines.writing import jpeg
from vidmem.types import Frame, View

PICTURE = View(640, 640, keep_aspect=True)
"""What masks and crops are made of, where nobody wants more."""
THUMBNAIL = View(192, 192)
COMMIT_SECONDS = 8.0
"""What is new is handed out after so much video. Of each object at most one key moment is kept in it, the clearest."""
PATIENCE_SECONDS = 30.0
"""So long an object that was found, and that nobody asked for, is looked for where it is not seen."""
MAX_KNOWN = 256
"""Objects that were found and lost and are known again when they come back; of more, those seen last."""
_MIN_SIGHTINGS = 3
"""Frames on which something that was found must be seen to be an object."""


class Keeper(Protocol):
    """Keeps what was gathered: a store's video, or whatever else remembers."""

    def add(self, *, label: str, label_score: float, origin: Origin) -> ObjectId:
        """Begin an object."""
        ...

    def extend(self, updates: Sequence[ObjectUpdate]) -> None:
        """Keep what is new of some objects, all of it or nothing."""
        ...


@dataclass(slots=True, eq=False)
class _Followed:
    """An object that the follower knows, whether it is looked for or not."""

    origin: Origin
    label: str
    label_score: float
    object_id: ObjectId | None = None
    """None until it is kept."""
    trail: Trail = field(default_factory=Trail)
    is_named: bool = False
    """Whether a person has said what it is called."""
    appearance: np.ndarray | None = None
    """Sum of the embeddings (C,) of all its key moments."""

    @property
    def is_kept(self) -> bool:
        """Whether it is, or should be, kept."""
        return self.object_id is not None or self.trail.num_seen >= (1 if self.origin == "asked" else _MIN_SIGHTINGS)

    @property
    def patience(self) -> float:
        """Seconds for which it is looked for unseen, if it was found."""
        return PATIENCE_SECONDS if self.is_kept else 0.0


class Follower:
    """Follows objects through one stream, wherever its frames come from, and hands what is new of them to a keeper.

    What is held does not grow with the stream: of an object its track and spans since the last commit, one picture, and
    the embeddings of some key moments; of objects that were found, those that are followed and `MAX_KNOWN` others.

    A commit is the keeper's: what it raises comes out of `step`, and what was to be kept is given away all the same.

    Args:
        tracker: in which nothing is followed yet.
        keeper: None if nothing is to be remembered.
        eye: makes embeddings and labels; needed if there is a keeper.
        noticer: finds objects by itself, when `step` says so, if there is a keeper; None for prompted ones only.
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        keeper: Keeper | None = None,
        eye: Eye | None = None,
        noticer: Noticer | None = None,
    ) -> None:
        assert keeper is None or eye is not None, "what is kept needs an embedding"
        self._tracker, self._keeper, self._eye, self._noticer = tracker, keeper, eye, noticer
        self._objects: dict[int, _Followed] = {}
        self._next = 1
        self._seconds: float | None = None
        self._committed_at: float | None = None
        self._step_seconds = 0.0

    @property
    def view(self) -> View:
        """What the first view of each frame must be."""
        return self._tracker.view

    def begin(self, *, label: str = "", origin: Origin = "asked") -> int:
        """Make room for a new object. Returns the number that prompts, results and changes call it by.

        Args:
            label: what a person calls it; "" leaves that to the eye.
        """
        return self._enter(_Followed(origin, label, 1.0 if label else 0.0, is_named=bool(label)))

    def resume(self, object_id: ObjectId, *, known_until: float, origin: Origin, label: str, label_score: float) -> int:
        """Make room for an object that an earlier pass followed until `known_until`: only what comes later is kept.

        Prompt it with the mask of a look at it. Returns its number, as `begin`.
        """
        trail = Trail(known_until=known_until)
        is_named = bool(label) and label_score >= 1.0
        return self._enter(_Followed(origin, label, label_score, object_id, trail, is_named))

    def id_of(self, number: int) -> ObjectId | None:
        """The id that an object was kept under; None if it was not yet."""
        return self._objects[number].object_id

    def label_of(self, number: int) -> str:
        """What an object is called; "" if that is not known."""
        return self._objects[number].label

    def step(self, frame: Frame, prompts: Sequence[Prompt] = (), *, notice: bool = False) -> FrameResult:
        """Follow all objects to the next frame.

        Args:
            frame: its first view is `view`, its second the picture that masks, boxes and prompts are in the pixels of.
            prompts: for numbers of `begin` and `resume`.
            notice: look for objects that nobody prompted, if there is a noticer.

        Raises:
            BadInput: see `Tracker.step`. Nothing is changed.
        """
        square, picture = frame.views[:2]
        size = picture.shape[0], picture.shape[1]
        result = self._tracker.step(square, frame.pts_seconds, frame_size=size, prompts=prompts)
        if self._keeper is None:
            return result
        since, self._seconds = self._seconds, frame.pts_seconds
        self._step_seconds = 0.0 if since is None else frame.pts_seconds - since
        if notice and self._noticer is not None:
            result = self._notice(result, picture)
        self._gather(result, picture)
        self._let_go(frame.pts_seconds)
        if self._committed_at is None:
            self._committed_at = frame.pts_seconds
        if frame.pts_seconds - self._committed_at >= COMMIT_SECONDS:
            self._commit(frame.pts_seconds)
        return result

    def interrupt(self, seconds: float) -> None:
        """Nothing is known from here to the next frame: what was seen until now may have gone meanwhile."""
        self._seconds = None  # the next step is none from the last frame
        for followed in self._objects.values():
            followed.trail.interrupt(seconds)

    def finish(self, end: float | None = None) -> None:
        """Hand out the rest. The last frame stands as long as the one before it, but not beyond `end`."""
        if self._seconds is not None:
            until = self._seconds + self._step_seconds
            self._commit(until if end is None else max(self._seconds, min(until, end)))

    def _enter(self, followed: _Followed) -> int:
        number, self._next = self._next, self._next + 1
        self._objects[number] = followed
        return number

    def _notice(self, result: FrameResult, picture: np.ndarray) -> FrameResult:
        """Prompt what is found on the present frame and not followed yet."""
        assert self._noticer is not None
        changes = list(result.changes)
        seen = [found for found in result.objects if found.visible]
        lost = self._objects.keys() - {found.object_id for found in seen}
        for noticed in self._noticer.look(self._tracker, seen, lost, picture, result.seconds):
            number = self.begin(origin="found") if noticed.number is None else noticed.number
            was_followed = number in self._tracker.object_ids
            try:
                result = self._tracker.prompt(Prompt(number, mask=noticed.mask))
            except BadInput:  # it is too small for the tracker's eyes
                if noticed.number is None:
                    del self._objects[number]
                continue
            changes += result.changes
            if noticed.number is not None and not was_followed:
                changes.append(Change(number, "back", result.seconds))
            self.learn(number, noticed.embedding)
        return replace(result, changes=tuple(changes))

    def learn(self, number: int, embedding: np.ndarray) -> None:
        """Note how an object looks, as an embedding (C,) of unit length, so that it is known again, and named."""
        followed = self._objects[number]
        followed.appearance = embedding if followed.appearance is None else followed.appearance + embedding
        if self._noticer is not None:
            self._noticer.remember(number, embedding)
        if not followed.is_named and self._eye is not None:
            followed.label, followed.label_score = self._eye.label(followed.appearance)

    def _gather(self, result: FrameResult, picture: np.ndarray) -> None:
        size = picture.shape[0], picture.shape[1]
        for found in result.objects:
            trail = self._objects[found.object_id].trail
            sighting = Sighting.of(found, result.seconds, size)
            trail.see(sighting)
            if found.box is not None and trail.is_best(sighting):
                trail.show(self._glimpse(sighting, found.mask.cpu().numpy(), found.box, picture))

    def _glimpse(self, sighting: Sighting, mask: np.ndarray, box: PixelBox, picture: np.ndarray) -> Glimpse:
        assert self._eye is not None
        thumbnail = crop_of(picture, box, THUMBNAIL)
        return Glimpse(sighting, mask, thumbnail, self._eye.crop(picture, box, mask))

    def _let_go(self, seconds: float) -> None:
        """Follow no more what was found and has long been lost; what was hardly seen at all is forgotten."""
        for number in self._tracker.object_ids:
            followed = self._objects[number]
            if followed.origin == "asked" or followed.trail.unseen_for(seconds) <= followed.patience:
                continue
            self._tracker.remove(number)
            if not followed.is_kept:
                self._forget(number)

    def _forget(self, number: int) -> None:
        del self._objects[number]
        if self._noticer is not None:
            self._noticer.forget(number)

    def _forget_oldest(self, seconds: float) -> None:
        """Keep what is known of all that was ever found within bounds."""
        gone = self._objects.keys() - set(self._tracker.object_ids)
        found = sorted(number for number in gone if self._objects[number].origin == "found")
        found.sort(key=lambda number: self._objects[number].trail.unseen_for(seconds))
        for number in found[MAX_KNOWN:]:
            self._forget(number)

    def _commit(self, until: float) -> None:
        """Hand out all that is new of objects that are to be kept."""
        assert self._keeper is not None
        self._committed_at = self._seconds
        news = {number: one for number, one in self._objects.items() if one.is_kept and one.trail.has_news}
        looks = self._looks(news)
        updates = []
        for number, followed in news.items():
            if followed.object_id is None:
                name, score = followed.label, followed.label_score
                followed.object_id = self._keeper.add(label=name, label_score=score, origin=followed.origin)
            track, spans = followed.trail.take(until)
            updates.append(
                ObjectUpdate(
                    followed.object_id,
                    track,
                    spans,
                    looks.get(number, ()),
                    followed.label or None,
                    followed.label_score if followed.label else None,
                )
            )
        if updates:
            self._keeper.extend(updates)
        self._forget_oldest(until)

    def _looks(self, news: Mapping[int, _Followed]) -> dict[int, tuple[Look, ...]]:
        """The key moments that are worth to be kept, of each object that has one."""
        assert self._eye is not None
        shown = {number: one.trail.best for number, one in news.items() if one.trail.best is not None}
        embeddings = self._eye.embed([glimpse.eye_crop for glimpse in shown.values()])
        looks: dict[int, tuple[Look, ...]] = {}
        for (number, glimpse), embedding in zip(shown.items(), embeddings, strict=True):
            if news[number].trail.is_new_look(embedding):
                news[number].trail.remember(glimpse.sighting.seconds, embedding)
                self.learn(number, embedding)
                looks[number] = (_look(glimpse, embedding),)
        return looks


def _look(glimpse: Glimpse, embedding: np.ndarray) -> Look:
    assert glimpse.sighting.box is not None, "what is seen has a box"
    return Look(
        seconds=glimpse.sighting.seconds,
        box=glimpse.sighting.box,
        mask_size=(glimpse.mask.shape[0], glimpse.mask.shape[1]),
        mask=encode_mask(glimpse.mask),
        crop=jpeg(glimpse.thumbnail),
        embedding=embedding,
    )
