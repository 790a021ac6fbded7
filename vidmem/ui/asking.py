"""The conversation beside the player: a question is asked, its answer streams in, its evidence goes on the timeline.

What is said is kept in the visit: no other tab and no other person sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import gradio as gr

from vidmem.errors import BadInput, VidmemError
from vidmem.index import StoredVideo
from vidmem.pipelines import in_context
from vidmem.types import Answer
from vidmem.ui import talk
from vidmem.ui.drawn import text_of
from vidmem.ui.jobs import sentence
from vidmem.ui.session import Opened, Session
from vidmem.ui.shell import PRIVATE, QUIET, Shell, chooser, chosen, failed, line
from vidmem.ui.talk import Turn
from vidmem.ui.timeline import evidence_lane, timeline
from vidmem.ui.visits import Visit
from vidmem.ui.watched import NUM_QUESTIONS

_EMPTY = '<p class="vm-empty">Ask what happens, when, where, or how often. Each answer shows where it was seen.</p>'
_LOG = '<div class="vm-talk" role="log" aria-label="Conversation" tabindex="0"></div>'
_REMEMBERED = 6
"""Turns that a follow-up question may mean."""
_ALWAYS: dict[str, Any] = {**QUIET, "trigger_mode": "multiple"}
"""While one answer is being said, another video may be asked about."""


@dataclass(frozen=True)
class Talk:
    """The components of a conversation."""

    log: gr.HTML
    saying: gr.HTML
    everywhere: gr.Checkbox
    question: gr.Textbox
    stop: gr.Button
    clear: gr.Button
    examples: list[gr.Button]


def lay_out_talk() -> Talk:
    log = chooser([_EMPTY], html_template=_LOG, script=text_of("talk.js"), elem_id="talk")
    saying = gr.HTML(elem_id="answer")
    everywhere = gr.Checkbox(
        label="Ask about all videos of this store", visible=False, container=False, elem_id="everywhere"
    )
    with gr.Row(elem_id="examples"):
        examples = [gr.Button("", size="sm", visible=False) for _ in range(NUM_QUESTIONS)]
    question = line(
        "Question", "Open a video, then ask here  ( / )", "Ask", elem_id="question", max_length=500, interactive=False
    )
    with gr.Row(elem_id="talk-buttons"):
        stop = gr.Button("Stop", elem_id="stop", size="sm", variant="stop", visible=False)
        clear = gr.Button("New conversation", elem_id="clear", size="sm", visible=False)
    return Talk(log, saying, everywhere, question, stop, clear, examples)


class Asking:
    """What happens in the conversation of one page."""

    def __init__(self, shell: Shell, parts: Talk, under: gr.HTML) -> None:
        """`under` is the timeline."""
        self._session, self._opened, self._visit = shell.session, shell.opened, shell.visit
        self._parts, self._under = parts, under
        self.changed_by_watching = [parts.question, parts.everywhere, *parts.examples]
        self.changed_by_opening = [parts.log, parts.saying, parts.stop, parts.clear]

    def connect(self) -> None:
        parts = self._parts
        changed = [parts.log, parts.saying, parts.question, parts.stop, parts.clear, self._under]
        parts.question.submit(self.ask, [parts.question, self._visit], changed, **_ALWAYS)
        for button in parts.examples:
            button.click(self.ask, [button, self._visit], changed, **_ALWAYS)
        parts.everywhere.input(self.widen, [parts.everywhere, self._visit], changed, **QUIET)
        parts.log.select(self.go_there, self._opened, [self._opened, parts.saying], **QUIET)
        parts.stop.click(self.stop, self._visit, parts.stop, **PRIVATE)
        parts.clear.click(
            self.clear, self._visit, [parts.log, parts.saying, parts.stop, parts.clear, self._under], **PRIVATE
        )

    def open(self, visit: Visit) -> dict[Any, Any]:
        """What changes when another video is opened: what was said about it before is there again."""
        parts = self._parts
        return {
            **self._said(visit),
            parts.question: gr.Textbox(interactive=False, placeholder="vidmem is looking at the first frames"),
            parts.everywhere: gr.Checkbox(visible=False),
            **{button: gr.Button(visible=False) for button in parts.examples},
        }

    def can_ask(self, opened: Opened, video: StoredVideo, questions: tuple[str, ...], visit: Visit) -> dict[Any, Any]:
        """What changes when more was watched of the open video."""
        is_seen = video.num_frames > 0
        are_several = len(_seen(self._session, opened)) > 1
        shown = questions if is_seen else ()
        return {
            self._parts.question: gr.Textbox(
                interactive=is_seen, placeholder="Ask what you want to know  ( / )", submit_btn=_button(visit)
            ),
            self._parts.everywhere: gr.Checkbox(value=visit.is_everywhere, visible=are_several),
            **{
                button: gr.Button(shown[index] if index < len(shown) else "", visible=index < len(shown))
                for index, button in enumerate(self._parts.examples)
            },
        }

    def ask(self, question: str, visit: Visit) -> Iterator[dict[Any, Any]]:
        """Stream the answer's text, then put it into its conversation and its evidence on the timeline.

        While another video is shown nothing of it is: it is there when its own one is opened again.
        """
        parts, opened, conversation = self._parts, visit.opened, visit.conversation
        if (stop := visit.begin(conversation)) is None:
            return
        changed: dict[Any, Any] = {}
        try:
            yield {
                parts.question: gr.Textbox(value="", submit_btn=False),
                parts.stop: gr.Button(visible=True),
                parts.saying: talk.saying(question, ""),
                self._under: gr.HTML(evidence=None),
            }
            earlier, everywhere = visit.said(conversation), visit.is_everywhere
            for piece in answered(self._session, opened, question, earlier, stop, is_everywhere=everywhere):
                if isinstance(piece, Turn):
                    visit.add(conversation, piece)
                    changed = {**self._said(visit), self._under: gr.HTML(evidence=self.evidence(visit))}
                elif visit.conversation == conversation:
                    yield {parts.saying: piece}
        except Exception as error:
            changed = {parts.saying: talk.trouble(question, sentence(error))}
        finally:
            visit.end(conversation)  # also where the page went away: nobody waits for the rest
        if visit.conversation == conversation:
            yield {**changed, parts.question: gr.Textbox(submit_btn="Ask"), parts.stop: gr.Button(visible=False)}

    def widen(self, is_everywhere: bool, visit: Visit) -> dict[Any, Any]:
        """Ask about all videos of the store, or about the open one: these are two conversations."""
        visit.is_everywhere = is_everywhere
        return {
            **self._said(visit),
            self._parts.question: gr.Textbox(submit_btn=_button(visit)),
            self._under: gr.HTML(evidence=self.evidence(visit)),
        }

    def go_there(self, opened: Opened | None, event: gr.EventData) -> tuple[Any, Any]:
        """Open the video that a piece of evidence is of. The page itself takes the player to the time."""
        told, video = chosen(event), self._session.video(opened)
        if (
            opened is not None
            and video is not None
            and (opened.store, video.video_id) == (told["store"], told["video"])
        ):
            return gr.skip(), gr.skip()
        try:
            return self._session.opened(told["store"], told["video"]), ""
        except VidmemError as error:
            return gr.skip(), failed(sentence(error))

    def stop(self, visit: Visit) -> gr.Button:
        visit.stop()
        return gr.Button(visible=False)

    def clear(self, visit: Visit) -> dict[Any, Any]:
        visit.clear()
        return {**self._said(visit), self._under: gr.HTML(evidence=None)}

    def evidence(self, visit: Visit) -> dict[str, Any] | None:
        """The newest answer's evidence as the timeline draws it."""
        said, video = visit.said(visit.conversation), self._session.video(visit.opened)
        if video is None or not said or not said[-1].evidence:
            return None
        seconds = video.duration_seconds or video.committed_until
        lane = evidence_lane(said[-1].evidence, video.video_id, seconds)
        return timeline(seconds, [lane], hours=video.has_hours) if lane.segments else None

    def _said(self, visit: Visit) -> dict[Any, Any]:
        """The conversation that is shown."""
        said = visit.said(visit.conversation)
        return {
            self._parts.log: gr.HTML(value=[talk.said(turn) for turn in said] or [_EMPTY]),
            self._parts.saying: "",
            self._parts.stop: gr.Button(visible=visit.is_answering),
            self._parts.clear: gr.Button(visible=bool(said)),
        }


