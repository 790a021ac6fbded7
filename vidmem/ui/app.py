"""The page itself, in Gradio: a player with its progress on the left, the question and its evidence on the right."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

# Read once by gradio when it is imported: no call home.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from vidmem.errors import BadInput, NotFound, VidmemError
from vidmem.samples import Sample
from vidmem.samples import samples as shipped_samples
from vidmem.types import Answer, Hit
from vidmem.ui import words
from vidmem.ui.session import Progress, Session

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.4
MAX_UPLOAD = "2gb"
CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")

# No handler of the page is a verb for programs: none is listed in the API.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}


@dataclass(frozen=True)
class _Page:
    """The components that events read and write."""

    blocks: gr.Blocks
    video: gr.State
    """Path of the video in the player, or None."""
    hits: gr.State
    """The `Hit` of each frame in the evidence gallery."""
    poll: gr.Timer
    player: gr.Video
    status: gr.HTML
    sample: gr.Radio
    upload: gr.UploadButton
    watch: gr.Button
    question: gr.Textbox
    examples: list[gr.Button]
    answer: gr.HTML
    evidence: gr.Gallery
    below: gr.HTML


def build(session: Session, samples: list[Sample]) -> gr.Blocks:
    """Make the page over one session. `samples` are offered by name; there may be none."""
    with gr.Blocks(title="vidmem", analytics_enabled=False) as blocks:
        gr.Markdown("# vidmem\nLet it watch a video once, then ask. Every answer shows where it was seen.")
        gr.HTML(words.models(session.preset), elem_id="models")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5):
                left = _player_side(samples)
            with gr.Column(scale=4):
                right = _question_side()
        page = _Page(blocks, gr.State(None), gr.State([]), gr.Timer(POLL_SECONDS, active=False), **left, **right)
        _connect(page, session, samples)
    return blocks


def _player_side(samples: list[Sample]) -> dict[str, Any]:
    player = gr.Video(label="Video", interactive=False, elem_id="player", height=380)
    status = gr.HTML(words.status(Progress()), elem_id="status")
    choices = [(words.label(sample), str(sample.path)) for sample in samples]
    sample = gr.Radio(choices, value=None, label="Samples", elem_id="sample", visible=bool(samples))
    with gr.Row():
        upload = gr.UploadButton("Upload a video", file_types=["video"], elem_id="upload", size="md")
        watch = gr.Button("Watch", variant="primary", elem_id="watch", size="md", interactive=False)
    return {"player": player, "status": status, "sample": sample, "upload": upload, "watch": watch}


def _question_side() -> dict[str, Any]:
    question = gr.Textbox(
        label="Question",
        placeholder="Once the video is watched, ask here",
        elem_id="question",
        max_length=500,
        max_lines=1,
        submit_btn="Ask",
        interactive=False,
    )
    with gr.Row():
        examples = [gr.Button(text, size="sm", interactive=False) for text in words.EXAMPLES]
    answer = gr.HTML(elem_id="answer")
    evidence = gr.Gallery(
        label="Evidence",
        show_label=False,
        elem_id="evidence",
        columns=3,
        fit_columns=False,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=False,
    )
    below = gr.HTML(elem_id="below")
    return {"question": question, "examples": examples, "answer": answer, "evidence": evidence, "below": below}


def _connect(page: _Page, session: Session, samples: list[Sample]) -> None:
    """Wire the events of one page to its session."""
    questions = {sample.path: sample.questions for sample in samples}

    def show(path: str | None) -> dict[Any, Any]:
        """A video was picked or uploaded: into the player with it, away with the last answer."""
        if path is None:
            return {page.status: words.status(Progress())}
        video = Path(path)
        return {
            page.video: video,
            page.player: gr.Video(value=path, playback_position=0),
            page.hits: [],
            page.answer: "",
            page.below: "",
            page.evidence: gr.Gallery(value=[], visible=False),
            **progressed(video),
            **{
                button: gr.Button(text, interactive=session.progress(video).state == "ready")
                for button, text in zip(page.examples, questions.get(video, words.EXAMPLES), strict=False)
            },
        }

    def start(video: Path | None) -> dict[Any, Any]:
        try:
            if video is not None:
                session.watch(video)
        except VidmemError as error:
            return {page.status: words.error(str(error))}
        return progressed(video)

    def progressed(video: Path | None) -> dict[Any, Any]:
        """What follows from how far the watching is; asked again and again while it goes on."""
        progress = session.progress(video)
        busy, ready = progress.state in ("opening", "watching"), progress.state == "ready"
        return {
            page.status: words.status(progress),
            page.poll: gr.Timer(active=busy),
            page.watch: gr.Button(interactive=video is not None and not busy and not ready),
            page.question: gr.Textbox(interactive=ready),
            **{button: gr.Button(interactive=ready) for button in page.examples},
        }

    def ask(question: str, video: Path | None) -> Iterator[dict[Any, Any]]:
        """Stream the answer's text, then put its evidence on the page."""
        text = ""
        yield {page.answer: words.answer(text), page.below: "", page.evidence: gr.Gallery(value=[], visible=False)}
        try:
            for piece in session.ask(question, video):
                if isinstance(piece, Answer):
                    yield answered(piece)
                else:
                    text += piece
                    yield {page.answer: words.answer(text)}
        except VidmemError as error:
            yield {page.answer: words.error(str(error))}
        except Exception as error:
            _log.exception("answering %r failed", question)
            yield {page.answer: words.error(f"The question could not be answered: {type(error).__name__}: {error}")}

    def answered(given: Answer) -> dict[Any, Any]:
        shown = [hit for hit in given.evidence if hit.thumbnail]
        return {
            page.answer: words.answer(given.text, done=True),
            page.below: words.below(given),
            page.hits: shown,
            page.evidence: gr.Gallery([(hit.thumbnail, words.caption(hit)) for hit in shown], visible=bool(shown)),
        }

    def jump(hits: list[Hit], event: gr.SelectData) -> Any:
        """A frame of evidence was clicked: the player goes there."""
        return gr.Video(playback_position=hits[int(event.index)].start)

    moving = [page.status, page.poll, page.watch, page.question, *page.examples]
    fresh = [page.video, page.player, page.hits, page.answer, page.below, page.evidence, *moving]
    reply = [page.answer, page.below, page.evidence, page.hits]
    page.sample.change(show, page.sample, fresh, **PRIVATE)
    page.upload.upload(show, page.upload, fresh, **PRIVATE)
    page.watch.click(start, page.video, moving, **PRIVATE)
    page.poll.tick(progressed, page.video, moving, show_progress="hidden", **PRIVATE)
    page.question.submit(ask, [page.question, page.video], reply, show_progress="hidden", **PRIVATE)
    for button in page.examples:
        button.click(lambda text: text, button, page.question, **PRIVATE).then(
            ask, [page.question, page.video], reply, show_progress="hidden", **PRIVATE
        )
    page.evidence.select(jump, page.hits, page.player, show_progress="hidden", **PRIVATE)


