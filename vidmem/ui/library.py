"""The Library: stores and their videos, and how videos come into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from vidmem.errors import NotFound, VidmemError
from vidmem.index import StoredVideo
from vidmem.pipelines import StoredMemory
from vidmem.types import VideoId
from vidmem.ui import bringing
from vidmem.ui.jobs import JobState, sentence
from vidmem.ui.library_cards import Card, Shelf, job_list, sample_buttons, shelves
from vidmem.ui.session import Opened, Session
from vidmem.ui.shell import PRIVATE, QUIET, Shell, change_job, chooser, chosen, failed, going_to, line, note
from vidmem.ui.stores import OpenStore, video_of

_PICTURES = 6
_TOLD_JOBS = 12


def lay_out(shell: Shell) -> None:
    session = shell.session
    gr.HTML(
        '<div class="vm-hero"><h1>vidmem</h1><p>Let it watch a video once, then ask. Every answer shows where it was'
        " seen.</p></div>"
    )
    with gr.Row(equal_height=False, elem_classes="vm-ways"):
        with gr.Column(min_width=260):
            gr.HTML('<h2 class="vm-way">Try a sample</h2>')
            samples = chooser(sample_buttons(session.samples), elem_id="samples")
        with gr.Column(min_width=260):
            gr.HTML('<h2 class="vm-way">Add a video</h2>')
            upload = gr.UploadButton("Upload a file", file_types=["video"], elem_id="upload", variant="primary")
            place = line("Path or web address", "/videos/kitchen.mp4 or https://…", "Add", elem_id="place")
        with gr.Column(min_width=260):
            gr.HTML('<h2 class="vm-way">Keep it in</h2>')
            kept_in = shell.store_menu("library", elem_id="kept-in")
            store_path = line("Open or make another store", "kitchen.vidmem", "Open", elem_id="store-path")
    said = gr.HTML(elem_id="library-said")
    jobs = chooser(elem_id="jobs")
    videos = chooser(elem_id="videos")
    drawn = gr.State(("", ""))
    timer = shell.timer("library", 1.0)
    events = _Events(shell, said)

    shown = [said, shell.opened, shell.going]
    samples.select(events.add_sample, kept_in, shown, **PRIVATE)
    upload.upload(events.add_upload, [upload, kept_in], shown, **PRIVATE)
    place.submit(events.add_text, [place, kept_in], shown, **PRIVATE)
    store_path.submit(events.open_store, store_path, [said, kept_in], **PRIVATE)
    jobs.select(events.change_job, None, said, **QUIET)
    videos.select(events.change_video, None, shown, **PRIVATE)
    for ticking in (timer.tick, shell.panes["library"].select):
        ticking(events.draw, drawn, [jobs, videos, drawn], **QUIET)


class _Events:
    """What happens in the Library of one page."""

    def __init__(self, shell: Shell, said: gr.HTML) -> None:
        self.shell, self.session, self.said = shell, shell.session, said
        self._cards: dict[tuple[str, VideoId], tuple[object, Card]] = {}
        """What was last made of each video, and of what state: a store may hold thousands."""

    def add_sample(self, event: gr.EventData, kept_in: str) -> dict[Any, Any]:
        def add() -> dict[Any, Any]:
            sample = self.session.samples[int(chosen(event)["choose"])]
            self.session.ingest(self.session.store(kept_in), sample.path)
            return self._opened(Opened(kept_in, str(sample.path)))

        return self._told(add)

    def add_upload(self, uploaded: str, kept_in: str) -> dict[Any, Any]:
        return self._added(kept_in, lambda store: bringing.add_upload(self.session, store, Path(uploaded)))

    def add_text(self, text: str, kept_in: str) -> dict[Any, Any]:
        return self._added(kept_in, lambda store: bringing.add_text(self.session, store, text))

    def open_store(self, text: str) -> tuple[str, Any]:
        """What is said, and the stores to choose from with the new one chosen."""
        try:
            store = self.session.open_store(self.session.limits.path(text))
        except Exception as error:
            return failed(sentence(error)), gr.skip()
        return "", gr.Dropdown(self.shell.store_choices(), value=store.key)

    def change_video(self, event: gr.EventData) -> dict[Any, Any]:
        def change() -> dict[Any, Any]:
            told = chosen(event)
            if told["choose"] == "open":
                return self._opened(self.session.opened(told["store"], told["video"]))
            store = self.session.store(told["store"])
            video = video_of(store, told["video"])
            bringing.remove(self.session, store, video.video_id)
            return {self.said: note(f"{video.name} is being removed.")}

        return self._told(change)

    def change_job(self, event: gr.EventData) -> str:
        change_job(self.session.jobs, event)
        return ""

    def draw(self, drawn: tuple[str, str]) -> tuple[Any, Any, Any]:
        """The jobs and the videos, where they are others than those that are drawn."""
        now = (
            job_list(_told_jobs(self.session)),
            shelves([self._shelf(one) for one in self.session.stores()]),
        )
        changed = [html if html != before else gr.skip() for html, before in zip(now, drawn, strict=True)]
        return changed[0], changed[1], now if now != drawn else gr.skip()

    def _opened(self, opened: Opened) -> dict[Any, Any]:
        """Show a video, on the screen where it is asked about."""
        return {
            self.said: "",
            self.shell.opened: opened,
            self.shell.going: going_to("watch"),
        }

    def _added(self, kept_in: str, add: Callable[[OpenStore], str]) -> dict[Any, Any]:
        """`add` brings a video into a store, and gives its source."""
        return self._told(lambda: self._opened(Opened(kept_in, add(self.session.store(kept_in)))))

    def _shelf(self, store: OpenStore) -> Shelf:
        busy = {state.subject for state in self.session.jobs.states(store=store.key) if not state.is_over}
        try:
            with store.look() as memory:
                cards = [self._card(store, memory, video, video.source in busy) for video in memory.videos()]
        except NotFound:
            cards = []
        except VidmemError as error:
            return Shelf(store.name, store.preset.name, (), trouble=str(error))
        return Shelf(store.name, store.preset.name, cards)

    def _card(self, store: OpenStore, memory: StoredMemory, video: StoredVideo, is_busy: bool) -> Card:
        state = (video.key, video.num_frames, video.is_finished, is_busy)
        known = self._cards.get((store.key, video.video_id))
        if known is None or known[0] != state:
            known = state, _card(self.session, store, memory, video, is_busy)
            self._cards[store.key, video.video_id] = known
        return known[1]

    def _told(self, work: Callable[[], dict[Any, Any]]) -> dict[Any, Any]:
        """What work returns, or one sentence on why it failed."""
        try:
            return work()
        except Exception as error:
            return {self.said: failed(sentence(error))}


def _told_jobs(session: Session) -> list[JobState]:
    """Those that go on, and the latest that failed."""
    states = [state for state in session.jobs.states() if state.phase not in ("done", "cancelled")]
    return states[-_TOLD_JOBS:]


def _card(session: Session, store: OpenStore, memory: StoredMemory, video: StoredVideo, is_busy: bool) -> Card:
    pictures = memory.pictures(video.video_id, _PICTURES)
    return Card(
        store=store.key,
        video_id=video.video_id,
        name=video.name,
        seconds=video.duration_seconds or video.committed_until,
        has_hours=video.has_hours,
        is_whole=video.is_finished or is_busy,
        num_frames=video.num_frames,
        num_bytes=memory.video_bytes(video.video_id),
        preset=store.preset.name,
        pictures=[(one.seconds, session.url(one.path)) for one in pictures],
    )
