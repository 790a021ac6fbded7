"""What a question about the sample world is, what its answer must say, and a grader that reads free text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from vidmem.types import Span
from vidmem.world.script import Place
from vidmem.world.words import numbers_in, places_in, seconds_in, things_in

Kind = Literal["what", "where", "when", "order", "how many", "was there", "which changed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TIME_TOLERANCE_SECONDS = 1.5
"""An answer's time is right within this: half a frame at 1 fps on either side, and rounding."""

_YES = re.compile(r"\s*yes\b", re.I)
_NO = re.compile(r"\s*(no|not|none|nothing|never|there (was|were|is|are) no(t|ne|thing)?)\b", re.I)


@dataclass(frozen=True, slots=True)
class Facts:
    """What an answer must say. None means that this is not asked."""

    thing: str | None = None
    places: tuple[Place, ...] = ()
    seconds: float | None = None
    number: int | None = None
    yes: bool | None = None
    light: Literal["night", "day"] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    kind: Kind
    text: str
    answer: str
    facts: Facts
    evidence: Span
    """Where in the video the answer can be seen."""


def is_right(question: Question, text: str) -> bool:
    """Does a free text answer say what the facts ask for?"""
    facts = question.facts
    if facts.yes is not None and _says_yes(question, text) != facts.yes:
        return False
    if facts.thing is not None and things_in(text)[:1] != [facts.thing]:
        return False
    if facts.places and tuple(places_in(text)) != facts.places:
        return False
    if facts.seconds is not None:
        told = seconds_in(text)
        if not told or abs(told[0] - facts.seconds) > TIME_TOLERANCE_SECONDS:
            return False
    if facts.number is not None and numbers_in(text)[:1] != [facts.number]:
        return False
    return facts.light is None or facts.light in text.lower()


def _says_yes(question: Question, text: str) -> bool | None:
    """What an answer begins with, or else whether it names what was asked for; None for silence and evasion."""
    if _NO.match(text):
        return False
    return True if _YES.match(text) or set(things_in(question.text)) & set(things_in(text)) else None
