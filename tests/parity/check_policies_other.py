"""Systems with few numbers each, in one file: groups by the beginning of their names."""

from __future__ import annotations

from collections.abc import Callable

from vidmem.memory.episodes import compress_episodes

from . import check_cuts, check_mcvit
from .fixture import Fixture


def check_malmm(fixture: Fixture, group: str) -> None:
    """MA-LMM's bank: one merge for the frame that is one too many."""
    frames = fixture[f"{group}__x"]
    episodes = compress_episodes(frames, frames.shape[1] - 1, size=fixture[f"{group}__size"])
    fixture.close(f"{group}__y", episodes.value, atol=1e-5)
    fixture.close(f"{group}__size_out", episodes.size, atol=0)


CHECKS: dict[str, Callable[[Fixture, str], None]] = {
    "hem": check_cuts.check_hem,
    "malmm": check_malmm,
    "mcvit": check_mcvit.check,
    "tdc_": check_cuts.check_tdc,
}
"""Beginning of a group's name, and what checks it."""


def group_of(name: str) -> str:
    return name.split("__")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    return next((check for prefix, check in CHECKS.items() if group.startswith(prefix)), None)
