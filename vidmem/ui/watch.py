"""Watch & ask: the player over its timeline."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vidmem.ui.player import not_playing, player, playing
from vidmem.ui.session import Opened
from vidmem.ui.shell import PRIVATE, QUIET, Shell, note

_NOTHING = "No video is open yet: pick one in the Library."


def lay_out(shell: Shell) -> None:
    session = shell.session
    shown = player("player", _NOTHING)
    status = gr.HTML(elem_id="status")
    timer = shell.timer("watch", 0.5)

    def show(opened: Opened | None) -> dict[str, Any]:
        return not_playing(_NOTHING) if opened is None else playing(session.url(opened.source))

    def tell(opened: Opened | None) -> str:
        job = session.job_of(opened)
        return note(job.message) if job else ""

    shell.opened.change(show, shell.opened, shown, **PRIVATE)
    timer.tick(tell, shell.opened, status, **QUIET)
