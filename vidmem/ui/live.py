"""Live: cameras and streams, watched from now on, with how they are, and asked about while they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from vidmem.errors import BadInput
from vidmem.ui import live_view, talk
from vidmem.ui.asking import answered
from vidmem.ui.drawn import drawn
from vidmem.ui.jobs import sentence
from vidmem.ui.lives import Lives
from vidmem.ui.session import Opened
from vidmem.ui.shell import PRIVATE, QUIET, Shell, chooser, failed, going_to, line, note
from vidmem.ui.stores import OpenStore
from vidmem.ui.talk import Turn
from vidmem.ui.visits import Visit

_SECONDS = 1.0
_CAMERA_EVERY_SECONDS = 0.5
_CAMERA = {"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}}
"""Without it browsers send as much as the camera has, and Gradio takes seconds a picture."""
_CAN_NOT_ASK, _CAN_ASK = "Once a stream is watched, ask here", "When did somebody come in?"
_RATES = {"2 frames a second": 2.0, "1 frame a second": 1.0, "1 frame in 5 seconds": 0.2}


@dataclass(frozen=True)
class _Source:
    """The components that say what is watched."""

    address: gr.Textbox
    user: gr.Textbox
    password: gr.Textbox
    rate: gr.Radio
    camera: gr.Image
    with_camera: gr.Button


@dataclass(frozen=True)
class _Asking:
    """The components that say what somebody wants to know."""

    question: gr.Textbox
    answer: gr.HTML
    alert: gr.Textbox


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What a page shows already, so that only what is new is sent to it."""

    view: dict[str, Any] | None = None
    can_ask: bool = False
    can_alert: bool = False


def lay_out(shell: Shell) -> None:
    said = gr.HTML(elem_id="live-said")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            source = _lay_out_source()
        with gr.Column(scale=4, min_width=320):
            asking = _lay_out_asking()
    _Events(shell, said, source, asking, drawn("live_view", "live")).connect()


