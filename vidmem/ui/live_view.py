"""Streams that are being watched, on the page, as a small model that its page draws (`live_view.html`, `.css`, `.js`).

All here is pure: out of the state of each watch come words and numbers that a person can judge the stream by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidmem.ingest import Health
from vidmem.pipelines import StoredAlert, Told, WatchState
from vidmem.types import format_time
from vidmem.ui.jobs import JobState

Mood = Literal["good", "warning", "bad", "over"]
_OLD_SECONDS = 3.0
"""A newest picture older than this is worth a warning; many cameras send one in a second."""
_SLOW_SECONDS = 5.0
"""From the arrival of a frame until it can be asked about; more is worth a warning."""
_TOLD = 3
"""Times that are shown of one alert, at most."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is to be told of a stream."""

    asked: StoredAlert
    told: Sequence[Told]
    """The newest of what it was told of this stream, oldest first."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One watch, as far as it is known."""

    key: str
    state: WatchState
    seconds: float
    """Of the stream that are in the store."""
    thumbnail: str | None = None
    """The newest frame's."""
    failure: str = ""
    """Why it ended, if an error ended it."""
    alerts: Sequence[Alert] = ()


def live_view(streams: Sequence[Stream], jobs: Sequence[JobState], *, chosen: str = "") -> dict[str, Any]:
    """What the page draws, in JSON's types.

    Args:
        jobs: those that connect to a stream and are not done.
        chosen: key of the stream that questions are about.
    """
    return {
        "streams": [_told(stream) | {"chosen": stream.key == chosen} for stream in streams],
        "jobs": [
            {"id": job.job_id, "subject": job.subject, "phase": job.phase, "message": job.message, "over": job.is_over}
            for job in jobs
        ],
    }


def mood(stream: Stream) -> tuple[Mood, str]:
    """How a stream is, in one word for its colour and one sentence for a person."""
    state, source = stream.state, stream.state.source
    if stream.failure:
        return "bad", stream.failure
    if not state.is_running:
        return "over", "It has ended; what was seen stays in memory."
    if source.state in ("connecting", "waiting"):
        if source.outage_seconds is None:
            return "warning", "Connecting to it."
        reason = source.reason or "nobody knows why"
        return "bad", f"Lost for {_span(source.outage_seconds)}: {reason}. It is taken up again by itself."
    if (age := source.last_frame_age_seconds) is not None and age > _OLD_SECONDS:
        return "warning", f"No picture came for {_span(age)}."
    if state.lag_seconds is not None and state.lag_seconds > _SLOW_SECONDS:
        return "warning", "It comes faster than it can be looked at: answers are behind the picture."
    return "good", "All is well."


# -- within --


def _told(stream: Stream) -> dict[str, Any]:
    colour, says = mood(stream)
    return {
        "key": stream.key,
        "name": stream.state.address,
        "mood": colour,
        "says": says,
        "running": stream.state.is_running,
        "thumbnail": stream.thumbnail or "",
        "seen": f"{format_time(stream.seconds)} in memory",
        "facts": _facts(stream.state, stream.state.source),
        "video": stream.state.video_id,
        "alerts": [_alert(alert) for alert in stream.alerts],
        "unchecked": stream.state.alerts.failure,
    }


def _alert(alert: Alert) -> dict[str, Any]:
    many = alert.asked.told
    times = f"told {many:,} times" if many != 1 else "told once"
    return {
        "id": alert.asked.alert_id,
        "text": alert.asked.text,
        "state": f"{times}, and asked no more" if alert.asked.is_done else times if many else "not told yet",
        "told": [
            {"message": one.message, "at": one.evidence.start, "thumbnail": one.evidence.thumbnail or ""}
            for one in reversed(alert.told[-_TOLD:])
        ],
    }


def _facts(state: WatchState, source: Health) -> list[dict[str, str]]:
    size = f"{source.width} x {source.height}" if source.width else "–"
    lost = state.source.dropped + state.thinned
    return [
        _fact("Newest picture", _ago(source.last_frame_age_seconds), "How long ago the newest picture came."),
        _fact("Pictures in", f"{source.fps_in:.1f} a second", "How many come from the stream."),
        _fact("Frames kept", f"{state.fps_kept:.1f} a second", "How many of them are looked at and remembered."),
        _fact("Behind", _delay(state.lag_seconds), "From the arrival of a frame until it can be asked about."),
        _fact("Passed over", f"{lost:,}", "Frames that came faster than they could be looked at."),
        _fact("Lost and back", f"{source.reconnects:,}", "How often it was lost and taken up again."),
        _fact("Gaps", f"{state.gaps:,}", "Stretches of which nothing was seen."),
        _fact("Damaged", f"{source.decode_errors:,}", "Pictures that could not be decoded."),
        _fact("Size", size, "Of the newest picture, in pixels."),
    ]


def _fact(name: str, value: str, about: str) -> dict[str, str]:
    return {"name": name, "value": value, "about": about}


def _ago(seconds: float | None) -> str:
    return "none yet" if seconds is None else f"{_span(seconds)} ago"


def _delay(seconds: float | None) -> str:
    return "–" if seconds is None else _span(seconds)


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else format_time(seconds)
