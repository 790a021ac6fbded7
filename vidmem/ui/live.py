"""Live: cameras and streams, watched from now on, with how they are, and asked about while they run."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import gradio as gr
import numpy as np

from vidmem.errors import BadInput, VidmemError
from vidmem.types import Answer
from vidmem.ui import live_view, talk
from vidmem.ui.jobs import sentence
from vidmem.ui.lives import Lives
from vidmem.ui.session import Opened, Session
from vidmem.ui.shell import PRIVATE, QUIET, Shell, failed, note
from vidmem.ui.talk import Turn

_SECONDS = 1.0
_CAMERA_EVERY_SECONDS = 0.5
_CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}}
"""Without it browsers send as much as the camera has, and Gradio takes seconds a picture."""
_RATES = {"2 frames a second": 2.0, "1 frame a second": 1.0, "1 frame in 5 seconds": 0.2}


def lay_out(shell: Shell) -> None:
    lives = Lives(shell.session)
    said = gr.HTML(elem_id="live-said")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            address = gr.Textbox(
                label="Camera or stream",
                placeholder="rtsp://camera.local/stream, https://…/live.m3u8, webcam:0",
                max_lines=1,
                max_length=2000,
                submit_btn="Watch",
                elem_id="live-address",
            )
            with gr.Accordion("User, password, rate", open=False):
                user = gr.Textbox(label="User", max_lines=1, max_length=200)
                password = gr.Textbox(label="Password", type="password", max_lines=1, max_length=200)
                rate = gr.Radio(list(_RATES), value="1 frame a second", label="How closely to look")
            with gr.Accordion("This browser's camera", open=False, elem_id="live-own"):
                camera = gr.Image(
                    sources=["webcam"],
                    streaming=True,
                    webcam_options=gr.WebcamOptions(mirror=False, constraints=_CAMERA),
                    label="Its pictures go to this machine's vidmem, and nowhere else",
                    height=260,
                    elem_id="live-camera",
                )
                with_camera = gr.Button("Watch with this camera", elem_id="live-own-watch")
        with gr.Column(scale=4, min_width=320):
            question = gr.Textbox(
                label="Ask about what was seen until now",
                placeholder="Once a stream is watched, ask here",
                max_lines=1,
                max_length=500,
                submit_btn="Ask",
                interactive=False,
                elem_id="live-question",
            )
            answer = gr.HTML(elem_id="live-answer")
    view = live_view_of("live")
    drawn = gr.State(None)
    timer = shell.timer("live", _SECONDS)

    def draw(opened: Opened | None, before: Any) -> tuple[Any, ...]:
        streams, jobs = lives.streams(), lives.jobs()
        now = live_view.live_view(streams, jobs, chosen=lives.chosen(opened))
        can_ask = any(stream.state.committed for stream in streams)
        changed = gr.skip() if before is not None and before[1] == can_ask else gr.Textbox(interactive=can_ask)
        is_same = before is not None and before[0] == now
        return gr.skip() if is_same else gr.HTML(value=now), changed, (now, can_ask)

    def begin(told: str, who: str, secret: str, how: str, opened: Opened | None, before: Any) -> tuple[Any, ...]:
        try:
            if not told.strip():
                raise BadInput(
                    "there is no address in the field: type where the camera is, such as rtsp://camera.local/"
                )
            store = shell.session.stores()[0] if opened is None else shell.session.store(opened.store)
            lives.connect(store, told, fps=_RATES[how], user=who or None, password=secret or None)
        except VidmemError as error:
            return failed(sentence(error)), gr.skip(), *draw(opened, before)
        return "", "", *draw(opened, before)

    def await_camera(request: gr.Request) -> str:
        try:
            lives.await_camera(_camera_of(request))
        except VidmemError as error:
            return failed(sentence(error))
        return note("Switch the camera on, if it is off: watching begins with its next picture.")

    def take(picture: np.ndarray | None, how: str, opened: Opened | None, request: gr.Request) -> str | Any:
        try:
            if picture is not None:
                store = shell.session.stores()[0] if opened is None else shell.session.store(opened.store)
                lives.push(store, _camera_of(request), np.ascontiguousarray(picture[..., :3]), fps=_RATES[how])
        except VidmemError as error:
            return failed(sentence(error))
        return gr.skip()

    def do(opened: Opened | None, before: Any, event: gr.EventData) -> dict[Any, Any]:
        what, key = str(event._data.get("do")), str(event._data.get("key"))
        changes: dict[Any, Any] = {said: ""}
        if what == "stop":
            lives.stop(key)
        elif what == "dismiss":
            lives.dismiss(key)
        elif what in ("cancel", "forget"):
            (shell.session.jobs.cancel if what == "cancel" else shell.session.jobs.dismiss)(int(key))
        elif (found := lives.opened(key)) is not None:
            opened = found
            changes |= {shell.opened: found} | ({shell.tabs: gr.Tabs(selected="watch")} if what == "open" else {})
        shown = dict(zip((view, question, drawn), draw(opened, before), strict=True))
        return changes | shown

    def ask(text: str, opened: Opened | None) -> Iterator[tuple[Any, ...]]:
        yield talk.saying(text, ""), ""
        try:
            for piece in _answer(shell.session, lives.opened(lives.chosen(opened)), text):
                yield piece, gr.skip()
        except VidmemError as error:
            yield talk.trouble(text, sentence(error)), gr.skip()

    states = [view, question, drawn]
    timer.tick(draw, [shell.opened, drawn], states, **QUIET)
    address.submit(begin, [address, user, password, rate, shell.opened, drawn], [said, address, *states], **QUIET)
    camera.stream(
        take,
        [camera, rate, shell.opened],
        said,
        stream_every=_CAMERA_EVERY_SECONDS,
        time_limit=None,
        concurrency_limit=8,
        **QUIET,
    )
    with_camera.click(await_camera, None, said, **PRIVATE)
    view.select(do, [shell.opened, drawn], [said, shell.opened, shell.tabs, *states], **QUIET)
    question.submit(ask, [question, shell.opened], [answer, question], **QUIET)


def live_view_of(elem_id: str) -> gr.HTML:
    """The streams, of which there is none. Its value is made by `live_view.live_view`."""
    return gr.HTML(
        None,
        html_template=live_view.HTML,
        css_template=live_view.CSS,
        js_on_load=live_view.JS,
        apply_default_css=False,
        elem_id=elem_id,
    )


def _camera_of(request: gr.Request) -> str:
    """What the camera of a page is called."""
    return f"Browser camera {str(request.session_hash)[:6]}"


def _answer(session: Session, opened: Opened | None, question: str) -> Iterator[str]:
    """HTML of an answer, while it is said and when it is."""
    video = session.video(opened)
    if opened is None or video is None or not video.num_frames:
        raise BadInput("there is nothing to ask about yet: let vidmem watch a stream for a moment")
    text, is_weak = "", False
    for piece in session.store(opened.store).ask(question, [video.video_id], Event()):
        if isinstance(piece, Answer):
            yield talk.log([Turn(question, piece, video.has_hours)])
        elif isinstance(piece, str):
            text += piece
            yield talk.saying(question, text, is_weak=is_weak)
        else:
            is_weak = bool(piece) and not talk.is_match(piece)
