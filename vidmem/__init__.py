"""vidmem watches video longer than any model's context and answers questions with the evidence.

memory = vidmem.open("kitchen.vidmem")          # create, or reopen what is there
memory.ingest("kitchen.mp4", fps=1.0)
memory.ask("When did the dog appear?")          # .text .evidence .timings
memory.search("a dog on the left", k=5)         # stretches with scores, no language model
memory.state()                                  # what each store holds
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vidmem.errors import VidmemError
from vidmem.types import Answer, Hit, Retention, Span, VideoId

if TYPE_CHECKING:
    from vidmem.pipelines import VideoMemory

__all__ = ["Answer", "Hit", "Retention", "Span", "VideoId", "VidmemError", "open"]


def open(
    path: str | os.PathLike[str],
    preset: str | os.PathLike[str] | None = None,
    *,
    create: bool = True,
    read_only: bool = False,
) -> VideoMemory:
    """Open the store at `path`, or make one there, by default with the preset that it was made with (`tiny` if new).

    See `VideoMemory.open`.
    """
    from vidmem.pipelines import VideoMemory  # brings torch: only who opens a store waits for it

    return VideoMemory.open(path, preset, create=create, read_only=read_only)
