"""Batch: all videos of a folder into one store, one after the other; what is broken is told and passed over."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from vidmem.ingest.folder import videos_in
from vidmem.ui.jobs import JobState, sentence
from vidmem.ui.library_cards import bar
from vidmem.ui.session import Opened
from vidmem.ui.shell import PRIVATE, QUIET, Shell, chooser, chosen, failed, going_to, line, table

_PHASES = {"waiting": "waits", "running": "goes on", "done": "done", "failed": "failed", "cancelled": "cancelled"}
_EMPTY = '<p class="vm-empty">No folder was given yet. What is in the store already is recognised and left alone.</p>'


def lay_out(shell: Shell) -> None:
    gr.HTML(
        '<h2 class="vm-way">A whole folder</h2><p class="vm-aside">Its videos are watched one after the other. The page'
        " may be closed meanwhile.</p>"
    )
    with gr.Row(equal_height=True):
        folder = line("Folder", "/videos/2026", "Watch all", elem_id="folder", scale=2, min_width=280)
        stores = shell.store_menu("batch", elem_id="batch-store")
    said = gr.HTML(elem_id="batch-said")
    shown = chooser(_EMPTY, elem_id="batch")
    drawn = gr.State("")
    events = _Events(shell, said)
    folder.submit(events.start, [folder, stores], said, **PRIVATE)
    shown.select(events.change, None, [said, shell.opened, shell.going], **PRIVATE)
    shell.timer("batch", 1.0).tick(events.draw, drawn, [shown, drawn], **QUIET)


class _Events:
    """What happens on the Batch of one page."""

    def __init__(self, shell: Shell, said: gr.HTML) -> None:
        self._shell, self._session, self._said = shell, shell.session, said

    def start(self, text: str, store: str) -> str:
        try:
            place = self._session.limits.path(text)
            for path in videos_in(place):
                self._session.ingest(self._session.store(store), path, group=str(place))
        except Exception as error:
            return failed(sentence(error))
        return ""

    def draw(self, before: str) -> tuple[Any, Any]:
        now = batches(self._session.jobs.states()) or _EMPTY
        return (gr.skip(), gr.skip()) if now == before else (now, now)

    def change(self, event: gr.EventData) -> dict[Any, Any]:
        told, jobs = chosen(event), self._session.jobs
        if told["choose"] == "open":
            opened = Opened(told["store"], told["source"])
            return {self._shell.opened: opened, self._shell.going: going_to("watch")}
        for state in jobs.states():
            if state.group != told["group"]:
                continue
            if told["choose"] == "cancel":
                jobs.cancel(state.job_id)
            else:
                jobs.again(state.job_id)
        return {self._said: ""}


def batches(states: Sequence[JobState]) -> str:
    """A table for each folder, the newest first."""
    groups = dict.fromkeys(state.group for state in reversed(states) if state.group)
    return "".join(_batch(group, [state for state in states if state.group == group]) for group in groups)


def _batch(group: str, states: Sequence[JobState]) -> str:
    over = [state for state in states if state.is_over]
    failures = sum(state.phase == "failed" for state in states)
    done = sum(1.0 if state.is_over else state.fraction or 0.0 for state in states) / len(states)
    told = f"{len(over)} of {len(states)} videos" + (f", {failures} failed" if failures else "")
    data = f'data-group="{escape(group)}"'
    buttons = (
        f'<button type="button" data-choose="cancel" {data}>Cancel all</button>'
        if len(over) < len(states)
        else f'<button type="button" data-choose="again" {data}>Try those again</button>'
        if any(state.phase in ("failed", "cancelled") for state in states)
        else ""
    )
    videos = table(("Video", "State", "What came of it"), map(_row, states), f"Videos of {group}")
    return (
        f'<section class="vm-batch"><h3>{escape(group)}</h3><div class="vm-status" role="status">'
        f"{bar(done, f'How far {group} is')}<span>{told}</span>{buttons}</div>{videos}</section>"
    )


def _row(state: JobState) -> str:
    name = escape(Path(state.subject).name)
    if state.phase == "done":
        data = f'data-store="{escape(state.store)}" data-source="{escape(state.subject)}"'
        name = f'<button type="button" class="vm-link" data-choose="open" {data}>{name}</button>'
    kind = ' class="vm-failed"' if state.phase == "failed" else ""
    return f"<tr><td>{name}</td><td{kind}>{_PHASES[state.phase]}</td><td>{escape(state.message)}</td></tr>"
