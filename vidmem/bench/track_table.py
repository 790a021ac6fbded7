"""Figures of `vidmem bench track` as one table of the selections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidmem.models.tracker import SELECTIONS
from vidmem.world.tracking import DRAMAS

COLUMNS: tuple[tuple[str, str], ...] = (
    ("J&F", "jf"),
    ("AUC", "auc"),
    ("AO", "ao"),
    ("SR 0.5", "sr50"),
    ("SR 0.75", "sr75"),
    ("precision", "precision"),
    ("hard J&F", "hard_jf"),
    ("hard AUC", "hard_auc"),
    ("gain", "gain"),
    ("95 % from", "gain_low"),
    ("to", "gain_high"),
    *((drama, f"{drama}_jf") for drama in DRAMAS),
    ("on doubles", "switches"),
)
"""Heading and what a figure's name ends in. Hard are all dramas but the first."""


def rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Cells as people read them, a heading first."""
    figures = result["figures"]
    body = [
        (name, *(_shown(figures.get(f"track_{name}_{what}")) for _, what in COLUMNS))
        for name in SELECTIONS
        if f"track_{name}_jf" in figures
    ]
    return [("selection", *(heading for heading, _ in COLUMNS)), *body]


def others(result: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that are not in the table."""
    inside = {f"track_{name}_{what}" for name in SELECTIONS for _, what in COLUMNS}
    aimed = {name for name, figure in result["figures"].items() if figure["target"] is not None}
    return {name: figure for name, figure in result["figures"].items() if name not in inside - aimed}


def _shown(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    return f"{figure['value']:.1f}" if isinstance(figure["value"], float) else str(figure["value"])