def _lay_out_source() -> _Source:
    address = line(
        "Camera or stream",
        "rtsp://camera.local/stream, https://…/live.m3u8, webcam:0",
        "Watch",
        elem_id="live-address",
        max_length=2000,
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
    return _Source(address, user, password, rate, camera, with_camera)


def _lay_out_asking() -> _Asking:
    question = line(
        "Ask about what was seen until now",
        _CAN_NOT_ASK,
        "Ask",
        elem_id="live-question",
        max_length=500,
        interactive=False,
    )
    answer = chooser(elem_id="live-answer")
    alert = line(
        "Be told when it happens",
        "a dog appears, or: tell me when the cup is gone",
        "Add",
        elem_id="live-alert",
        max_length=500,
        interactive=False,
    )
    return _Asking(question, answer, alert)


class _Events:
    """What happens on the Live screen of a page."""

    def __init__(self, shell: Shell, said: gr.HTML, source: _Source, asking: _Asking, view: gr.HTML) -> None:
        self._shell, self._session, self._lives = shell, shell.session, Lives(shell.session)
        self._said, self._source, self._asking, self._view = said, source, asking, view
        self._drawn = gr.State(_Drawn())

    def connect(self) -> None:
        source, asking, opened = self._source, self._asking, self._shell.opened
        looks = [self._view, asking.question, asking.alert, self._drawn]
        changed = [self._said, opened, self._shell.going, *looks]
        self._shell.timer("live", _SECONDS).tick(self.draw, [opened, self._drawn], looks, **QUIET)
        told = [source.address, source.user, source.password, source.rate, opened]
        source.address.submit(self.begin, told, [self._said, source.address], **QUIET)
        source.camera.stream(
            self.take,
            [source.camera, source.rate, opened],
            self._said,
            stream_every=_CAMERA_EVERY_SECONDS,
            time_limit=None,
            concurrency_limit=8,
            **QUIET,
        )
        source.with_camera.click(self.await_camera, None, self._said, **PRIVATE)
        self._view.select(self.do, [opened, self._drawn], changed, **QUIET)
        asking.question.submit(
            self.ask, [asking.question, opened, self._shell.visit], [asking.answer, asking.question], **QUIET
        )
        asking.answer.select(self.see, None, [self._said, opened], **QUIET)
        asking.alert.submit(self.alert, [asking.alert, opened], [self._said, asking.alert], **QUIET)

    def draw(self, opened: Opened | None, before: _Drawn) -> dict[Any, Any]:
        """What is other than it was: asked again and again while this screen is shown."""
        streams = self._lives.streams()
        now = _Drawn(
            live_view.live_view(streams, self._lives.jobs(), chosen=self._lives.chosen(opened)),
            can_ask=any(stream.state.committed for stream in streams),
            can_alert=any(stream.state.is_running for stream in streams),
        )
        changes: dict[Any, Any] = {self._drawn: now if now != before else gr.skip()}
        if now.view != before.view:
            changes[self._view] = gr.HTML(value=now.view)
        if now.can_ask != before.can_ask:
            placeholder = _CAN_ASK if now.can_ask else _CAN_NOT_ASK
            changes[self._asking.question] = gr.Textbox(interactive=now.can_ask, placeholder=placeholder)
        if now.can_alert != before.can_alert:
            changes[self._asking.alert] = gr.Textbox(interactive=now.can_alert)
        return changes

    # -- what is watched --

    def begin(self, told: str, user: str, password: str, rate: str, opened: Opened | None) -> tuple[str, Any]:
        """What is said, and what stays in the field of the address."""
        try:
            if not told.strip():
                raise BadInput(
                    "there is no address in the field: type where the camera is, such as rtsp://camera.local/"
                )
            store, fps = self._store(opened), _RATES[rate]
            self._lives.connect(store, told, fps=fps, user=user or None, password=password or None)
        except Exception as error:
            return failed(sentence(error)), gr.skip()
        return "", ""

    def await_camera(self, request: gr.Request) -> str:
        try:
            self._lives.await_camera(_camera_of(request))
        except Exception as error:
            return failed(sentence(error))
        return note("Switch the camera on, if it is off: watching begins with its next picture.")

    def take(self, picture: np.ndarray | None, rate: str, opened: Opened | None, request: gr.Request) -> str | Any:
        try:
            if picture is not None:
                pixels = np.ascontiguousarray(picture[..., :3])
                if self._lives.push(self._store(opened), _camera_of(request), pixels, fps=_RATES[rate]):
                    return ""  # what `await_camera` said was done
        except Exception as error:
            return failed(sentence(error))
        return gr.skip()

    def _store(self, opened: Opened | None) -> OpenStore:
        return self._session.stores()[0] if opened is None else self._session.store(opened.store)

    # -- what is done with it --

    def do(self, opened: Opened | None, before: _Drawn, event: gr.EventData) -> dict[Any, Any]:
        """What a button of a stream, or of a job, says."""
        what, key = str(event._data.get("do")), str(event._data.get("key"))
        changes: dict[Any, Any] = {self._said: ""}
        try:
            if what in ("choose", "open") and (found := self._lives.opened(key)) is not None:
                opened = changes[self._shell.opened] = found
                if what == "open":
                    changes[self._shell.going] = going_to("watch")
            elif what == "forget-alert":
                self._lives.remove_alert(key, int(event._data["id"]))
            elif what in ("stop", "dismiss"):
                (self._lives.stop if what == "stop" else self._lives.dismiss)(key)
            elif what in ("cancel", "forget"):
                (self._session.jobs.cancel if what == "cancel" else self._session.jobs.dismiss)(int(key))
        except Exception as error:
            changes[self._said] = failed(sentence(error))
        return changes | self.draw(opened, before)

    def alert(self, text: str, opened: Opened | None) -> tuple[str, Any]:
        """What is said, and what stays in the field."""
        try:
            self._lives.alert(self._lives.chosen(opened), text)
        except Exception as error:
            return failed(sentence(error)), gr.skip()
        return "", ""

    def ask(self, question: str, opened: Opened | None, visit: Visit) -> Iterator[tuple[Any, Any]]:
        """Stream an answer, which joins what was said of this stream before."""
        stream = self._lives.opened(self._lives.chosen(opened))
        conversation = stream.key if stream is not None else ""
        if (stop := visit.begin(conversation)) is None:
            return
        try:
            yield talk.saying(question, ""), ""
            for piece in answered(self._session, stream, question, visit.said(conversation), stop):
                if isinstance(piece, Turn):
                    visit.add(conversation, piece)
                    piece = talk.said(piece)
                yield piece, gr.skip()
        except Exception as error:
            yield talk.trouble(question, sentence(error)), gr.skip()
        finally:
            visit.end(conversation)

    def see(self, event: gr.EventData) -> tuple[Any, Any]:
        """Open the stream that a piece of evidence is of; what is said, where that fails."""
        try:
            return "", self._session.opened(str(event._data["store"]), str(event._data["video"]))
        except Exception as error:
            return failed(sentence(error)), gr.skip()


def _camera_of(request: gr.Request) -> str:
    """What the camera of a page is called."""
    return f"Browser camera {str(request.session_hash)[:6]}"
