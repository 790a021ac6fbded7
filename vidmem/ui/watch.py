"""Watch & ask: the player over its timeline, and beside it a conversation about the open video."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from vidmem.errors import VidmemError
from vidmem.ui.asking import Asking, Turns, lay_out_talk
from vidmem.ui.jobs import JobState
from vidmem.ui.library_cards import bar
from vidmem.ui.player import player, timeline_of
from vidmem.ui.previews import Previews
from vidmem.ui.session import Opened
from vidmem.ui.shell import PRIVATE, QUIET, Shell, chooser, chosen
from vidmem.ui.watched import stamp_of, watched


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a page shows already, so that only what is new is sent to it."""

    opened: Opened | None = None
    stamp: str = ""
    status: str = ""
    player: str = ""


def lay_out(shell: Shell) -> None:
    previews = Previews(shell.session)
    drawn = gr.State(Drawn())
    with gr.Row(equal_height=False, elem_classes="vm-watch"):
        with gr.Column(scale=5, min_width=320):
            title = gr.HTML(elem_id="opened")
            shown = player("player", "No video is open. Pick one in the Library.")
            under = timeline_of("#player video")
            status = chooser(elem_id="status")
        with gr.Column(scale=4, min_width=320):
            talk = lay_out_talk()
    asking = Asking(shell, talk, under)
    asking.connect()
    timer = shell.timer("watch", 0.7)

    def draw(opened: Opened | None, before: Drawn) -> dict[Any, Any]:
        """What is other than it was: asked again and again while this screen is shown."""
        changes: dict[Any, Any] = {}
        now = _status(shell, opened)
        told = previews.of(opened)
        if now != before.status:
            changes[status] = now
        if str(told) != before.player:
            changes[shown] = told
        stamp = ""
        try:
            video = shell.session.video(opened)
            stamp = stamp_of(shell.session, opened, video) if opened is not None and video is not None else ""
            if opened is not None and video is not None and (opened, stamp) != (before.opened, before.stamp):
                known = watched(shell.session, opened, video)
                changes |= {under: gr.HTML(value=known.timeline), **asking.can_ask(video, known.questions)}
        except VidmemError:
            stamp = ""  # it was removed between two looks
        after = Drawn(opened, stamp, now, str(told))
        return changes | ({drawn: after} if after != before else {drawn: gr.skip()})

    def open_another(opened: Opened | None, turns: Turns) -> dict[Any, Any]:
        """Another video: away with what was shown of the last one."""
        emptied: dict[Any, Any] = {title: _title(shell, opened), under: gr.HTML(value=None, evidence=None)}
        return emptied | asking.open(opened, turns) | draw(opened, Drawn())

    def cancel(event: gr.EventData) -> None:
        shell.session.jobs.cancel(int(chosen(event)["job"]))

    moving = [shown, under, status, drawn, *asking.changed_by_watching]
    timer.tick(draw, [shell.opened, drawn], moving, **QUIET)
    shell.opened.change(open_another, [shell.opened, talk.turns], [title, *moving, *asking.changed_by_opening], **QUIET)
    status.select(cancel, None, None, **PRIVATE)


def _title(shell: Shell, opened: Opened | None) -> str:
    if opened is None:
        return ""
    name = opened.source.rstrip("/").rpartition("/")[2] or opened.source
    return f"<h2>{escape(name)} <small>in {escape(shell.session.store(opened.store).name)}</small></h2>"


def _status(shell: Shell, opened: Opened | None) -> str:
    job = shell.session.job_of(opened)
    if job is None:
        return ""
    return _going(job) if not job.is_over else _ended(job)


def _going(job: JobState) -> str:
    return (
        f'<div class="vm-status" role="status">{bar(job.fraction, "How far watching is")}'
        f"<span>{escape(job.message)}</span>"
        f'<button type="button" data-choose="cancel" data-job="{job.job_id}">Cancel</button></div>'
    )


def _ended(job: JobState) -> str:
    kind, role = ("vm-failed", "alert") if job.phase == "failed" else (f"vm-{job.phase}", "status")
    return f'<div class="vm-status {kind}" role="{role}"><span>{escape(job.message)}</span></div>'
