"""What all pages of one app share: the open stores, the models, the jobs, and what browsers may fetch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, RLock
from typing import TypeVar
from urllib.parse import quote

from vidmem.errors import BadInput
from vidmem.index import StoredVideo
from vidmem.models.preset import Preset
from vidmem.pipelines import IngestReport, VideoMemory, preset_for
from vidmem.pipelines.loading import Models
from vidmem.samples import Sample
from vidmem.types import VideoId, format_time
from vidmem.ui.jobs import Job, Jobs, JobState, Tell
from vidmem.ui.limits import Limits
from vidmem.ui.stores import OpenStore, video_of
from vidmem.ui.working import workers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """A video that is open in one tab of a browser, in the store or on its way there."""

    store: str
    """Key of its store."""
    source: str
    """Its file, or a stream's address."""
    video_id: VideoId | None = None
    """None if it was opened before anything of it was committed: see `Session.video`."""

    @property
    def key(self) -> str:
        """The same for each way in which this video was opened."""
        return f"{self.store}\n{self.source}"


class Session:
    """Everything here is for any thread. Nothing of a person's is kept here: chats are the pages' own."""

    def __init__(
        self,
        stores: Sequence[Path] = (),
        *,
        preset: str | None = None,
        limits: Limits,
        samples: Sequence[Sample] = (),
        loaded: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            stores: open from the beginning; they need not be there. None: one that goes with the app.
            preset: of new stores, and of these; None for what each was made with.
            loaded: called whenever a model was, by any thread.

        Raises as `preset_for`.
        """
        self.limits, self.samples = limits, tuple(samples)
        self.jobs, self.closing = Jobs(), Event()
        self._preset, self._loaded, self._lock = preset, loaded, RLock()
        self._models: dict[tuple[str, str], Models] = {}
        self._stores: dict[str, OpenStore] = {}
        self._ids: dict[tuple[str, str], VideoId] = {}
        self._answerer, self._helpers = workers("answer"), workers("helper", 2)
        self._folder = TemporaryDirectory(prefix="vidmem-")
        self.served: list[str] = [str(sample.path) for sample in samples]
        """Files and folders that browsers may fetch. Gradio reads this very list at each request."""
        self._serve(self.folder("previews"), self.folder("uploads"))
        opened = [self.open_store(path) for path in stores or [Path(self._folder.name) / "scratch.vidmem"]]
        self._trusted = frozenset(store.key for store in opened)

    # -- stores --

    def stores(self) -> list[OpenStore]:
        """Those that are open, in the order they were opened; at least one."""
        with self._lock:
            return list(self._stores.values())

    def store(self, key: str) -> OpenStore:
        """Raises BadInput if it is not open."""
        with self._lock:
            if key not in self._stores:
                raise BadInput(f"the store {Path(key).name} is not open any more: open it in the Library")
            return self._stores[key]

    def open_store(self, path: Path, preset: str | None = None) -> OpenStore:
        """Open a store that is there or name one that is to be made. Raises as `preset_for`."""
        path = path.resolve()
        with self._lock:
            if str(path) not in self._stores:
                chosen = preset_for(path, preset or self._preset)
                self._stores[str(path)] = OpenStore(
                    path, chosen, self.models_of(chosen), self.jobs, self._answerer, self.closing
                )
                self._serve(path / "thumbs", path / "crops")
            return self._stores[str(path)]

    def models_of(self, preset: Preset) -> Models:
        """A preset's models, which all stores of it share."""
        return self._models.setdefault((preset.origin, preset.mode), Models(preset, loaded=self._loaded))

    def may_play(self, opened: Opened) -> bool:
        """Whether a video's own file may be shown: a store that comes from elsewhere may name any file of the machine.

        Those of stores that were named when the app was started may, of others what lies within the roots or came in
        here.
        """
        path = Path(opened.source).resolve()
        places = (*self.limits.roots, Path(opened.store), *(sample.path.resolve() for sample in self.samples))
        return opened.store in self._trusted or any(path.is_relative_to(place) for place in places)

    # -- videos --

    def opened(self, store: str, video_id: str) -> Opened:
        """A video of a store, as it is opened. Raises BadInput if either is gone."""
        video = video_of(self.store(store), video_id)
        return Opened(store, video.source, video.video_id)

    def video(self, opened: Opened | None) -> StoredVideo | None:
        """The open video as its store has it; None while nothing of it is committed, or once it was removed."""
        if opened is None or opened.store not in self._stores:
            return None
        known = opened.video_id or self._ids.get((opened.store, opened.source))
        videos = self.store(opened.store).videos()
        found = [one for one in videos if (one.video_id == known if known else one.source == opened.source)]
        return found[-1] if found else None

    def ingest(
        self, store: OpenStore, path: Path, *, bring: Callable[[], None] | None = None, group: str = ""
    ) -> Job[IngestReport]:
        """Watch a video file, or a folder of pictures, in the background.

        `bring` puts it where it is to be, when the store is there. `group` is what it is a part of.
        """

        def work(memory: VideoMemory, tell: Tell) -> IngestReport:
            tell("Looking at the first frames", 0.0)
            if bring is not None and not path.exists():
                bring()
            report = memory.ingest(path, progress=lambda done, duration: tell(*_watched(done, duration)))
            self._ids[store.key, str(path)] = report.video_id
            tell(_told(report), 1.0)
            return report

        return store.submit("ingest", str(path), work, group=group)

    def job_of(self, opened: Opened | None) -> JobState | None:
        """The newest job on the open video, but for copies of it."""
        if opened is None:
            return None
        states = self.jobs.states(store=opened.store)
        states = [state for state in states if state.subject == opened.source and state.kind != "preview"]
        return states[-1] if states else None

    # -- what does not write to a store --

    def help(self, kind: str, store: str, subject: str, work: Callable[[Tell], T]) -> Job[T]:
        """Do something beside the stores' writers."""
        return self.jobs.start(self._helpers, kind, store, subject, work)

    def folder(self, name: str) -> Path:
        """A folder for files that go with the app; made if it is not there."""
        folder = Path(self._folder.name).resolve() / name
        folder.mkdir(exist_ok=True)
        return folder

    def url(self, path: str | Path) -> str:
        """Where browsers fetch a file from now on."""
        self._serve(Path(path))
        return f"gradio_api/file={quote(str(path))}"

    def _serve(self, *paths: Path) -> None:
        for path in paths:
            if not any(path.is_relative_to(one) for one in self.served):
                self.served.append(str(path))

    def close(self) -> None:
        """End jobs behind what they committed, and answers where they are; close all stores. Again, it does nothing."""
        if self.closing.is_set():
            return
        self.closing.set()
        self.jobs.cancel_all()
        self._answerer.shutdown(wait=True, cancel_futures=True)
        self._helpers.shutdown(wait=True, cancel_futures=True)
        for store in self.stores():
            store.close()
        self._folder.cleanup()


def _watched(done: float, duration: float | None) -> tuple[str, float | None]:
    clock = format_time(done, hours=bool(duration and duration >= 3600))
    if not duration:
        return f"Watched {clock}", None
    return f"Watched {clock} of {format_time(duration)}", min(done / duration, 1.0)


def _told(report: IngestReport) -> str:
    if report.already_there:
        return "Watched before: ask away."
    speed = f"{report.wall_seconds:.1f} s, {report.speed:.0f} x real time"
    return f"Watched {format_time(report.video_seconds)}: {report.frames} frames in {speed}."
