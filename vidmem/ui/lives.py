"""The streams that the page watches: connected, handed pictures, looked at and stopped, for all pages of an app."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import numpy as np

from vidmem.errors import BadInput, VidmemError
from vidmem.ingest.live.address import parse_address
from vidmem.pipelines import VideoMemory, Watch
from vidmem.ui.jobs import JobState, Tell, sentence
from vidmem.ui.live_view import Alert, Stream
from vidmem.ui.session import Opened, Session
from vidmem.ui.stores import OpenStore

CONNECT, FORGET = "connect", "alert"
"""Kinds of jobs."""


@dataclass(frozen=True, slots=True)
class Live:
    """A watch, and the store that it goes into."""

    store: str
    watch: Watch

    @property
    def key(self) -> str:
        return f"{self.watch.video_id} {id(self.watch)}"


class Lives:
    """Everything here is for any thread. The watches themselves are ended with their stores."""

    def __init__(self, session: Session) -> None:
        self._session, self._lock = session, Lock()
        self._lives: dict[str, Live] = {}
        self._pushed: dict[str, Live] = {}
        """By the name of a page's camera, its latest watch."""
        self._failures: dict[str, str] = {}
        """By its key, why a watch ended."""
        self._awaited: set[str] = set()
        """Names of cameras whose next picture is to begin a watch."""

    def connect(
        self, store: OpenStore, address: str, *, fps: float | None, user: str | None, password: str | None
    ) -> None:
        """Begin to watch an address, behind what the store does already.

        Raises what is wrong with the address itself; what comes later the job tells.
        """
        parsed = parse_address(address, user=user, password=password) if "://" in address else None
        if parsed is None and not address.strip().lower().startswith("webcam:"):
            address = str(self._session.limits.path(address))

        def work(memory: VideoMemory, tell: Tell) -> None:
            tell("Connecting, and waiting for a first picture")
            may = self._session.limits.allow_private
            watch = memory.watch(address.strip(), fps=fps, user=user, password=password, allow_private=may)
            self._add(store, watch)

        store.submit(CONNECT, parsed.shown if parsed else address.strip(), work, steps_back=False)

    def await_camera(self, name: str) -> None:
        """Have the next picture of a page's own camera begin a watch. Raises BadInput if one is running."""
        with self._lock:
            live = self._pushed.get(name)
            if live is not None and live.watch.is_running:
                raise BadInput("this browser's camera is being watched already: it stands below")
            self._awaited.add(name)

    def push(self, store: OpenStore, name: str, picture: np.ndarray, *, fps: float | None) -> bool:
        """Take a picture of a page's own camera, uint8 RGB (H, W, 3), if it is being watched or awaited.

        Returns whether a watch begins with it.
        """
        with self._lock:
            is_awaited, live = name in self._awaited, self._pushed.get(name)
            self._awaited.discard(name)
        if live is not None and live.watch.is_running:
            live.watch.push(picture)
        elif is_awaited:

            def work(memory: VideoMemory, tell: Tell) -> None:
                tell("Beginning to watch")
                begun = self._add(store, memory.watch_pushed(name, picture, fps=fps))
                with self._lock:
                    self._pushed[name] = begun

            store.submit(CONNECT, name, work, steps_back=False)
            return True
        return False

    def alert(self, key: str, text: str) -> None:
        """Ask for something of a stream that is told when it happens. Raises BadInput."""
        live = self._lives.get(key)
        if live is None or not live.watch.is_running:
            raise BadInput(
                "nothing can be told of a stream that is not being watched: begin to watch it, then add this"
            )
        live.watch.alert(text)

    def remove_alert(self, key: str, alert_id: int) -> None:
        """Ask for something no more, of any stream of the store, behind what the store does already."""
        if (live := self._lives.get(key)) is None:
            return
        store = self._session.store(live.store)
        store.submit(FORGET, live.watch.state().address, lambda memory, tell: memory.remove_alert(alert_id))

    def stop(self, key: str) -> None:
        """End a watch; what it has committed stays. One that nobody knows any more is passed over."""
        if (live := self._lives.get(key)) is not None:
            live.watch.stop()

    def dismiss(self, key: str) -> None:
        """Tell of a watch that is over no more."""
        with self._lock:
            if key in self._lives and not self._lives[key].watch.is_running:
                del self._lives[key]
                self._failures.pop(key, None)

    def opened(self, key: str) -> Opened | None:
        """A stream as the other screens open it."""
        live = self._lives.get(key)
        return None if live is None else Opened(live.store, live.watch.state().address, live.watch.video_id)

    def chosen(self, opened: Opened | None) -> str:
        """The stream that is asked about: the open one, or the newest one that runs; "" if there is none."""
        with self._lock:
            lives = list(self._lives.values())
        own = [one for one in lives if opened is not None and one.watch.video_id == opened.video_id]
        running = [one for one in lives if one.watch.is_running]
        found = own or running or lives
        return found[-1].key if found else ""

    def streams(self) -> list[Stream]:
        """All that are told of, in the order they were begun."""
        with self._lock:
            lives = list(self._lives.values())
        return [self._stream(live) for live in lives]

    def jobs(self) -> Sequence[JobState]:
        """Those that connect, or could not."""
        states = self._session.jobs.states()
        return [job for job in states if job.kind in (CONNECT, FORGET) and job.phase not in ("done", "cancelled")]

    def _add(self, store: OpenStore, watch: Watch) -> Live:
        live = Live(store.key, watch)
        with self._lock:
            self._lives[live.key] = live
        return live

    def _stream(self, live: Live) -> Stream:
        state, newest, alerts = live.watch.state(), None, []
        with suppress(VidmemError), self._session.store(live.store).look() as memory:
            alerts = [
                Alert(one, [told for told in memory.told(one.alert_id) if told.evidence.video_id == state.video_id])
                for one in memory.alerts()
                if one.source in (None, state.address)
            ]
            # Not there while nothing was committed, nor if it was removed from the store meanwhile.
            newest = memory.newest_picture(state.video_id)
        seconds, thumbnail = (0.0, None) if newest is None else (newest.seconds, newest.path)
        return Stream(live.key, state, seconds, thumbnail, self._failure(live), alerts)

    def _failure(self, live: Live) -> str:
        """Why a watch ended, if an error ended it. Asked once: what nobody foresaw goes into the log."""
        if live.watch.has_failed and live.key not in self._failures:
            try:
                live.watch.wait(0)
            except Exception as error:
                self._failures[live.key] = sentence(error)
        return self._failures.get(live.key, "")