def launch(*, store: Path | None, preset: str, port: int = 7860) -> None:
    """Serve the page on this machine's loopback address until interrupted.

    Args:
        store: folder of the store to use; a temporary one that goes with the process if None.

    Raises:
        BadInput: the port is taken.
    """
    with serving(store=store, preset=preset, port=port, samples=_shipped()) as address:
        print(f"vidmem is at {address}  (Ctrl-C ends it)", flush=True)
        Event().wait()


@contextmanager
def serving(*, store: Path | None, preset: str, port: int, samples: list[Sample]) -> Iterator[str]:
    """Serve the page in a thread while the context lasts; gives its address."""
    with ExitStack() as cleanup:
        folder = store or Path(cleanup.enter_context(TemporaryDirectory(prefix="vidmem-"))) / "page.vidmem"
        folder = folder.resolve()
        session = Session(folder, preset)
        cleanup.callback(session.close)
        page = build(session, samples)
        cleanup.callback(page.close)
        try:
            _, address, _ = page.queue().launch(
                server_name="127.0.0.1",
                server_port=port,
                share=False,
                prevent_thread_lock=True,
                quiet=True,
                enable_monitoring=False,
                run_history=False,
                ssr_mode=False,
                max_file_size=MAX_UPLOAD,
                footer_links=[],
                allowed_paths=[str(folder), *{str(sample.path.parent) for sample in samples}],
                css=CSS,
            )
        except OSError as error:
            raise BadInput(f"port {port} of this machine is taken: choose another with --port") from error
        yield address


def _shipped() -> list[Sample]:
    try:
        return shipped_samples()
    except NotFound as error:
        _log.warning("%s", error)
        return []
