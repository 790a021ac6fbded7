"""`ObjectMemory`: what an open store with its models can do with objects: follow, find, list, say where they are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidmem.errors import BadInput
from vidmem.index import ObjectId, Store, StoredVideo
from vidmem.ingest import open_source
from vidmem.pipelines.ingest import Progress, progress_bar
from vidmem.pipelines.objects import RememberedObject
from vidmem.pipelines.remembering import Memories
from vidmem.pipelines.stored_memory import StoredMemory
from vidmem.pipelines.timeline import Timelines

if TYPE_CHECKING:
    from vidmem.pipelines.loading import Models
    from vidmem.pipelines.noticing import NoticeConfig
    from vidmem.pipelines.stored_tracking import FoundObjects, StoredTracking, TrackedObject
    from vidmem.pipelines.tracking import Watch

TRACK_FPS = 5.0
"""Frames a second that are looked at, where nobody says. Somebody who walks moves by a step between two."""


class ObjectMemory(StoredMemory):
    """The part of `VideoMemory` that is about objects."""

    def __init__(self, store: Store, memories: Memories, timelines: Timelines, models: Models) -> None:
        super().__init__(store, memories, timelines)
        self._models = models
        self._one_at_a_time = threading.Lock()

    def track(
        self,
        video: str | os.PathLike[str],
        at: float,
        *,
        box: tuple[float, float, float, float] | None = None,
        point: tuple[float, float] | None = None,
        mask: np.ndarray | None = None,
        in_fractions: bool = False,
        until: float | None = None,
        fps: float | None = TRACK_FPS,
        label: str = "",
        selection: str = "samurai",
        watch: Watch | None = None,
        progress: bool | Progress = True,
    ) -> TrackedObject:
        """Follow what somebody points at through a video, from there on, and remember it.

        In a stream, which has no file, it is followed through the pictures that the store has of its frames until now.
        It is committed piece by piece: interrupted, it leaves what was committed, and `follow` goes on from there.

        Args:
            video: one of the store: its id, its file, or its name where no other video has that.
            at: seconds of the frame that the prompt is for.
            box: x and y of its left top corner, width and height, in pixels of the video.
            point: x and y in pixels of the video. Give one of box, point and mask.
            mask: (H, W) of the video's frames, true or above 0 where the object is.
            in_fractions: whether box and point are fractions of the frame's width and height, whatever its size.
            until: where to stop, in seconds; None for the end of the video.
            fps: frames to look at in a second of video, None for all.
            label: what it is called; "" leaves that to the preset's vocabulary.
            selection: how the tracker chooses its memory, of `vidmem.models.tracker.SELECTIONS`.
            watch: called with each frame, in the video's own size, and what was found on it.
            progress: True shows a bar on a terminal; a function is called with seconds done and seconds in all.

        Raises:
            NotFound: there is no such video, or its file is gone.
            BadInput: the prompt is outside of the frame or the video's time, marks nothing, or nothing is found there;
                the file was changed; the store was opened read-only.
            CorruptMedia: the file ends before `at`.
            MissingModel: the preset's tracker is not here.
            StorageFull: the disk is full; what was committed stays.
        """
        from vidmem.pipelines.tracking import PassOptions, Pointed

        self._check_writable("follow objects")
        pointed = Pointed(box, point, mask, in_fractions)
        stored, path = self._in_store(video)
        with _reporting(progress, stored.name) as report:
            options = PassOptions(until, fps, selection, watch, report)
            return self._tracking.track(stored, path, pointed, at, options, label=" ".join(label.split()))

    def follow(
        self,
        object_id: int,
        *,
        until: float | None = None,
        fps: float | None = TRACK_FPS,
        selection: str = "samurai",
        watch: Watch | None = None,
        progress: bool | Progress = True,
    ) -> TrackedObject:
        """Go on with an object of the store behind what was followed of it, from how it looked last.

        Arguments and errors as of `track`. Raises NotFound if there is no such object.
        """
        from vidmem.pipelines.tracking import PassOptions

        self._check_writable("follow objects")
        known = self._store.object(ObjectId(object_id))
        stored = self._store.video(known.video_id)
        with _reporting(progress, stored.name) as report:
            return self._tracking.resume(known, stored, PassOptions(until, fps, selection, watch, report))

    def find_objects(
        self,
        video: str | os.PathLike[str] | None = None,
        *,
        until: float | None = None,
        fps: float = TRACK_FPS,
        config: NoticeConfig | None = None,
        selection: str = "samurai",
        progress: bool | Progress = True,
    ) -> list[FoundObjects]:
        """Find and follow what there is in a video without anybody pointing at it, and remember it.

        What is new is looked for at the beginning of each scene, and every two seconds within it. Called again, it goes
        on behind the last frame on which an object was followed: so now and then during a watch.

        Args:
            video: as of `track`; None for all videos of the store.
            config: how much is followed; None for the defaults.

        Raises as `track`.
        """
        from vidmem.pipelines.noticing import NoticeConfig
        from vidmem.pipelines.tracking import PassOptions

        self._check_writable("find objects")
        config, found = config or NoticeConfig(), []
        for stored in self._present() if video is None else [self._in_store(video)[0]]:
            with _reporting(progress, stored.name) as report:
                options = PassOptions(until, fps, selection, progress=report)
                found.append(self._tracking.find(stored, self._scenes.of(stored), config, options))
        return found

    def objects(self, text: str | None = None, *, video: str | None = None) -> list[RememberedObject]:
        """The objects that are remembered: all in the order they came, or those that some words name, best first.

        Words find an object by its label, and by its looks where the encoder finds them alike.

        Args:
            video: its id, or its name where no other video has that; None for all.

        Raises:
            NotFound: there is no such video.
            BadInput: the text is empty, or several videos have this name.
        """
        if text is None:
            return super().objects(video=video)
        text = words_of(text, "search for objects")
        return self._objects.find(
            text, self._videos_named(video), self._embedded, floor=self._models.preset.encoder.relevance_floor
        )

    def _embedded(self, words: str) -> np.ndarray:
        return self._models.encoder.encode_text([words])[0].cpu().numpy()

    def _in_store(self, video: str | os.PathLike[str]) -> tuple[StoredVideo, Path]:
        """A video by its id, by a file with its content, or by its name; and where its file should be."""
        videos, name = self._present(), os.fspath(video)
        of_id = [one for one in videos if one.video_id == name]
        if not of_id and Path(name).exists():
            with open_source(name) as source:
                same = [one for one in videos if one.content_id == source.info.content_id]
            if same:
                return same[-1], Path(name)
        found = of_id[0] if of_id else self._found(name)
        return found, Path(found.source)

    @cached_property
    def _tracking(self) -> StoredTracking:
        from vidmem.pipelines.stored_tracking import StoredTracking

        return StoredTracking(self._store, self._models, self._timelines, self._one_at_a_time)


def words_of(text: str, what: str) -> str:
    """A text in one line. Raises BadInput if it is empty."""
    text = " ".join(text.split())
    if not text:
        raise BadInput(f"the {what} is empty: say what to look for.")
    return text


@contextmanager
def _reporting(progress: bool | Progress, name: str) -> Iterator[Progress | None]:
    """What is called while work goes on: what was given, a bar for True."""
    if progress is not True:
        yield progress or None
        return
    report, bar = progress_bar(name)
    with bar:
        yield report
