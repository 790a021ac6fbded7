"""One store that is open at the page: its writer's thread, its answers, and looks into it that wait for neither."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, RLock
from typing import TYPE_CHECKING, TypeVar

from vidmem.errors import BadInput, NotFound, VidmemError
from vidmem.index import Store, StoredVideo
from vidmem.models.preset import Preset
from vidmem.pipelines import StoredMemory, VideoMemory, open_store
from vidmem.types import Answer, Hit
from vidmem.ui.jobs import Job, Jobs, Tell
from vidmem.ui.working import workers

if TYPE_CHECKING:
    from vidmem.pipelines.loading import Models

T = TypeVar("T")
Piece = str | tuple[Hit, ...] | Answer
"""What comes of an answer: its evidence, its text piece by piece, all of it."""


class OpenStore:
    """A store, which need not be there yet: the first write makes it.

    Whatever writes does so one job after the other. Answers run in another and wait for no write. `look` is for any
    thread and needs no model.
    """

    def __init__(
        self,
        path: Path,
        preset: Preset,
        models: Models,
        jobs: Jobs,
        answerer: ThreadPoolExecutor,
        closing: Event,
    ) -> None:
        """`models` are those of the preset, which stores share, as they do the answering thread. `closing` ends what is
        being said."""
        self.path, self.preset, self._closing = path, preset, closing
        self._models, self._jobs, self._answerer = models, jobs, answerer
        self._writer, self._worker = ThreadPoolExecutor(1, "vidmem-write"), workers("work")
        self._memory: VideoMemory | None = None
        self._reader: VideoMemory | None = None
        self._looked: StoredMemory | None = None
        self._opening, self._looking = RLock(), RLock()

    @property
    def key(self) -> str:
        """What names it among the open stores."""
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(".vidmem")

    # -- looking, at once, from any thread --

    @contextmanager
    def look(self) -> Iterator[StoredMemory]:
        """The store as it is now, without its models. Raises NotFound while it is not there, and as `open_store`."""
        with self._looking:
            if self._looked is None:
                # One that is being made is not there yet.
                if not Store.is_at(self.path, create=True):
                    raise NotFound(f"there is no store at {self.path} yet: add a video to make it")
                self._looked = open_store(self.path)
            yield self._looked

    def videos(self) -> list[StoredVideo]:
        """Its videos in the order they came; none while the store is not there."""
        try:
            with self.look() as memory:
                return memory.videos()
        except NotFound:
            return []

    # -- writing, one job after the other --

    def submit(
        self,
        kind: str,
        subject: str,
        work: Callable[[VideoMemory, Tell], T],
        *,
        group: str = "",
        steps_back: bool = True,
    ) -> Job[T]:
        """Do what writes to the store, behind what does so already: `work(memory, tell)`.

        `steps_back`: for the threads that answer the page (`working.py`), as do the threads that it begins.
        """

        def do(tell: Tell) -> T:
            return work(self._writing(tell), tell)

        def run(tell: Tell) -> T:
            return self._worker.submit(do, tell).result() if steps_back else do(tell)

        return self._jobs.start(self._writer, kind, self.key, subject, run, group=group)

    def memory(self) -> VideoMemory:
        """The store opened for writing. Loads models if it is new. For one thread at a time, but for its watches."""
        with self._opening:
            if self._memory is None:
                self._memory = VideoMemory.open(self.path, models=self._models)
            return self._memory

    def _writing(self, tell: Tell) -> VideoMemory:
        tell("Loading the models")
        memory = self.memory()
        self._models.load()
        return memory

    # -- asking --

    def ask(self, question: str, video_ids: Sequence[str], stop: Event) -> Iterator[Piece]:
        """The evidence, then pieces of an answer's text as they come, then the whole `Answer`.

        Setting `stop` ends it with what was said until then. Raises whatever the asking raises.
        """
        # Unbounded, for the answer in it is bounded, and a page that goes away must not block the thread.
        pieces: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        job = self._answerer.submit(self._answer, question, video_ids, stop, pieces)
        job.add_done_callback(lambda _: pieces.put(None))
        while (piece := pieces.get()) is not None:
            yield piece
        job.result()

    def _answer(
        self,
        question: str,
        video_ids: Sequence[str],
        stop: Event,
        pieces: queue.SimpleQueue[Piece | None],
    ) -> None:
        with self._reading().ask_stream(question, video_ids=video_ids) as stream:
            pieces.put(tuple(stream.evidence))
            while not (stop.is_set() or self._closing.is_set()):
                piece = next(stream, None)
                if piece is None:
                    break
                pieces.put(piece)
            stream.close()
            pieces.put(stream.result)

    def with_reader(self, work: Callable[[VideoMemory], T]) -> Future[T] | None:
        """Look into what answers questions, with all that they have read and used, behind the answers that are being
        given. None while nothing was asked."""
        return None if self._reader is None else self._answerer.submit(work, self._reader)

    def _reading(self) -> VideoMemory:
        """In the answering thread. Beside the writer, so that answers are logged, unless another process writes."""
        with self._opening:
            if self._reader is None:
                try:
                    self._reader = self.memory().reader()
                except VidmemError:
                    self._reader = VideoMemory.open(self.path, create=False, read_only=True, models=self._models)
            return self._reader

    def close(self) -> None:
        """End what goes on, behind what is committed, and let the store go. One that nothing came into goes again.

        The answering thread must have ended; jobs must have been cancelled.
        """
        self._writer.shutdown(wait=True, cancel_futures=True)
        self._worker.shutdown()
        for memory in (self._looked, self._reader):
            if memory is not None:
                memory.close()
        if self._memory is not None:
            self._memory.discard_if_unused()
            self._memory.close()


def video_of(store: OpenStore, video_id: str) -> StoredVideo:
    """Raises BadInput if it was removed."""
    for video in store.videos():
        if video.video_id == video_id:
            return video
    raise BadInput(f"this video is no more in {store.name}: open another one in the Library")
