"""The conversation beside the player: a question is asked, its answer streams in, its evidence goes on the timeline.

What is said is kept in the page's own state: no other tab and no other person sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import gradio as gr

from vidmem.errors import BadInput
from vidmem.index import StoredVideo
from vidmem.pipelines import in_context
from vidmem.types import Answer
from vidmem.ui import talk
from vidmem.ui.jobs import sentence
from vidmem.ui.session import Opened
from vidmem.ui.shell import PRIVATE, QUIET, Shell
from vidmem.ui.talk import Turn
from vidmem.ui.timeline import evidence_lane, timeline
from vidmem.ui.watched import NUM_QUESTIONS

_EMPTY = '<p class="vm-empty">Ask what happens, when, where, or how often. Each answer shows where it was seen.</p>'
_LOG = '<div class="vm-talk" role="log" aria-label="Conversation" tabindex="0">${value}</div>'
_REMEMBERED = 6
"""Turns that a follow-up question may mean."""


Turns = dict[str, tuple[Turn, ...]]
"""What was said about each video, by `Opened.key`."""


@dataclass(frozen=True)
class Talk:
    """The components of a conversation."""

    turns: gr.State
    """`Turns` of this tab of the browser."""
    log: gr.HTML
    saying: gr.HTML
    question: gr.Textbox
    stop: gr.Button
    clear: gr.Button
    examples: list[gr.Button]


def lay_out_talk() -> Talk:
    log = gr.HTML(_EMPTY, html_template=_LOG, elem_id="talk")
    saying = gr.HTML(elem_id="answer")
    with gr.Row(elem_id="examples"):
        examples = [gr.Button("", size="sm", visible=False) for _ in range(NUM_QUESTIONS)]
    question = gr.Textbox(
        label="Question",
        placeholder="Open a video, then ask here  ( / )",
        elem_id="question",
        max_length=500,
        max_lines=1,
        submit_btn="Ask",
        interactive=False,
    )
    with gr.Row(elem_id="talk-buttons"):
        stop = gr.Button("Stop", elem_id="stop", size="sm", variant="stop", visible=False)
        clear = gr.Button("New conversation", elem_id="clear", size="sm", visible=False)
    return Talk(gr.State({}), log, saying, question, stop, clear, examples)


class Asking:
    """What happens in the conversation of one page."""

    def __init__(self, shell: Shell, parts: Talk, under: gr.HTML) -> None:
        """`under` is the timeline."""
        self._session, self._opened, self._parts, self._under = shell.session, shell.opened, parts, under
        self._stops: dict[str, Event] = {}
        """By Gradio's names of pages, of those in which an answer is being said."""
        self.changed_by_watching = [parts.question, *parts.examples]
        self.changed_by_opening = [parts.log, parts.saying, parts.clear]

    def connect(self) -> None:
        parts = self._parts
        asked = [parts.question, self._opened, parts.turns]
        changed = [parts.turns, parts.log, parts.saying, parts.question, parts.stop, parts.clear, self._under]
        parts.question.submit(self.ask, asked, changed, **QUIET)
        for button in parts.examples:
            button.click(self.ask, [button, self._opened, parts.turns], changed, **QUIET)
        parts.stop.click(self.stop, None, None, **PRIVATE)
        parts.clear.click(self.clear, [self._opened, parts.turns], [parts.turns, *changed[1:3], parts.clear], **PRIVATE)

    def open(self, opened: Opened | None, turns: Turns) -> dict[Any, Any]:
        """What changes when another video is opened: what was said about it before is there again."""
        parts, said = self._parts, turns.get(opened.key, ()) if opened is not None else ()
        return {
            parts.log: talk.log(said) or _EMPTY,
            parts.saying: "",
            parts.clear: gr.Button(visible=bool(said)),
            parts.question: gr.Textbox(interactive=False, placeholder="vidmem is looking at the first frames"),
            **{button: gr.Button(visible=False) for button in parts.examples},
        }

    def can_ask(self, video: StoredVideo, questions: tuple[str, ...]) -> dict[Any, Any]:
        """What changes when more was watched of the open video."""
        is_seen = video.num_frames > 0
        shown = questions if is_seen else ()
        return {
            self._parts.question: gr.Textbox(interactive=is_seen, placeholder="Ask about this video  ( / )"),
            **{
                button: gr.Button(shown[index] if index < len(shown) else "", visible=index < len(shown))
                for index, button in enumerate(self._parts.examples)
            },
        }

    def ask(self, question: str, opened: Opened | None, turns: Turns, request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Stream the answer's text, then put it into the conversation and its evidence on the timeline."""
        parts, page = self._parts, str(request.session_hash)
        before = turns.get(opened.key, ()) if opened is not None else ()
        stop = self._stops[page] = Event()
        yield {
            parts.question: gr.Textbox(value="", submit_btn=False),
            parts.stop: gr.Button(visible=True),
            parts.saying: talk.saying(question, ""),
            self._under: gr.HTML(evidence=None),
        }
        done = {parts.question: gr.Textbox(submit_btn="Ask"), parts.stop: gr.Button(visible=False)}
        try:
            for piece in self._answer(question, opened, before, stop):
                if isinstance(piece, Turn):
                    assert opened is not None, "only an open video is asked about"
                    now = (*before, piece)
                    yield {
                        **done,
                        parts.turns: turns | {opened.key: now},
                        parts.log: talk.log(now),
                        parts.saying: "",
                        parts.clear: gr.Button(visible=True),
                        self._under: gr.HTML(evidence=self._cited(piece, opened)),
                    }
                else:
                    yield {parts.saying: piece}
        except Exception as error:
            yield {**done, parts.saying: talk.trouble(question, sentence(error))}
        finally:
            stop.set()  # the page went away: nobody waits for the rest
            self._stops.pop(page, None)

    def stop(self, request: gr.Request) -> None:
        """End the answer that is being said in this page."""
        if (stop := self._stops.get(str(request.session_hash))) is not None:
            stop.set()

    def clear(self, opened: Opened | None, turns: Turns) -> tuple[Any, ...]:
        left = {video: said for video, said in turns.items() if opened is None or video != opened.key}
        return left, _EMPTY, "", gr.Button(visible=False)

    def _answer(
        self, question: str, opened: Opened | None, before: tuple[Turn, ...], stop: Event
    ) -> Iterator[str | Turn]:
        """HTML of the answer while it is said, then the whole turn."""
        video = self._session.video(opened)
        if opened is None or video is None or not video.num_frames:
            raise BadInput("there is nothing to ask about yet: open a video and let vidmem watch some of it")
        understood = in_context(question, [turn.answer for turn in before[-_REMEMBERED:]])
        text, is_weak = "", False
        for piece in self._session.store(opened.store).ask(understood, [video.video_id], stop):
            if isinstance(piece, Answer):
                yield Turn(question, piece, video.has_hours, is_stopped=stop.is_set())
            elif isinstance(piece, str):
                text += piece
                yield talk.saying(question, text, is_weak=is_weak)
            else:
                is_weak = bool(piece) and not talk.is_match(piece)

    def _cited(self, turn: Turn, opened: Opened) -> dict[str, Any] | None:
        """The answer's evidence as the timeline draws it."""
        video = self._session.video(opened)
        if video is None or not turn.evidence:
            return None
        seconds = video.duration_seconds or video.committed_until
        return timeline(seconds, [evidence_lane(turn.evidence, seconds)], hours=turn.hours)
