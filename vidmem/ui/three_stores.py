"""The three stores of a memory on the page, as a small model that its page draws (`three_stores.html`, `.css`, `.js`).

All here is pure: out of what a video's memory holds come boxes of pictures, arrows with numbers, sentences, sizes and a
map. The page draws them, moves what moves from one box to the next, and decides nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vidmem.memory import StoreState
from vidmem.pipelines import Contents, Held, Size, TierBytes
from vidmem.types import format_bytes
from vidmem.ui.pictures import common_folder

MOST = 320
"""Prototypes that are sent to the page, at most, evenly along the time. More pictures are a wall, not a memory."""

_SAYS = {
    "sensory": "What is seen right now. It holds the last few seconds and is overwritten all the time.",
    "working": "The latest frames, each in full detail. Whatever is asked, they are looked at.",
    "long-term": "What was made of all that went by before: few prototypes that stand for many frames.",
}
_NAMES = {"sensory": "Sensory memory", "working": "Working memory", "long-term": "Long-term memory"}
_TIERS = {"accelerator": "GPU", "ram": "RAM", "disk": "Disk"}


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to show of one video's memory."""

    contents: Contents
    summary: str
    """What the policy does, in one line."""
    growth: Sequence[Size]
    tiers: Sequence[TierBytes]
    hours: bool = False
    """Whether the video's times are written with hours."""


def three_stores(look: Look) -> dict[str, Any]:
    """What the page draws, in JSON's types."""
    told = look.contents
    long_term = evenly(told.long_term, MOST)
    folder = common_folder(one.thumbnail for one in (*told.sensory, *told.working, *long_term))
    return {
        "video": told.video_id,
        "name": told.name,
        "hours": look.hours,
        "until": round(told.until, 3),
        "policy": {"name": told.policy, "summary": look.summary},
        "thumbnails": folder,
        "boxes": [
            _box("sensory", told.state.sensory, told.sensory, folder, ""),
            _box("working", told.state.working, told.working, folder, ""),
            _box("long-term", told.state.long_term, long_term, folder, _left_out(told, long_term)),
        ],
        "arrows": [f"{_frames(told.num_frames)} came in, all passed on", _consolidated(told)],
        "reads": _reads(told),
        "archive": _archive(told, look.tiers),
        "growth": _growth(look.growth, told),
        "tiers": [_tier(tier) for tier in look.tiers],
    }


def evenly(held: Sequence[Held], most: int) -> tuple[Held, ...]:
    """At most so many, at even distances in the order given, with the first and the last. All, if they are not more."""
    if len(held) <= most:
        return tuple(held)
    return tuple(held[index * (len(held) - 1) // (most - 1)] for index in range(most))


# -- within --


def _box(name: str, state: StoreState, held: Sequence[Held], folder: str, note: str) -> dict[str, Any]:
    return {
        "store": name,
        "title": _NAMES[name],
        "says": _SAYS[name],
        "full": _fullness(state),
        "share": round(min(1.0, _filled(state) / state.bound), 3),
        "bytes": format_bytes(state.num_bytes),
        "note": note,
        "held": [_one(one, len(folder)) for one in held],
    }


def _filled(state: StoreState) -> float:
    """What is held, in the unit of the store's bound."""
    if state.unit != "seconds":
        return state.num_elements
    if state.oldest_seconds is None or state.newest_seconds is None:
        return 0.0
    return state.newest_seconds - state.oldest_seconds


def _fullness(state: StoreState) -> str:
    if state.unit == "seconds":
        return f"{_frames(state.num_elements)} of the last {state.bound:g} s"
    what = "prototype" if state.unit == "elements" else "frame"
    return f"{_many(state.num_elements, what)}, room for {state.bound:,.0f}"


def _one(held: Held, skipped: int) -> dict[str, Any]:
    told: dict[str, Any] = {"start": round(held.start, 3), "end": round(held.end, 3), "at": round(held.shown_at, 3)}
    if held.thumbnail:
        told["thumbnail"] = held.thumbnail[skipped:]
    told |= {"frames": round(held.frames, 1), "usage": round(held.usage, 2), "life": round(held.life, 1)}
    if held.place is not None:
        told |= {"level": held.level, "x": round(held.place[0], 4), "y": round(held.place[1], 4)}
    return told


def _left_out(told: Contents, shown: Sequence[Held]) -> str:
    if len(shown) == len(told.long_term):
        return ""
    return f"Of {len(told.long_term):,} prototypes {len(shown)} are shown, evenly along the time."


def _consolidated(told: Contents) -> str:
    if not told.num_consolidated:
        return "none has moved on yet"
    many = _frames(told.num_consolidated)
    return (
        f"{many} moved on, {_many(len(told.long_term), 'prototype')} {'is' if len(told.long_term) == 1 else 'are'} kept"
    )


def _reads(told: Contents) -> str:
    used = sum(one.usage > 0 for one in told.long_term)
    if not any(one.usage > 0 for one in (*told.working, *told.long_term)):
        return "Nothing was looked up in it yet: ask something, and see here what was used."
    return f"{used:,} of {_many(len(told.long_term), 'prototype')} were of use when it was looked up."


def _archive(told: Contents, tiers: Sequence[TierBytes]) -> str:
    disk = sum(tier.total for tier in tiers if tier.name == "disk")
    return (
        f"Beside the three stores, all {told.num_frames:,} frames lie filed on disk, in {format_bytes(disk)} with the"
        " rest of the store: a question that needs one of them finds it there."
    )


def _growth(sizes: Sequence[Size], told: Contents) -> dict[str, Any]:
    state = told.state
    return {
        "seconds": [round(size.seconds, 3) for size in sizes],
        "frames": [size.frames for size in sizes],
        "whole": bool(sizes) and sizes[-1].frames >= told.num_frames,
        "lines": [
            {"store": "sensory", "sizes": [size.sensory for size in sizes], "what": "frames", "bound": None},
            {
                "store": "working",
                "sizes": [size.working for size in sizes],
                "what": "frames",
                "bound": state.working.bound,
            },
            {
                "store": "long-term",
                "sizes": [size.long_term for size in sizes],
                "what": "prototypes",
                "bound": state.long_term.bound,
            },
        ],
    }


def _tier(tier: TierBytes) -> dict[str, Any]:
    return {
        "name": _TIERS[tier.name],
        "bytes": tier.total,
        "total": format_bytes(tier.total),
        "parts": [{"name": name, "bytes": many, "total": format_bytes(many)} for name, many in tier.parts],
    }


def _frames(number: int) -> str:
    return _many(number, "frame")


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
