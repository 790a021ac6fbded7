"""Following objects through videos that a store holds, out of the files that they were ingested from. What never was a
file, as a stream, is followed through the pictures that the store has of it."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from vidmem.errors import BadInput, NotFound, StoreCorrupt
from vidmem.index import (
    ObjectId,
    ObjectUpdate,
    Origin,
    Store,
    StoredLook,
    StoredObject,
    StoredVideo,
    Track,
    decode_mask,
)
from vidmem.index.objects import Box
from vidmem.ingest import Source, next_tick, open_source
from vidmem.ingest.images import PictureFilesSource
from vidmem.ingest.sampling import Timed
from vidmem.ingest.source import SourceInfo
from vidmem.models.tracker import Change, Prompt
from vidmem.pipelines.following import MAX_KNOWN, Follower
from vidmem.pipelines.noticing import NoticeConfig, Noticer
from vidmem.pipelines.scenes import Scene
from vidmem.pipelines.tracking import (
    Pass,
    PassOptions,
    Plan,
    Pointed,
    check_times,
    follow,
    follow_pointed,
    scaled_mask,
)
from vidmem.types import Span, VideoId, format_time

if TYPE_CHECKING:
    from vidmem.pipelines.loading import Models
    from vidmem.pipelines.timeline import Timeline, Timelines

NOTICE_SECONDS = 2.0
"""In a scene that lasts, what is new is looked for again after so long: what comes and goes without a cut is missed if
it stays for less. Each time costs about five frames of following three objects (a tracker of 160 pixels on a CPU)."""

_CLAIM_SECONDS = 0.5
"""Between two frames of a track an object is where it was on the nearer one, if that is not further away."""


@dataclass(frozen=True, slots=True)
class TrackedObject:
    """An object that was followed, and what this pass saw of it."""

    object_id: ObjectId
    label: str
    spans: tuple[Span, ...]
    """In which it was seen, all passes together."""
    tracked_from: float
    tracked_until: float
    """Time of the last frame that was looked at."""
    frames: int
    """Frames that this pass looked at."""
    changes: tuple[Change, ...]
    """When this pass lost it, and when it came back."""
    notes: tuple[str, ...]
    """What was wrong with the video, a sentence each."""


@dataclass(frozen=True, slots=True)
class FoundObjects:
    """What a pass for objects found in one video."""

    video: str
    object_ids: tuple[ObjectId, ...]
    """All that were found in it, by this pass or before."""
    resumed_from: float
    """Where a pass that was cut short went on; 0.0 for a new one."""
    tracked_until: float
    frames: int
    """Frames that this pass looked at."""
    notes: tuple[str, ...]
    """What was wrong with the video, a sentence each."""


@dataclass(frozen=True, slots=True)
class StoreKeeper:
    """Keeps objects of one video of a store."""

    store: Store
    video_id: VideoId

    def add(self, *, label: str, label_score: float, origin: Origin) -> ObjectId:
        return self.store.add_object(self.video_id, label=label, label_score=label_score, origin=origin)

    def extend(self, updates: Sequence[ObjectUpdate]) -> None:
        self.store.extend_objects(self.video_id, updates)


@dataclass(frozen=True, slots=True, eq=False)
class StoredTracking:
    """Follows objects through videos of one store, that is open for writing."""

    store: Store
    models: Models
    timelines: Timelines
    one_at_a_time: threading.Lock
    """Held by a pass: of two at once, each would go on with the same objects."""

    def track(
        self, video: StoredVideo, path: Path, pointed: Pointed, at: float, options: PassOptions, *, label: str
    ) -> TrackedObject:
        """Follow what somebody points at; see `VideoMemory.track`."""
        line = self.timelines.of(video)
        with self.one_at_a_time, self._opened(line, path, since=at) as source:
            check_times(source, at, options.until)
            _check_seen(line, at)
            follower = self._follower(video, options.selection)
            number = follower.begin(label=label)
            done = follow_pointed(source, follower, number, pointed, at, options, gaps=gaps_of(line))
        return self._tracked(_kept(follower, number), done)

    def resume(self, known: StoredObject, video: StoredVideo, options: PassOptions) -> TrackedObject:
        """Go on with an object behind what was followed of it; see `VideoMemory.follow`."""
        looks = self.store.looks_of(known.object_id)
        if not looks:
            raise BadInput(f"object {known.object_id} has no picture to go on from: track it anew.")
        look, line = looks[-1], self.timelines.of(video)
        with self.one_at_a_time, self._opened(line, Path(video.source), since=look.seconds) as source:
            check_times(source, look.seconds, options.until)
            _check_seen(line, look.seconds)
            follower = self._follower(video, options.selection)
            number = _resumed(follower, known, looks)
            prompts = [(look.seconds, functools.partial(_of_look, number, look, follower.view.width))]
            plan = Plan(look.seconds, options.until, options.fps, options.picture(source), prompts, gaps=gaps_of(line))
            done = follow(source, follower, plan, watch=options.watch, progress=options.progress)
        return self._tracked(known.object_id, done)

    def find(
        self,
        video: StoredVideo,
        scenes: Sequence[Scene],
        config: NoticeConfig,
        options: PassOptions,
        *,
        behind: float = 0.0,
    ) -> FoundObjects:
        """Find objects by themselves, on some frames a second; see `VideoMemory.find_objects`.

        Args:
            behind: up to where an earlier pass looked, in seconds, if more is known than that of the objects it found.
        """
        until, fps = options.until, options.fps
        assert fps is not None, "a pass that can be resumed is on a grid"
        if not video.is_finished:  # what is ingested later has no scenes yet
            until = video.committed_until if until is None else min(until, video.committed_until)
        with self.one_at_a_time:
            before = self._found_in(video)
            reached = max([behind, *(known.tracked_until or 0.0 for known in before)])
            line = self.timelines.of(video)
            noticer = Noticer(self.models.eye, config, claims=self._claims(video))
            follower = self._follower(video, options.selection, noticer)
            plan = self._resume_plan(follower, before, reached, fps, line)
            plan = replace(plan, until=until, notice_at=notice_times(scenes, behind=reached), gaps=gaps_of(line))
            with self._opened(line, Path(video.source), since=plan.start) as source:
                check_times(source, 0.0, until)
                ends = [end for end in (until, source.info.duration_seconds) if end is not None]
                has_no_more = reached > 0 and bool(ends) and min(ends) - reached < 1.5 / fps
                done = Pass() if has_no_more else follow(source, follower, plan, progress=options.progress)
            found = self._found_in(video)
        return FoundObjects(
            video=video.name,
            object_ids=tuple(known.object_id for known in found),
            resumed_from=reached,
            tracked_until=max(reached, done.last_seconds),
            frames=done.frames,
            notes=tuple(done.notes),
        )

    def _found_in(self, video: StoredVideo) -> list[StoredObject]:
        return [known for known in self.store.objects([video.video_id]) if known.origin == "found"]

    def _opened(self, line: Timeline, path: Path, *, since: float) -> AbstractContextManager[Source]:
        """What a video is followed in from some time on: its file, or the store's own pictures of what never was one.

        Raises as `_file_of` and `_pictures_of`.
        """
        video = line.video
        if video.source == "iterable" or video.video_id in self.store.stream_ids():
            return _pictures_of(line, since)
        return _file_of(video, path)

    def _follower(self, video: StoredVideo, selection: str, noticer: Noticer | None = None) -> Follower:
        tracker = self.models.tracker_for(selection)
        return Follower(tracker, keeper=StoreKeeper(self.store, video.video_id), eye=self.models.eye, noticer=noticer)

    def _claims(self, video: StoredVideo) -> Callable[[float], list[Box]]:
        """Where the objects are at a time that somebody has pointed at."""
        tracks = []
        for known in self.store.objects([video.video_id]):
            if known.origin == "asked":
                try:
                    tracks.append(self.store.track_of(known.object_id))
                except StoreCorrupt as error:
                    self.store.notice(str(error))
        return lambda seconds: [box for track in tracks if (box := _box_at(track, seconds)) is not None]

    def _resume_plan(
        self, follower: Follower, before: Sequence[StoredObject], reached: float, fps: float, line: Timeline
    ) -> Plan:
        """Begin where the objects that were followed to the end of the last pass had their last looks."""
        prompts, start = [], reached
        for known in sorted(before, key=lambda known: known.tracked_until or 0.0)[-MAX_KNOWN:]:
            looks = self.store.looks_of(known.object_id)
            if not looks:
                continue
            number = _resumed(follower, known, looks)
            if known.tracked_until == reached and not line.has_expired(looks[-1].seconds):
                prompts.append((looks[-1].seconds, functools.partial(_of_look, number, looks[-1], follower.view.width)))
                start = min(start, looks[-1].seconds)
        # The grid of the first pass, so that the frames of those looks are among those that are looked at.
        return Plan(next_tick(start, fps=fps), None, fps, prompts=prompts)

    def _tracked(self, object_id: ObjectId, done: Pass) -> TrackedObject:
        known = self.store.object(object_id)
        return TrackedObject(
            object_id=object_id,
            label=known.label,
            spans=known.spans,
            tracked_from=known.tracked_from or 0.0,
            tracked_until=known.tracked_until or 0.0,
            frames=done.frames,
            changes=tuple(replace(change, object_id=object_id) for change in done.changes),
            notes=tuple(done.notes),
        )


@contextmanager
def _file_of(video: StoredVideo, path: Path) -> Iterator[Source]:
    """The file that a video was ingested from.

    Raises:
        NotFound: it is not there.
        BadInput: it holds something else by now.
    """
    try:
        source = open_source(path)
    except NotFound as error:
        raise NotFound(f"{video.name} is not at {path} any more, where it was ingested from: put it back.") from error
    with source:
        if source.info.content_id != video.content_id:
            raise BadInput(f"{path} is not what was ingested as {video.name}: put that file back, or ingest this one.")
        yield source


def _pictures_of(line: Timeline, since: float) -> PictureFilesSource:
    """The pictures of a video's frames that are on display at a time or later. Raises BadInput if there is none."""
    video, first = line.video, max(0, int(np.searchsorted(line.pts_seconds, since, side="right")) - 1)
    pictures = [
        Timed(float(line.pts_seconds[place]), float(line.end_seconds[place]), Path(thumbnail))
        for place, thumbnail in enumerate(line.thumbnails[first:], first)
        if thumbnail is not None
    ]
    if not pictures:
        raise BadInput(f"no picture of {video.name} is in the store: let some of it be watched first.")
    assert video.width and video.height, "frames that were kept had a size"
    info = SourceInfo(
        uri=video.source,
        name=video.name,
        content_id=None,
        duration_seconds=pictures[-1].end_seconds,
        width=video.width,
        height=video.height,
        average_fps=video.average_fps,
        codec="pictures",
        container="store",
        pts_offset_seconds=0.0,
        rotation=0,
        decoder="pillow",
    )
    return PictureFilesSource(info, pictures)


