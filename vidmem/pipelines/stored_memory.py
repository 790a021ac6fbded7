"""`StoredMemory`: an open store without its models, to look at what it holds, check it and put it in order."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from vidmem.errors import BadInput, NotFound
from vidmem.index import AlertId, ObjectId, Store, StoredAlert, StoredVideo, StoreIdentity, StoreState, Told, Track
from vidmem.kv.tier import TierState
from vidmem.memory import Memory, MemoryConfig
from vidmem.models.preset import load_preset
from vidmem.pipelines.alerts import GONE_SECONDS, asked
from vidmem.pipelines.contents import Contents, contents_of
from vidmem.pipelines.growth import Growth, Size
from vidmem.pipelines.keeping import Keeping, Pruned, keeping_of, prune
from vidmem.pipelines.objects import Objects, RememberedObject
from vidmem.pipelines.planning import spread
from vidmem.pipelines.remembering import Memories
from vidmem.pipelines.retention import Keeper
from vidmem.pipelines.scenes import Scene, Scenes
from vidmem.pipelines.state import State, VideoState, level_of
from vidmem.pipelines.tiers import TierBytes, tiers_of
from vidmem.pipelines.timeline import Timelines
from vidmem.pipelines.watching import WatchState
from vidmem.types import Gap, Retention


@dataclass(frozen=True, slots=True)
class Picture:
    """The thumbnail of a frame."""

    seconds: float
    path: str


class StoredMemory:
    """What can be done with an open store without its models. Made by `open_store`; a context manager.

    For use from one thread at a time.
    """

    def __init__(self, store: Store, memories: Memories, timelines: Timelines) -> None:
        self._store, self._memories, self._timelines = store, memories, timelines
        self._scenes = Scenes(store, timelines)
        self._objects = Objects(store)
        self._keeper = Keeper(store)
        self._growth = Growth(memories)

    @property
    def path(self) -> Path:
        return self._store.path

    @property
    def notices(self) -> Sequence[str]:
        """Sentences for the user on what was found and mended when the store was opened."""
        return self._store.notices

    def videos(self) -> list[StoredVideo]:
        """The videos of the store, in the order they came."""
        return self._store.videos()

    def state(self) -> State:
        """What each store holds, in elements and bytes, and what the folder holds on disk."""
        videos = []
        for video in self._present():
            memory = self._memories.of(video).state()
            clock = self._timelines.of(video).clock
            duration = video.duration_seconds if video.duration_seconds is not None else video.committed_until
            videos.append(
                VideoState(
                    video.video_id,
                    video.name,
                    video.source,
                    duration,
                    video.is_finished,
                    video.num_frames,
                    video.num_clips,
                    memory,
                    begun_at=clock.wall_at(float(clock.starts[0])) if clock else None,
                    gaps=len(clock.gaps) if clock else 0,
                )
            )
        memories = [video.memory for video in videos]
        return State(
            path=str(self.path),
            preset=self._preset_name(),
            sensory=level_of([memory.sensory for memory in memories]),
            working=level_of([memory.working for memory in memories]),
            long_term=level_of([memory.long_term for memory in memories]),
            videos=tuple(videos),
            disk=self.disk(),
            kv=self._kv_state(),
            notices=tuple(self._store.notices),
            watching=self._watching(),
            keeping=self.keeping(),
        )

    def disk(self) -> StoreState:
        """What the folder holds on disk: as in `state`, but without a look into any memory."""
        return self._store.state()

    def contents(self, video: str) -> Contents:
        """What the three stores hold of a video, element by element, each with a picture. Args and errors as `scenes`.

        It is the memory after the last committed clip, with the reads that questions to this object have made of it.
        """
        found = self._found_present(video)
        return contents_of(self._memories.of(found), self._timelines.of(found))

    def tiers(self, video: str) -> tuple[TierBytes, ...]:
        """Where the bytes lie: of a video's three stores, and of the store's files and blocks. Args as `scenes`."""
        memory = self._memories.of(self._found_present(video))
        return tiers_of(memory.state(), self._kv_state(), self._store.state())

    def growth(self, video: str, *, at_most: int = sys.maxsize) -> list[Size]:
        """How many elements the three stores of a video held all along it. Args and errors as of `scenes`.

        Args:
            at_most: frames to look at in this call: the next one goes on behind them.
        """
        return self._growth.of(self._found_present(video), at_most=at_most)

    def keeping(self, retention: Retention | None = None) -> Keeping | None:
        """How the store grows, and what would leave it now; None if no stream was watched into it.

        `retention`: in place of what was last said of how long clips are kept.
        """
        return keeping_of(self._store, retention)

    def keeping_noted(self) -> Retention:
        """What was last said of how long clips are kept."""
        return self._store.retention()

    def prune(self, keep: Retention) -> Pruned:
        """Let go, for good, of all that the store's streams are not to keep, and note what is. The gist stays.

        Raises BadInput if the store was opened read-only.
        """
        self._check_writable("let clips go")
        return prune(self._store, self._keeper, keep)

    def scenes(self, video: str | None = None) -> list[Scene]:
        """The stretches between changes of what a video shows, in the order of time, each with a frame of it.

        They cover the video as far as it was ingested. Those that have ended stay as they are while it goes on.

        Args:
            video: its id, or its name where no other video has that. None: all videos, in the order they came.

        Raises:
            NotFound: there is no such video.
            BadInput: several videos have this name.
        """
        return [scene for one in self._videos_named(video) for scene in self._scenes.of(one)]

    def objects(self, *, video: str | None = None) -> list[RememberedObject]:
        """The objects that were followed, in the order they came into the store.

        Args and errors as of `scenes`.
        """
        return self._objects.all(self._videos_named(video))

    def gaps(self, video: str) -> list[Gap]:
        """What was not seen of a stream, in the order of time; none of a file. Errors as of `scenes`."""
        clock = self._timelines.of(self._found(video)).clock
        return list(clock.gaps) if clock is not None else []

    def pictures(self, video: str, count: int) -> list[Picture]:
        """At most `count` frames of a video that have a picture, evenly over its time. Errors as of `scenes`."""
        line = self._timelines.of(self._found(video))
        shown = [place for place, thumbnail in enumerate(line.thumbnails) if thumbnail is not None]
        chosen = sorted(spread(len(shown), count))
        return [
            Picture(float(line.pts_seconds[place]), thumbnail)
            for place in (shown[index] for index in chosen)
            if (thumbnail := line.thumbnails[place]) is not None
        ]

    def newest_picture(self, video: str) -> Picture | None:
        """The newest frame of a video that has a picture; None while there is none. Errors as of `scenes`."""
        line = self._timelines.of(self._found(video))
        places = reversed(range(len(line)))
        found = ((float(line.pts_seconds[place]), line.thumbnails[place]) for place in places)
        return next((Picture(seconds, path) for seconds, path in found if path is not None), None)

    def video_bytes(self, video: str) -> int:
        """Bytes that a video takes on disk, but for its objects and its rows in catalogue and index. Errors as of
        `scenes`."""
        return self._store.video_bytes(self._found(video).video_id)

    def track_of(self, object_id: int) -> Track:
        """Where an object was, on each frame that was looked at. Raises NotFound if there is no such object."""
        return self._store.track_of(ObjectId(object_id))

    def remove_object(self, object_id: int) -> None:
        """Take an object out of the store for good. What was ingested of the video stays.

        Raises:
            NotFound: there is no such object.
            BadInput: the store was opened read-only.
        """
        self._check_writable("remove an object")
        self._store.remove_object(ObjectId(object_id))

    def label_object(self, object_id: int, label: str) -> None:
        """Say what an object is called; "" for nothing. Raises as `remove_object`."""
        self._check_writable("name an object")
        label = " ".join(label.split())
        self._store.label_object(ObjectId(object_id), label, 1.0 if label else 0.0)

    def alert(self, text: str, *, gone_seconds: float = GONE_SECONDS) -> StoredAlert:
        """Ask something that is told when it happens, of every stream that is watched into this store.

        Who is told of it is said with `Watch.listen`; for args and what is raised see `Watch.alert`.
        """
        self._check_writable("ask a standing question")
        return self._store.add_alert(asked(text, gone_seconds=gone_seconds, source=None))

    def alerts(self) -> list[StoredAlert]:
        """The standing questions about streams, in the order they were asked."""
        return self._store.alerts()

    def told(self, alert_id: int | None = None, *, limit: int = 100) -> list[Told]:
        """The newest of what standing questions were told, or one of them, oldest first."""
        return self._store.told(None if alert_id is None else AlertId(alert_id), limit=limit)

    def remove_alert(self, alert_id: int) -> StoredAlert:
        """Take a standing question out of the store, with all that it was told; returns it as it was.

        Raises:
            NotFound: there is no such question.
            BadInput: the store was opened read-only.
        """
        self._check_writable("remove a standing question")
        return self._store.remove_alert(AlertId(alert_id))

    def verify(self) -> list[str]:
        """Check every file of the store against its checksum. One sentence for each problem; none if it is sound."""
        return self._store.verify()

    def remove(self, video: str) -> StoredVideo:
        """Take a video out of the store for good: its frames, vectors, memories and files, and all answers on it.

        Args:
            video: its id, or its name where no other video has that.

        Returns:
            The video, as it was.

        Raises:
            NotFound: there is no such video.
            BadInput: several videos have this name, or the store was opened read-only.
        """
        self._check_writable("remove a video")
        removed = self._found(video)
        self._store.remove_video(removed.video_id)
        self._present()
        return removed

    def discard_if_unused(self) -> None:
        """Remove the store from the disk, and close it, if this opening made it and no video came into it."""
        if self._store.is_new and not self._store.videos():
            self._store.discard()

    def close(self) -> None:
        """Save the index and let the store go. Closing again does nothing."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_writable(self, what: str) -> None:
        if self._store.is_read_only:
            raise BadInput(f"{self.path} was opened read-only: open it without read_only to {what}.")

    def _videos_named(self, video: str | None) -> list[StoredVideo]:
        """One video by its id or its name, or all of them. Raises as `scenes`."""
        present = self._present()
        return present if video is None else [self._found(video)]

    def _found_present(self, name: str) -> StoredVideo:
        self._present()
        return self._found(name)

    def _found(self, name: str) -> StoredVideo:
        videos = self._store.videos()
        found = [video for video in videos if video.video_id == name]
        found = found or [video for video in videos if video.name == name]
        if not found:
            raise NotFound(f"No video {name!r} in {self.path}: `vidmem info {self.path}` lists those that are there.")
        if len(found) > 1:
            ids = ", ".join(video.video_id for video in found)
            raise BadInput(f"{len(found)} videos in {self.path} are called {name!r}: give the id of one, {ids}.")
        return found[0]

    def _present(self) -> list[StoredVideo]:
        """The videos of the store; what is held of any other is let go."""
        videos = self._store.videos()
        self._memories.keep_only(videos)
        self._timelines.keep_only(videos)
        self._scenes.keep_only(videos)
        return videos

    def _preset_name(self) -> str:
        return self._store.identity.preset

    def _watching(self) -> tuple[WatchState, ...]:
        """Of this process."""
        return ()

    def _kv_state(self) -> tuple[TierState, ...]:
        """In kv mode what each tier holds, the disk first."""
        disk = self._store.blocks_state()
        return () if disk is None else (disk,)


