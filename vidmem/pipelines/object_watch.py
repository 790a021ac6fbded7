"""Objects of a stream, found and followed while it is watched."""

from __future__ import annotations

import logging
import threading

from vidmem.errors import VidmemError
from vidmem.index import Store
from vidmem.pipelines.loading import Models
from vidmem.pipelines.noticing import NoticeConfig
from vidmem.pipelines.scenes import Scenes
from vidmem.pipelines.stored_tracking import StoredTracking
from vidmem.pipelines.timeline import Timelines
from vidmem.pipelines.tracking import PassOptions
from vidmem.pipelines.watching import Watch

_log = logging.getLogger(__name__)
LOOK_SECONDS = 30.0
"""From one pass over what came since to the next. Each begins where the objects had their last looks: as far back
again."""
FPS = 5.0
"""Frames a second that are looked at, if the stream keeps so many."""


class ObjectWatch:
    """Now and then finds and follows, in a thread of its own, what there is in the frames that a watch has committed.

    It begins with what comes from now on and ends with the watch; the rest is left to `VideoMemory.find_objects`. What
    is wrong for now, such as a full disk, is logged, and the next pass goes on.
    """

    def __init__(
        self, store: Store, models: Models, watch: Watch, *, behind: float, one_at_a_time: threading.Lock
    ) -> None:
        """
        Args:
            behind: seconds of the stream that are in the store already, and not looked at.
            one_at_a_time: as of `StoredTracking`.
        """
        timelines = Timelines(store)  # its own: the store's are for the thread that asks
        self._store, self._watch = store, watch
        self._tracking, self._scenes = StoredTracking(store, models, timelines, one_at_a_time), Scenes(store, timelines)
        self._reached, self._num_seen = behind, 0
        self._failure: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vidmem-objects", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have it end, be it in the middle of a pass. Returns at once."""
        self._stopped.set()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive() and self._watch.is_running

    def close(self) -> None:
        """Stop, and wait. Raises what ended it, once."""
        self.stop()
        self._thread.join()
        if (failure := self._failure) is not None:
            self._failure = None
            raise failure

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS) and self._watch.is_running:
            try:
                self._look()
            except _Stopped:
                return
            except VidmemError as error:
                _log.warning("objects of a stream: %s", error)
            except Exception as error:
                _log.exception("objects of a stream are not found any more")
                self._failure = error
                return

    def _look(self) -> None:
        video = next((one for one in self._store.videos() if one.video_id == self._watch.video_id), None)
        if video is None or video.num_frames == self._num_seen:
            return
        self._num_seen = video.num_frames
        options = PassOptions(fps=FPS, progress=self._go_on)
        found = self._tracking.find(video, self._scenes.of(video), NoticeConfig(), options, behind=self._reached)
        self._reached = found.tracked_until

    def _go_on(self, done: float, total: float | None) -> None:
        if self._stopped.is_set() or not self._watch.is_running:
            raise _Stopped


class _Stopped(Exception):
    """The watch ends."""
