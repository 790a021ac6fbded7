"""A conversation as HTML: questions, answers, the evidence as chips, and what was read for each.

What a model, a file or a person says is escaped: it is never markup of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from vidmem.pipelines.finding import WEAK
from vidmem.types import Answer, Hit, Reading, VideoId, format_span, format_time
from vidmem.ui.shell import table

NOTHING = "Nothing in memory matches."
_SHOWN_FRAMES = 60


@dataclass(frozen=True, slots=True)
class Turn:
    """A question as it was typed, and its answer."""

    asked: str
    answer: Answer
    hours: bool
    """Whether the video's times are written with them."""
    is_stopped: bool = False
    store: str = ""
    """Key of the store that was asked."""
    is_of_store: bool = False
    """Whether all of its videos were asked about, and not one."""

    @property
    def evidence(self) -> Sequence[Hit]:
        """What is shown of the evidence: none where nothing but weak matches was found."""
        return self.answer.evidence if is_match(self.answer.evidence) else ()


def is_match(evidence: Sequence[Hit]) -> bool:
    return any(hit.why != WEAK for hit in evidence)


def said(turn: Turn) -> str:
    """A question that was answered: one element."""
    answer = turn.answer
    text = escape(answer.text) or "…"
    stopped = ' <em class="vm-aside">(stopped)</em>' if turn.is_stopped else ""
    if turn.evidence:
        told = f'<p class="vm-told">{text}{stopped}</p>{_chips(turn)}'
    elif answer.evidence:
        told = (
            f'<p class="vm-told">{NOTHING}</p><p class="vm-aside">The model, left to guess, says: {text}{stopped}</p>'
        )
    else:
        told = f'<p class="vm-told">{text}{stopped}</p>'
    return (
        f'<article class="vm-turn">{_asked(turn.asked)}<div class="vm-answer">{told}{_unfolded(turn)}</div></article>'
    )


def saying(asked: str, text: str, *, is_weak: bool = False) -> str:
    """A question whose answer is being said."""
    told = f"<p class='vm-told'>{NOTHING}</p>" if is_weak else ""
    words = f'<p class="vm-told{" vm-aside" if is_weak else ""}">{escape(text)}<span class="vm-cursor">▍</span></p>'
    return f'<article class="vm-turn">{_asked(asked)}<div class="vm-answer">{told}{words}</div></article>'


def trouble(asked: str, message: str) -> str:
    """A question that was not answered."""
    told = f'<p class="vm-failed" role="alert">{escape(message)}</p>'
    return f'<article class="vm-turn">{_asked(asked)}<div class="vm-answer">{told}</div></article>'


def _asked(text: str) -> str:
    return f'<p class="vm-asked">{escape(text)}</p>'


def _chips(turn: Turn) -> str:
    """A button for each stretch of evidence, numbered as on the timeline, which takes the player there."""
    chips = "".join(_chip(number, hit, turn) for number, hit in enumerate(turn.evidence, 1))
    return f'<div class="vm-chips">{chips}</div>'


def _chip(number: int, hit: Hit, turn: Turn) -> str:
    picture = f'<img src="gradio_api/file={quote(hit.thumbnail)}" alt="">' if hit.thumbnail else ""
    span = format_span(hit.start, hit.end, hours=turn.hours)
    name = escape(hit.source.rpartition("/")[2]) if turn.is_of_store else ""
    return (
        f'<button type="button" class="vm-chip" {_there(turn.store, hit.video_id, hit.start)}'
        f' aria-label="Evidence {number}: go to {span}{f" of {name}" if name else ""}">'
        f"{picture}<b>★ {number}</b><span>{span}</span>{f'<span>{name}</span>' if name else ''}</button>"
    )


def _there(store: str, video_id: VideoId, seconds: float) -> str:
    """What makes a button take the player to a time of a video, which is opened if another one is."""
    return f'data-choose="open" data-store="{escape(store)}" data-video="{escape(video_id)}" data-seek="{seconds}"'


def _unfolded(turn: Turn) -> str:
    answer = turn.answer
    understood = (
        f"<p>Understood as: <q>{escape(answer.question)}</q></p>" if answer.question != turn.asked.strip() else ""
    )
    read = _reading(answer.reading, turn) if answer.reading else "<p>No model was asked.</p>"
    total = answer.timings.get("total")
    took = f" · {total:.1f} s" if total is not None else ""
    return (
        f'<details class="vm-read"><summary>What was read{took}</summary>{understood}'
        f"{_hits(answer.evidence, turn.hours)}{read}{_timings(answer.timings)}</details>"
    )


def _hits(hits: Sequence[Hit], hours: bool) -> str:
    if not hits:
        return ""
    rows = (
        f"<tr><td>★ {number}</td><td>{format_span(hit.start, hit.end, hours=hours)}</td><td>{hit.score:.2f}</td>"
        f"<td>{escape(hit.store)}</td><td>{escape(hit.why)}</td></tr>"
        for number, hit in enumerate(hits, 1)
    )
    return table(("", "When", "Score", "Memory", "Why"), rows, "What was found")


def _reading(reading: Reading, turn: Turn) -> str:
    held = f"{reading.num_blocks} KV blocks" if reading.mode == "kv" else "tokens that were run through the model now"
    gist = f", {reading.num_gist} elements of long-term memory" if reading.num_gist else ""
    frames = "".join(
        f'<button type="button" {_there(turn.store, video, at)}>{format_time(at, hours=turn.hours)}</button>'
        for video, at in reading.frames[:_SHOWN_FRAMES]
    )
    more = f" and {len(reading.frames) - _SHOWN_FRAMES} more" if len(reading.frames) > _SHOWN_FRAMES else ""
    return (
        f"<p>Read: {len(reading.frames)} frames in {held}{gist}: {reading.num_tokens} tokens.</p>"
        f'<div class="vm-frames">{frames}{more}</div>'
    )


_STEPS = {
    "load": "loading the models",
    "embed": "reading the question",
    "recall": "searching",
    "context": "bringing back",
    "first_token": "to the first word",
    "total": "in all",
}


def _timings(timings: dict[str, float]) -> str:
    steps = " · ".join(f"{name} {_milliseconds(timings[step])}" for step, name in _STEPS.items() if step in timings)
    return f"<p>Took: {steps}</p>" if steps else ""


def _milliseconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
