"""Memory: the three stores of the open video, live while it is being watched."""

from __future__ import annotations

from concurrent.futures import TimeoutError as TooLate
from typing import Any

import gradio as gr

from vidmem.errors import VidmemError
from vidmem.memory import policies
from vidmem.pipelines import Contents, StoredMemory, TierBytes
from vidmem.types import VideoId
from vidmem.ui import three_stores
from vidmem.ui.drawn import drawn
from vidmem.ui.jobs import sentence
from vidmem.ui.session import Opened, Session
from vidmem.ui.shell import QUIET, Shell, failed, note
from vidmem.ui.three_stores import Look

_SECONDS = 1.0
"""Between two looks."""
_FRAMES_AT_ONCE = 1024
"""Of a long video the growth is told bit by bit, so that no look takes long."""
_PATIENCE_SECONDS = 0.3
"""So long a look waits for an answer that is being given."""

_SUMMARIES = {one.name: one.summary for one in policies()}


def lay_out(shell: Shell) -> None:
    said = gr.HTML(elem_id="memory-said")
    view = drawn("three_stores", "memory")
    shown = gr.State(None)
    timer = shell.timer("memory", _SECONDS)

    def tell(opened: Opened | None, before: dict[str, Any] | None) -> tuple[Any, Any, Any]:
        """What changed since; nothing is sent for nothing."""
        try:
            told, now = _noted(shell.session, opened), _told(shell.session, opened, before)
        except VidmemError as error:
            return failed(sentence(error)), gr.skip(), gr.skip()
        return (told, gr.skip(), gr.skip()) if now == before else (told, gr.HTML(value=now), now)

    for looking in (timer.tick, shell.panes["memory"].select):
        looking(tell, [shell.opened, shown], [said, view, shown], **QUIET)


def _noted(session: Session, opened: Opened | None) -> str:
    if opened is None:
        return note("No video is open yet: pick one in the Library.")
    job = session.job_of(opened)
    if job is None or job.phase == "done":
        return ""
    return failed(job.message) if job.phase == "failed" else note(job.message)


def _told(session: Session, opened: Opened | None, before: dict[str, Any] | None) -> dict[str, Any] | None:
    """What there is to draw; what was drawn `before` while an answer is being given, so that usage stays."""
    video = session.video(opened)
    if opened is None or video is None or not video.num_frames:
        return None
    store = session.store(opened.store)
    with store.look() as memory:
        growth = memory.growth(video.video_id, at_most=_FRAMES_AT_ONCE)
        seen = _of(memory, video.video_id)
    if (looking := store.with_reader(lambda reader: _of(reader, video.video_id))) is not None:
        try:
            seen = looking.result(_PATIENCE_SECONDS)
        except TooLate:
            looking.cancel()
            if before is not None and before["video"] == video.video_id:
                return before
    contents, tiers = seen
    summary = _SUMMARIES.get(contents.policy, "")
    return three_stores.three_stores(Look(contents, summary, growth, tiers, video.has_hours))


def _of(memory: StoredMemory, video_id: VideoId) -> tuple[Contents, tuple[TierBytes, ...]]:
    return memory.contents(video_id), memory.tiers(video_id)