def open_store(path: str | os.PathLike[str], *, read_only: bool = True) -> StoredMemory:
    """Open a store that is there by its manifest alone: neither its preset nor its models need to be at hand.

    Where the preset can't be read any more, an unfinished video's memory is told with the default settings, for what
    was committed since it was last saved.

    Raises:
        NotFound: nothing is there.
        BadInput, StoreLocked, StoreVersion, StoreCorrupt: see `Store.open`.
    """
    folder = Path(path)
    made = Store.peek(folder).identity
    store = Store.open(folder, made, create=False, read_only=read_only)
    timelines = Timelines(store)
    return StoredMemory(store, Memories(store, _memory_settings(made), timelines, widen=True), timelines)


def _memory_settings(made: StoreIdentity) -> MemoryConfig:
    """The memory settings of the preset that a store names, as far as they can still be read."""
    known: list[dict[str, object]] = [{"policy": made.policy}, {}]
    try:
        preset = load_preset(made.preset)
        known.insert(0, {"policy": made.policy, **preset.memory})
    except BadInput:
        pass  # a file of the user's that is gone or was changed: nothing here needs it
    for settings in known:
        try:
            config = MemoryConfig(**settings)  # type: ignore[arg-type]
            Memory(config)
        except (TypeError, ValueError):
            continue
        return config
    raise AssertionError("the default settings are settings")
