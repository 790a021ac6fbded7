"""What a standing question asks for, read from its words: a thing, and whether that is to come or to go.

Plain rules on English words, as those of `question`. What they do not know as a change is to be seen as it stands: of
`a person with a helmet` the coming is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vidmem.errors import BadInput
from vidmem.index import Change
from vidmem.pipelines.question import ARTICLES, with_article


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a standing question asks for."""

    phrase: str
    """The thing, as a caption says it: `a dog`, `a cup on the left`."""
    change: Change
    comes_back: bool = False
    """It is to be gone first, where it is there when this is asked."""
    once: bool = False
    """It is a question that one answer answers: `tell me when ...`, `when does ...?`. A statement, and what is asked
    for `whenever`, is told each time."""


_ASKING = re.compile(
    r"(?:please )?(?:(?:tell|alert|warn|notify|inform) me|let me know|watch for|look out for)\b(?: about)?[ ,:]*", re.I
)
_EVERY = re.compile(r"(?:whenever|every time|each time)(?: that)? ", re.I)
_WHEN = re.compile(r"(?:when|once|as soon as|if|the moment)(?: that)? (?:(?:does|do|will|did|is|are|has|have) )?", re.I)
_THERE = re.compile(r"(?:is there|are there|there (?:is|are|was|were)|(?:i|we|you) (?:can )?see) ", re.I)

_BE = "is|are|was|were|has|have|had|will|can be|gets?|becomes?|does|do|did"
_IS = rf"\b(?:(?:{_BE})(?: been| be| just| now| suddenly)* )?"
_IN_VIEW = r"in (?:view|sight|the picture)"
_NOT = rf"(?:no longer|not|no more)(?: be)? (?:there|here|visible|seen|{_IN_VIEW})(?: any ?more)?"
_GONE = (
    r"(?:disappear(?:s|ed|ing)?|vanish(?:es|ed|ing)?|leav(?:es?|ing)|(?<!the )left"
    r"|(?:go|goes|going|went|walks?|drives?|moves?|flies|runs?) (?:away|off|out)"
    r"|(?:gone|taken|removed)(?: away| off| out)?|departs?|missing"
    rf"|out of (?:view|sight)|{_NOT})\b"
)
_BACK = (
    r"(?:(?:comes?|came|coming|goes|go|gets?|be|is|are) back|back$|returns?|returned|returning|reappear(?:s|ed|ing)?"
    r"|(?:appears?|comes?|shows? up|there|here|seen|visible) again)\b"
)
_COME = (
    r"(?:appear(?:s|ed|ing)?|(?:shows?|showed|turns?|turned) up|arriv(?:es?|ed|ing)|enter(?:s|ed|ing)?"
    r"|(?:comes?|came|coming)(?: in(?:to (?:view|sight))?| by| up)?"
    rf"|there|here|visible|seen|shown|present|{_IN_VIEW})\b"
)
_CHANGES: tuple[tuple[re.Pattern[str], Change, bool], ...] = (
    (re.compile(_IS + _GONE, re.I), "disappears", False),
    (re.compile(_IS + _BACK, re.I), "appears", True),
    (re.compile(_IS + _COME, re.I), "appears", False),
)
_PLACED = re.compile(r"(?:the|a|an|my|our|this|that) ", re.I)
"""What `enters` and `leaves` have behind them is where: `the room`."""
_PEOPLE = re.compile(r"(?:someone|somebody|anyone|anybody)\b", re.I)
_ANY = frozenset(("any", "some", "one"))


def read_alert(text: str) -> Wanted:
    """Read a standing question. Raises BadInput if it names nothing that could be looked for."""
    words = " ".join(text.replace("\u2019", "'").replace("n't", " not").split()).strip(" .!")
    is_question = words.endswith("?")
    words = words.rstrip(" ?")
    asking = _ASKING.match(words)
    rest = words[asking.end() :] if asking else words
    every = _EVERY.match(f"{rest} ")
    when = every or _WHEN.match(f"{rest} ")
    rest = rest[when.end() :] if when else rest
    once = every is None and (asking is not None or is_question)
    rest = rest[there.end() :] if (there := _THERE.match(rest)) else rest
    change, comes_back, thing = _change(rest)
    phrase = _caption(thing)
    if not re.search(r"[^\W_]", phrase):
        raise BadInput(f"{text!r} names nothing to look for: say what comes or goes, as in 'a dog appears'.")
    return Wanted(phrase, change, comes_back, once)


def _change(text: str) -> tuple[Change, bool, str]:
    """Which change is meant, and the words without it."""
    for pattern, change, comes_back in _CHANGES:
        match = pattern.search(text)
        if match is not None:
            before, behind = text[: match.start()].strip(" ,"), text[match.end() :].strip(" ,")
            if before and _PLACED.match(behind):
                behind = f"in {behind}"
            return change, comes_back, f"{before} {behind}".strip()
    return "appears", False, text


def _caption(thing: str) -> str:
    """`the red car` -> `a red car`, `someone in the room` -> `a person in the room`; others as they are."""
    thing = _PEOPLE.sub("a person", thing)
    words = thing.split()
    if len(words) > 1 and words[0].lower() in ARTICLES | _ANY:
        return with_article(words[1:])
    return thing
