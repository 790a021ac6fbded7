"""What the page does to one store, without the page: watch a video in the background, ask about it."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from vidmem.errors import BadInput, SourceLost, VidmemError
from vidmem.pipelines import preset_for
from vidmem.types import Answer, VideoId, format_time
from vidmem.ui.timeline import Followed, lanes_of, timeline

if TYPE_CHECKING:
    from vidmem.pipelines import IngestReport, VideoMemory

_log = logging.getLogger(__name__)

State = Literal["idle", "opening", "watching", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the watching of one video is. `fraction` is None while the video's length is unknown."""

    state: State = "idle"
    message: str = "Pick a video, then let vidmem watch it."
    fraction: float | None = None
    video_id: VideoId | None = None
    has_hours: bool = False
    """Whether the video's times are written with hours. Known once it is watched."""
    timeline: dict[str, Any] | None = None
    """What the timeline shows of the video. Known once it is watched."""


class Session:
    """One store, opened when the first video is watched, and two threads: one watches, the other answers.

    The threads belong to the session and not to a page's event, so that a page that is reloaded or closed interrupts
    nothing. Each has the store opened for itself; questions wait for one another, and never for a video.
    """

    def __init__(self, store: Path, preset: str | None) -> None:
        """Without a `preset`, the store's own. Raises as `preset_for`."""
        self._store = store
        self.preset = preset_for(store, preset)
        self._memory: VideoMemory | None = None
        self._reader: VideoMemory | None = None
        self._watcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vidmem-watch")
        self._answerer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vidmem-answer")
        self._job: Future[None] | None = None
        self._closing = Event()
        self._progress: dict[Path, Progress] = {}

    def progress(self, video: Path | None) -> Progress:
        """Where the watching of `video` stands."""
        return Progress() if video is None else self._progress.get(video, Progress())

    def watch(self, video: Path) -> None:
        """Start to watch `video` in the background. Raises BadInput while another is being watched."""
        if self._job is not None and not self._job.done():
            raise BadInput("one video is being watched already: wait until it is done")
        self._progress[video] = Progress("opening", "Loading the models")
        self._job = self._watcher.submit(self._watch, video)

    def ask(self, question: str, video: Path | None) -> Iterator[str | Answer]:
        """Answer a question about a watched video: pieces of text as they come, then the whole `Answer`.

        Raises BadInput if the video was not watched yet, and whatever the asking raises.
        """
        progress = self.progress(video)
        if progress.video_id is None:
            raise BadInput("there is nothing to ask about yet: let vidmem watch the video first")
        # Unbounded, for the answer in it is bounded, and a page that goes away must not block the thread.
        pieces: queue.SimpleQueue[str | Answer | None] = queue.SimpleQueue()
        job = self._answerer.submit(self._ask, question, progress.video_id, pieces)
        job.add_done_callback(lambda _: pieces.put(None))
        while (piece := pieces.get()) is not None:
            yield piece
        job.result()

    def close(self) -> None:
        """Stop the watching behind its last committed clip and the answer where it is, close the store, end all."""
        self._closing.set()
        self._answerer.shutdown(wait=True)
        self._watcher.shutdown(wait=True)
        for memory in (self._reader, self._memory):
            if memory is not None:
                memory.close()

    def _open(self) -> VideoMemory:
        if self._memory is None:
            import vidmem

            self._memory = vidmem.open(self._store, preset=self.preset.origin)
        return self._memory

    def _watch(self, video: Path) -> None:
        try:
            self._ingest(video)
        except VidmemError as error:
            self._progress[video] = Progress("failed", str(error))
        except Exception as error:
            _log.exception("watching %s failed", video)
            reason = f"{video.name} could not be watched: {type(error).__name__}: {error}"
            self._progress[video] = Progress("failed", reason)

    def _ingest(self, video: Path) -> None:
        memory = self._open()

        def show(done: float, duration: float | None) -> None:
            if self._closing.is_set():
                raise SourceLost("the page was closed")
            of, fraction = (f" of {format_time(duration)}", min(done / duration, 1.0)) if duration else ("", None)
            clock = format_time(done, hours=bool(duration and duration >= 3600))
            self._progress[video] = Progress("watching", f"Watched {clock}{of}", fraction)

        self._progress[video] = Progress("watching", "Looking at the first frames", 0.0)
        report = memory.ingest(video, progress=show)
        seen = next(seen for seen in memory.videos() if seen.video_id == report.video_id)
        duration = seen.duration_seconds or seen.committed_until
        objects = [
            Followed(one.label or f"Object {one.object_id}", one.spans, one.thumbnail)
            for one in memory.objects(video=report.video_id)
        ]
        lanes = lanes_of(duration, scenes=memory.scenes(report.video_id), objects=objects)
        shown = timeline(duration, lanes, hours=seen.has_hours)
        self._progress[video] = Progress("ready", _told(report), 1.0, report.video_id, seen.has_hours, shown)

    def _ask(self, question: str, video_id: VideoId, pieces: queue.SimpleQueue[str | Answer | None]) -> None:
        if self._reader is None:
            assert self._memory is not None, "a video that can be asked about was watched"
            self._reader = self._memory.reader()
        with self._reader.ask_stream(question, video_ids=[video_id]) as stream:
            for piece in stream:
                if self._closing.is_set():
                    return
                pieces.put(piece)
            pieces.put(stream.result)


def _told(report: IngestReport) -> str:
    if report.already_there:
        return "Watched before: ask away."
    speed = f"{report.wall_seconds:.1f} s, {report.speed:.0f} x real time"
    return f"Watched {format_time(report.video_seconds)}: {report.frames} frames in {speed}."
