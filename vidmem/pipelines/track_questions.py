"""Questions that a track answers better than frames do: where something was last, for how long, how often."""

from __future__ import annotations

import re
from typing import Literal

from vidmem.pipelines.object_matching import words_in
from vidmem.pipelines.question import without_times

Want = Literal["where", "how long", "how often", "when"]

_WANTS: tuple[tuple[Want, re.Pattern[str]], ...] = (
    ("how long", re.compile(r"\bhow\s+(?:long|much\s+time|many\s+(?:seconds|minutes|hours))\b", re.I)),
    ("how often", re.compile(r"\bhow\s+(?:often|frequently|many\s+times)\b", re.I)),
    ("where", re.compile(r"\bwhere(?:abouts)?\b", re.I)),
    ("when", re.compile(r"\bwhen\b|\blast\s+seen\b", re.I)),
)
_COMMON = words_in(
    "a is are was were be been do does did has have had can could i we you they it he she there here in on of at for to"
    " video clip picture frame view sight screen camera see sees saw seen visible present exactly please tell me and"
)
_PLAIN: dict[Want, frozenset[str]] = {
    "how long": words_in("how long much time many seconds minutes hours total all altogether shown appear appeared")
    | words_in("stay stays stayed remain remained spend spent"),
    "how often": words_in("how often frequently many times total all altogether shown up appear appears appeared")
    | words_in("come came show turn turned"),
    "where": words_in("where whereabouts last now currently still leave left put go went gone end ended up find"),
    "when": words_in("when last"),
}
"""Words that a question may have, beside its thing, and still ask for no more than when or where that was there."""


def want_of(question: str) -> Want | None:
    """What a question wants that tracks are evidence for; None if it is about something else."""
    return next((want for want, pattern in _WANTS if pattern.search(question)), None)


def thing_of(phrase: str, want: Want) -> str:
    """A search phrase without what it ends with that is no thing: `a key now` of "Where is my key now?" is a key."""
    words = phrase.split()
    while len(words) > 1 and words_in(words[-1]) <= _PLAIN[want]:
        words.pop()
    return " ".join(words)


def is_plain(question: str, want: Want, thing: str) -> bool:
    """Whether a question wants nothing but when, or where, one thing was there: then its track says it all.

    So does "How long was the dog there?"; what the dog did, or was next to, no track knows. "When" is plain only with
    "last": a track may begin after its object came.
    """
    rest = words_in(without_times(question)) - words_in(thing)
    return rest <= _COMMON | _PLAIN[want] and (want != "when" or "last" in rest)
