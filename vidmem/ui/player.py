"""The player: a `<video>` of our own, fetched in pieces from where the file lies, never copied."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from vidmem.ui.drawn import drawn
from vidmem.ui.timeline import SCRIPTS


def player(elem_id: str, message: str) -> gr.HTML:
    """A player without a video, which says `message` meanwhile. Its value is made by `playing` or `not_playing`."""
    return drawn("player", elem_id, not_playing(message))


def playing(url: str, video: str) -> dict[str, Any]:
    """Show what is at an address. If that is shown already it goes on; another copy of the same `video` goes on where
    the last one was."""
    return {"src": url, "video": video}


def not_playing(message: str) -> dict[str, Any]:
    """Show a sentence in the place of a video."""
    return {"message": message}


def timeline_of(player: str) -> gr.HTML:
    """A timeline that shows, and moves, what plays in the element at a CSS selector.

    Its value is a video's `timeline.timeline`, its property `evidence` that of an answer; either may be None. Its
    `.select` tells that somebody wants to go beyond the end of what plays there: they do once that is longer.
    """
    return drawn("timeline", "timeline", scripts=SCRIPTS, replaced=("PLAYER", escape(player)), evidence=None)