def gaps_of(line: Timeline) -> list[Span]:
    """Stretches of a stream, in the order of time, of which nothing was seen, or what was seen has left."""
    if line.clock is None:
        return []
    ends, starts = line.end_seconds[:-1], line.pts_seconds[1:]
    left = [place for place in np.flatnonzero(starts > ends).tolist() if line.has_expired(float(ends[place]))]
    holes = [Span(float(ends[place]), float(starts[place])) for place in left]
    return sorted([*holes, *(Span(gap.start, gap.end) for gap in line.clock.gaps)])


def _check_seen(line: Timeline, at: float) -> None:
    """Raises BadInput if nothing was seen then, or that has left the store."""
    when = f"of {line.video.name} at {format_time(at, milliseconds=True)}"
    if line.is_in_gap(at):
        raise BadInput(f"nothing was seen {when}: the stream was lost then; give a time at which it was there.")
    if line.has_expired(at):
        raise BadInput(f"what was seen {when} has left the store: give a later time.")


def notice_times(scenes: Sequence[Scene], *, behind: float) -> list[float]:
    """When to look for objects: at the beginnings of scenes, and now and then within them; none before `behind`."""
    times = []
    for scene in scenes:
        skipped = max(0, math.ceil((behind - scene.start) / NOTICE_SECONDS))
        seconds = scene.start + skipped * NOTICE_SECONDS
        while seconds < scene.end:
            times.append(seconds)
            seconds += NOTICE_SECONDS
    return times