def answered(
    session: Session,
    opened: Opened | None,
    question: str,
    earlier: Sequence[Turn],
    stop: Event,
    *,
    is_everywhere: bool = False,
) -> Iterator[str | Turn]:
    """HTML of an answer while it is said, then the whole turn.

    Args:
        is_everywhere: ask about all videos of the store, and not about the open one alone.

    Raises BadInput if nothing was watched yet.
    """
    video = session.video(opened)
    if opened is None or video is None or not video.num_frames:
        raise BadInput("there is nothing to ask about yet: open a video and let vidmem watch some of it")
    asked = _seen(session, opened) if is_everywhere else [video]
    hours = any(one.has_hours for one in asked)
    understood = in_context(question, [turn.answer for turn in earlier[-_REMEMBERED:]])
    text, is_weak = "", False
    for piece in session.store(opened.store).ask(understood, [one.video_id for one in asked], stop):
        if isinstance(piece, Answer):
            yield Turn(question, piece, hours, stop.is_set(), opened.store, is_everywhere)
        elif isinstance(piece, str):
            text += piece
            yield talk.saying(question, text, is_weak=is_weak)
        else:
            is_weak = bool(piece) and not talk.is_match(piece)


def _button(visit: Visit) -> str | bool:
    """Beside the question; none while an answer is being said."""
    return False if visit.is_answering else "Ask"


def _seen(session: Session, opened: Opened) -> list[StoredVideo]:
    """The videos of the open one's store of which something was watched."""
    return [video for video in session.store(opened.store).videos() if video.num_frames]
