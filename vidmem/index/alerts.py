"""Standing questions as the store keeps them: what was asked of streams, and what was told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NewType

from vidmem.types import Hit

AlertId = NewType("AlertId", int)
"""Stable number of one standing question. Never given out twice."""
ToldId = NewType("ToldId", int)
Change = Literal["appears", "disappears"]


@dataclass(frozen=True, slots=True)
class AlertRow:
    """A standing question, as it is asked."""

    text: str
    """In the words of whoever asked."""
    phrase: str
    """The thing, as a caption says it: `a dog`."""
    change: Change
    comes_back: bool
    """What is there when it is asked has to go before its coming is told."""
    once: bool
    """It is answered by the first change, and then done."""
    gone_seconds: float
    """A change that is undone before so long is not told again."""
    source: str | None
    """Of which stream, by its shown address; None: of every one of the store."""
    asked_by: str


@dataclass(frozen=True, slots=True)
class StoredAlert(AlertRow):
    """A standing question of the store."""

    alert_id: AlertId
    asked_at: str
    """RFC 3339 with zone."""
    is_done: bool
    """It was to be told once, and was."""
    told: int
    """How often it was told."""


@dataclass(frozen=True, slots=True)
class NewTold:
    """What a standing question is told, on its way into the store."""

    alert_id: AlertId
    message: str
    evidence: Hit


@dataclass(frozen=True, slots=True)
class Told:
    """What a standing question was told. `evidence.thumbnail` is None if the picture is no more there."""

    told_id: ToldId
    alert_id: AlertId
    text: str
    """Of the question."""
    message: str
    told_at: str
    """RFC 3339 with zone."""
    evidence: Hit


@dataclass(frozen=True, slots=True)
class AlertProgress:
    """How far the standing questions of a stream are checked: up to a time, with what is known of each by then.

    `sights` is by question, in the words of whoever checks; a question that has none is new.
    """

    until: float
    sights: dict[AlertId, str]
