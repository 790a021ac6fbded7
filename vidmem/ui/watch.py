"""Watch & ask: the player over its timeline, and beside it a conversation about the open video."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from vidmem.errors import VidmemError
from vidmem.ui.asking import Asking, lay_out_talk
from vidmem.ui.jobs import JobState
from vidmem.ui.library_cards import bar
from vidmem.ui.player import player, timeline_of
from vidmem.ui.session import Opened
from vidmem.ui.shell import PRIVATE, QUIET, Shell, change_job, chooser
from vidmem.ui.visits import Visit
from vidmem.ui.watched import stamp_of, watched

_BUSY_SECONDS, _IDLE_SECONDS = 0.7, 3.0
"""From one look of a page at the server to the next, while its video is worked on and while it is not."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a page shows already, so that only what is new is sent to it."""

    opened: Opened | None = None
    stamp: str = ""
    status: str = ""
    player: str = ""
    seconds: float = _BUSY_SECONDS
    """Until the next look."""


def lay_out(shell: Shell) -> None:
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
    timer = shell.timer("watch", _BUSY_SECONDS)
    watching = _Watching(
        shell, asking, title=title, player=shown, timeline=under, status=status, drawn=drawn, timer=timer
    )
    moving = [shown, under, status, drawn, timer, *asking.changed_by_watching]
    timer.tick(watching.draw, [shell.opened, drawn, shell.visit], moving, **QUIET)
    opening = [title, *moving, *asking.changed_by_opening]
    shell.opened.change(watching.open, [shell.opened, shell.visit], opening, **QUIET)
    status.select(watching.change_job, None, None, **PRIVATE)
    under.select(shell.previews.renew, shell.opened, None, **QUIET)


class _Watching:
    """What happens on the left side of one page: the player, its timeline, how far watching is."""

    def __init__(
        self,
        shell: Shell,
        asking: Asking,
        *,
        title: gr.HTML,
        player: gr.HTML,
        timeline: gr.HTML,
        status: gr.HTML,
        drawn: gr.State,
        timer: gr.Timer,
    ) -> None:
        self._shell, self._asking, self._previews = shell, asking, shell.previews
        self._title, self._player, self._timeline = title, player, timeline
        self._status, self._drawn, self._timer = status, drawn, timer

    def open(self, opened: Opened | None, visit: Visit) -> dict[Any, Any]:
        """Another video: away with what was shown of the last one."""
        visit.opened = opened
        emptied = {self._title: _title(self._shell, opened), self._timeline: gr.HTML(value=None, evidence=None)}
        return emptied | self._asking.open(visit) | self.draw(opened, Drawn(seconds=0.0), visit)

    def draw(self, opened: Opened | None, before: Drawn, visit: Visit) -> dict[Any, Any]:
        """What is other than it was: asked again and again while this screen is shown."""
        status, told = _status(self._shell, opened), self._previews.of(opened)
        stamp, changes = self._watched(opened, before, visit)
        if status != before.status:
            changes[self._status] = status
        if str(told) != before.player:
            changes[self._player] = told
        seconds = _BUSY_SECONDS if self._goes_on(opened, stamp, told) else _IDLE_SECONDS
        if seconds != before.seconds:
            changes[self._timer] = gr.Timer(seconds)
        after = Drawn(opened, stamp, status, str(told), seconds)
        return changes | {self._drawn: after if after != before else gr.skip()}

    def _goes_on(self, opened: Opened | None, stamp: str, told: dict[str, Any]) -> bool:
        """Whether there will soon be something else to show: it is watched, or made playable, or has just begun."""
        video = self._shell.session.video(opened)
        return opened is not None and (video is None or not video.is_finished or not stamp or "src" not in told)

    def change_job(self, event: gr.EventData) -> None:
        change_job(self._shell.session.jobs, event)

    def _watched(self, opened: Opened | None, before: Drawn, visit: Visit) -> tuple[str, dict[Any, Any]]:
        """What is known of the open video, as `stamp_of` says it, and what is other if that is."""
        session = self._shell.session
        try:
            video = session.video(opened)
            if opened is None or video is None:
                return "", {}
            stamp = stamp_of(session, opened, video)
            if (opened, stamp) == (before.opened, before.stamp):
                return stamp, {}
            known = watched(session, opened, video)
        except VidmemError:  # it was removed between two looks
            return "", {}
        shown = gr.HTML(value=known.timeline, evidence=self._asking.evidence(visit))
        return stamp, {self._timeline: shown, **self._asking.can_ask(opened, video, known.questions, visit)}


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
    again = f'<button type="button" data-choose="again" data-job="{job.job_id}">Try again</button>'
    said = f"<span>{escape(job.message)}</span>{again if job.phase == 'failed' else ''}"
    return f'<div class="vm-status {kind}" role="{role}">{said}</div>'
