"""What happens on the page: a video is picked, watched and asked about, and the evidence is clicked."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from vidmem.errors import VidmemError
from vidmem.samples import Sample
from vidmem.types import Answer
from vidmem.ui import words
from vidmem.ui.layout import Page
from vidmem.ui.session import Progress, Session
from vidmem.ui.timeline import evidence_lane, timeline

_log = logging.getLogger(__name__)

# No handler of the page is a verb for programs: none is listed in the API.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}

Updates = dict[Any, Any]
"""New values of components, by component."""


class Events:
    """What happens on one page, over one session."""

    def __init__(self, page: Page, session: Session, samples: list[Sample]) -> None:
        self.page, self.session = page, session
        self.questions = {sample.path: sample.questions for sample in samples}

    def connect(self) -> None:
        """Wire the page's components to what follows from them."""
        page = self.page
        moving = [page.timeline, page.status, page.poll, page.watch, page.question, *page.examples]
        fresh = [page.video, page.player, page.answer, page.below, page.evidence, *moving]
        reply = [page.answer, page.below, page.evidence, page.timeline]
        page.sample.change(self.show, page.sample, fresh, **PRIVATE)
        page.upload.upload(self.show, page.upload, fresh, **PRIVATE)
        page.watch.click(self.start, page.video, moving, **PRIVATE)
        page.poll.tick(self.progressed, page.video, moving, show_progress="hidden", **PRIVATE)
        page.question.submit(self.ask, [page.question, page.video], reply, show_progress="hidden", **PRIVATE)
        for button in page.examples:
            button.click(lambda text: text, button, page.question, **PRIVATE).then(
                self.ask, [page.question, page.video], reply, show_progress="hidden", **PRIVATE
            )

    def show(self, path: str | None) -> Updates:
        """A video was picked or uploaded: into the player with it, away with the last answer."""
        if path is None:
            return {self.page.status: words.status(Progress())}
        video = Path(path)
        return {
            self.page.video: video,
            self.page.player: gr.Video(value=path, playback_position=0),
            self.page.answer: "",
            self.page.below: "",
            self.page.evidence: "",
            **self.progressed(video),
            self.page.timeline: gr.HTML(value=self.session.progress(video).timeline, evidence=None),
            **{
                button: gr.Button(text, interactive=self.session.progress(video).state == "ready")
                for button, text in zip(self.page.examples, self.questions.get(video, words.EXAMPLES), strict=False)
            },
        }

    def start(self, video: Path | None) -> Updates:
        try:
            if video is not None:
                self.session.watch(video)
        except VidmemError as error:
            return {self.page.status: words.error(str(error))}
        return self.progressed(video)

    def progressed(self, video: Path | None) -> Updates:
        """What follows from how far the watching is; asked again and again while it goes on."""
        progress = self.session.progress(video)
        busy, ready = progress.state in ("opening", "watching"), progress.state == "ready"
        return {
            self.page.timeline: gr.HTML(value=progress.timeline),
            self.page.status: words.status(progress),
            self.page.poll: gr.Timer(active=busy),
            self.page.watch: gr.Button(interactive=video is not None and not busy and not ready),
            self.page.question: gr.Textbox(interactive=ready),
            **{button: gr.Button(interactive=ready) for button in self.page.examples},
        }

    def ask(self, question: str, video: Path | None) -> Iterator[Updates]:
        """Stream the answer's text, then put its evidence on the page."""
        text = ""
        yield {
            self.page.answer: words.answer(text),
            self.page.below: "",
            self.page.evidence: "",
            self.page.timeline: gr.HTML(evidence=None),
        }
        try:
            for piece in self.session.ask(question, video):
                if isinstance(piece, Answer):
                    yield self.answered(piece, self.session.progress(video))
                else:
                    text += piece
                    yield {self.page.answer: words.answer(text)}
        except VidmemError as error:
            yield {self.page.answer: words.error(str(error))}
        except Exception as error:
            _log.exception("answering %r failed", question)
            yield {
                self.page.answer: words.error(f"The question could not be answered: {type(error).__name__}: {error}")
            }

    def answered(self, given: Answer, progress: Progress) -> Updates:
        assert progress.timeline is not None, "a video that can be asked about has a timeline"
        seconds, hours = progress.timeline["duration"], progress.has_hours
        lanes = [evidence_lane(given.evidence, seconds)] if given.evidence else []
        return {
            self.page.answer: words.answer(given.text, done=True),
            self.page.below: words.below(given),
            self.page.evidence: words.evidence(given.evidence, hours=hours),
            self.page.timeline: gr.HTML(evidence=timeline(seconds, lanes, hours=hours)),
        }
