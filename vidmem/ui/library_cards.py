"""What the Library shows, as HTML. What a file or a store is called is escaped: it is never markup of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from vidmem.samples import Sample
from vidmem.types import VideoId, format_bytes, format_time
from vidmem.ui.jobs import JobState


@dataclass(frozen=True, slots=True)
class Card:
    """One video of a store."""

    store: str
    """The store's key."""
    video_id: VideoId
    name: str
    seconds: float
    has_hours: bool
    is_whole: bool
    """Whether it was watched to its end, and is watched no more."""
    num_frames: int
    num_bytes: int
    preset: str
    pictures: Sequence[tuple[float, str]]
    """Seconds and address of thumbnails, in the order of time."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """One store with its videos."""

    name: str
    preset: str
    cards: Sequence[Card]
    trouble: str = ""
    """Why it can't be read, if it can't."""


def shelves(found: Sequence[Shelf]) -> str:
    return "".join(map(_shelf, found))


def _shelf(shelf: Shelf) -> str:
    if shelf.trouble:
        inside = f'<p class="vm-note vm-failed" role="alert">{escape(shelf.trouble)}</p>'
    elif shelf.cards:
        inside = f'<ul class="vm-cards">{"".join(map(_card, shelf.cards))}</ul>'
    else:
        inside = '<p class="vm-empty">No video yet. Try a sample, or add one of your own above.</p>'
    held = sum(card.num_bytes for card in shelf.cards)
    kept = f" · {format_bytes(held)} on disk" if held else ""
    return (
        f'<section class="vm-shelf"><h2>{escape(shelf.name)} '
        f"<small>models: {escape(shelf.preset)}{kept}</small></h2>{inside}</section>"
    )


def _card(card: Card) -> str:
    data = f'data-store="{escape(card.store)}" data-video="{escape(card.video_id)}"'
    strip = "".join(
        f'<img src="{escape(url)}" alt="" loading="lazy" title="{format_time(seconds, hours=card.has_hours)}">'
        for seconds, url in card.pictures
    )
    length = format_time(card.seconds, hours=card.has_hours)
    size = format_bytes(card.num_bytes)
    state = "" if card.is_whole else " · not watched to its end"
    name = escape(card.name)
    return (
        f'<li class="vm-card"><button type="button" class="vm-open" data-choose="open" {data}>'
        f'<span class="vm-strip">{strip}</span><b>{name}</b>'
        f"<span>{length} · {card.num_frames} frames · {escape(card.preset)} · {size}{state}</span>"
        f'</button><details class="vm-remove"><summary aria-label="Remove {name}">Remove</summary>'
        "<p>Its memory goes for good, with every answer on it. "
        f'<button type="button" class="vm-danger" data-choose="remove" {data}>Remove {name}</button></p></details></li>'
    )


_VERBS = {
    "ingest": "Watching",
    "fetch": "Fetching",
    "preview": "Making playable",
    "remove": "Removing",
    "connect": "Connecting to",
    "follow": "Following in",
    "find": "Looking for objects in",
    "forget": "Forgetting in",
    "alert": "Removing an alert of",
}


def job_list(states: Sequence[JobState]) -> str:
    """What goes on, and what went wrong, the newest first."""
    return f'<div class="vm-jobs">{"".join(map(_job, reversed(states)))}</div>' if states else ""


def _job(state: JobState) -> str:
    name = escape(Path(state.subject).name or state.subject)
    verb = _VERBS[state.kind]
    said = f"<span>{escape(state.message)}</span>"
    if not state.is_over:
        return (
            f'<div role="status"><b>{verb} {name}</b>{bar(state.fraction, f"How far {name} is")}{said}'
            f'<button type="button" data-choose="cancel" data-job="{state.job_id}" aria-label="Cancel {name}">Cancel'
            "</button></div>"
        )
    role = ' role="alert" class="vm-failed"' if state.phase == "failed" else ""
    data = f'data-job="{state.job_id}"'
    return (
        f"<div{role}><b>{name}</b>{said}"
        f'<button type="button" data-choose="again" {data} aria-label="Try {name} again">Try again</button>'
        f'<button type="button" data-choose="dismiss" {data} aria-label="Dismiss {name}">Dismiss</button></div>'
    )


def bar(fraction: float | None, label: str) -> str:
    """How far something is; one that moves on its own while nobody knows."""
    value = "" if fraction is None else f' value="{fraction:.3f}"'
    return f'<progress max="1"{value} aria-label="{escape(label)}"></progress>'


def sample_buttons(samples: Sequence[Sample]) -> str:
    return "".join(
        f'<button type="button" class="vm-sample" data-choose="{index}"><b>▶ {escape(sample.path.stem)}</b> '
        f"<span>{format_time(sample.seconds)}</span></button>"
        for index, sample in enumerate(samples)
    )
