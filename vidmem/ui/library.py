"""The Library: stores and their videos, and how videos come into them."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from vidmem.errors import VidmemError
from vidmem.ui.jobs import sentence
from vidmem.ui.session import Opened, Session
from vidmem.ui.shell import PRIVATE, QUIET, Shell, chooser, chosen, failed


def lay_out(shell: Shell) -> None:
    session = shell.session
    gr.Markdown("# vidmem\nLet it watch a video once, then ask. Every answer shows where it was seen.")
    said = gr.HTML(elem_id="library-said")
    samples = chooser(_samples(session), elem_id="samples")
    cards = chooser(elem_id="videos")
    timer = shell.timer("library", 1.0)

    def add_sample(event: gr.EventData) -> dict[Any, Any]:
        try:
            sample = session.samples[int(chosen(event)["choose"])]
            store = session.stores()[0]
            session.ingest(store, sample.path)
        except (VidmemError, LookupError, ValueError) as error:
            return {said: failed(sentence(error))}
        return {said: "", shell.opened: Opened(store.key, str(sample.path)), shell.tabs: gr.Tabs(selected="watch")}

    def open_video(event: gr.EventData) -> dict[Any, Any]:
        told = chosen(event)
        for video in session.store(told["store"]).videos():
            if video.video_id == told["choose"]:
                opened = Opened(told["store"], video.source, video.video_id)
                return {said: "", shell.opened: opened, shell.tabs: gr.Tabs(selected="watch")}
        return {said: failed("This video was removed meanwhile.")}

    samples.select(add_sample, None, [said, shell.opened, shell.tabs], **PRIVATE)
    cards.select(open_video, None, [said, shell.opened, shell.tabs], **PRIVATE)
    timer.tick(lambda: _cards(session), None, cards, **QUIET)


def _samples(session: Session) -> str:
    return "".join(
        f'<button type="button" data-choose="{index}">{escape(sample.path.stem)}</button>'
        for index, sample in enumerate(session.samples)
    )


def _cards(session: Session) -> str:
    return "".join(
        f'<button type="button" data-choose="{video.video_id}" data-store="{escape(store.key)}">'
        f"{escape(video.name)}</button>"
        for store in session.stores()
        for video in store.videos()
    )