def _box_at(track: Track, seconds: float) -> Box | None:
    """Where an object was at a time; None if it was not seen there, or not looked for."""
    if not len(track):
        return None
    place = int(np.abs(track.seconds - seconds).argmin())
    if abs(track.seconds[place] - seconds) > _CLAIM_SECONDS or not track.is_seen[place]:
        return None
    return track.box(place)


def _resumed(follower: Follower, known: StoredObject, looks: Sequence[StoredLook]) -> int:
    """An object in a follower that knows how it looked so far, and so names it by all of that."""
    number = follower.resume(
        known.object_id,
        known_until=-1.0 if known.tracked_until is None else known.tracked_until,
        origin=known.origin,
        label=known.label,
        label_score=known.label_score,
    )
    for look in looks:
        follower.learn(number, look.embedding)
    return number


def _of_look(number: int, look: StoredLook, square: int, size: tuple[int, int]) -> Prompt | None:
    """A look as a prompt; None if it is too small for the tracker's eyes."""
    mask = scaled_mask(decode_mask(look.mask, look.mask_size), size)
    if not mask.any():
        return None
    prompt = Prompt(number, mask=mask)
    return prompt if bool(prompt.mask_input(square, torch.device("cpu")).any()) else None


def _kept(follower: Follower, number: int) -> ObjectId:
    object_id = follower.id_of(number)
    assert object_id is not None, "what was asked for and seen is kept at the end of the pass"
    return object_id
