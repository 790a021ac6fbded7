"""The texts of the page. What a model or a file name says is escaped: it is never markup of ours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from vidmem.models.preset import Preset
from vidmem.samples import Sample
from vidmem.types import Answer, Hit, format_span, format_time
from vidmem.ui.session import Progress

EXAMPLES = ("What appears?", "When did the dog appear?", "Where is the cup?")


def status(progress: Progress) -> str:
    """The line under the player: what is going on, with a bar while a video is being watched."""
    role = "alert" if progress.state == "failed" else "status"
    bar = ""
    if progress.state in ("opening", "watching"):
        value = "" if progress.fraction is None else f' value="{progress.fraction:.3f}"'
        bar = f'<progress max="1"{value} aria-label="How far watching is"></progress>'
    message = f"<span>{escape(progress.message)}</span>"
    return f'<div class="vm-status vm-{progress.state}" role="{role}">{bar}{message}</div>'


def answer(text: str, *, done: bool = False) -> str:
    """The answer so far, as text."""
    cursor = "" if done else '<span class="vm-cursor" aria-hidden="true">▍</span>'
    return f'<div class="vm-answer" aria-live="polite">{escape(text)}{cursor}</div>'


def error(message: str) -> str:
    """One sentence about what went wrong."""
    return f'<div class="vm-status vm-failed" role="alert">{escape(message)}</div>'


def caption(hit: Hit, *, hours: bool = False) -> str:
    """What stands under one frame of evidence, with `hours` if its video has them."""
    return f"{format_span(hit.start, hit.end, hours=hours)}  ·  {hit.score:.2f}"


def evidence(hits: Sequence[Hit], *, hours: bool = False) -> str:
    """A button for each stretch of evidence, numbered as on the timeline, which takes the player there."""
    return (
        f'<div class="vm-evidence">{"".join(_stretch(number, hit, hours) for number, hit in enumerate(hits, 1))}</div>'
    )


def _stretch(number: int, hit: Hit, hours: bool) -> str:
    picture = f'<img src="gradio_api/file={quote(hit.thumbnail)}" alt="">' if hit.thumbnail else ""
    return (
        f'<button type="button" data-seek="{hit.start}">{picture}<span>{escape(caption(hit, hours=hours))}</span>'
        f'<b aria-hidden="true">★ {number}</b></button>'
    )


def below(given: Answer) -> str:
    """What stands under the answer: how long it took and how to use the evidence."""
    if not given.evidence:
        return '<div class="vm-below">Nothing in memory matches.</div>'
    return (
        f'<div class="vm-below">Answered in {given.timings["total"]:.1f} s. Click a frame to see it in the video.</div>'
    )


def label(sample: Sample) -> str:
    """A sample's name among the choices."""
    return f"{sample.path.stem} ({format_time(sample.seconds)})"


def models(preset: Preset) -> str:
    """Which models answer on this page, and what they are good for."""
    about = f"{preset.name}: {preset.description}" if preset.description else preset.name
    return f'<div class="vm-below">Models: {escape(about)}</div>'
