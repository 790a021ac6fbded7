"""Questions that lean on what was said before (`Where was it then?`), made to stand by themselves.

Plain rules on English words, as those of `question`: a pronoun is the thing that the question before was about, `then`
and `that` the time of its first evidence. What they miss is asked as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from vidmem.pipelines.finding import WEAK
from vidmem.pipelines.question import ARTICLES, search_phrases, without_times
from vidmem.types import Answer, Hit, format_time

_INSTEAD = re.compile(
    r"^\s*(?:and|but|or|what\s+about|how\s+about)(?:\s+what\s+about)?\s+(?P<thing>[^?.!]+?)\s*[?.!]*$", re.I
)
_THING = re.compile(r"\b(?:it|he|she|they|them|him)\b", re.I)
_OWNED = re.compile(r"\b(?:its|his|their)\b", re.I)
_ITSELF_LATER = re.compile(
    r"^\s*(?:and\s+)?then\s+what\b|\b(?:happen(?:s|ed)?|c[oa]me|comes|appear(?:s|ed)?|follow(?:s|ed)?)\s+(?:then|next)\b",
    re.I,
)
_LATER = re.compile(
    r"\b(?:after|since)\s+(?:that|this|it|then)\b|\bafterwards\b|\b(?:right|just)\s+after\s*(?=[?.!]|$)", re.I
)
_EARLIER = re.compile(r"\b(?:before|until)\s+(?:that|this|it|then)\b|\b(?:right|just)\s+before\s*(?=[?.!]|$)", re.I)
_MEANWHILE = re.compile(
    r"\b(?:at\s+(?:that|this|the\s+same)\s+(?:time|moment|point)|then|meanwhile)\b(?=\s*[?.!,]|\s*$)", re.I
)
_LEADING = re.compile(r"^\s*(?:and|but|so)\s+(?=\w+\s)", re.I)


def in_context(question: str, earlier: Sequence[Answer]) -> str:
    """A question as one that stands by itself.

    Args:
        earlier: answers of the same conversation, each to a question that stands by itself, the newest last. Times are
            those of the newest one; things are those of the newest one that names any.

    Returns:
        The question with names and times in the place of `it`, `then`, `after that`; unchanged where it has none of
        these, or nothing was said before.
    """
    question = " ".join(question.split())
    found = _INSTEAD.match(question)
    alike = next((answer.question for answer in reversed(earlier) if _things(answer.question)), None)
    if found and alike is not None and _is_thing(found["thing"]):
        return _about(alike, found["thing"])
    shown = next((hit for answer in reversed(earlier[-1:]) for hit in answer.evidence if hit.why != WEAK), None)
    if shown is not None:
        question = _with_times(question, shown)
    meant = next((things for answer in reversed(earlier) if (things := _things_of(answer))), None)
    if meant is not None:
        named = _the(meant[0])
        question = _OWNED.sub(f"{named}'s", _THING.sub(named, question))
    return question


def _with_times(question: str, shown: Hit) -> str:
    start, end = _written(shown.start, shown.wall_start), _written(shown.end, shown.wall_end)
    if _ITSELF_LATER.search(question):
        question = re.sub(r"\b(?:then|next)\b", "", question, flags=re.I).strip(" ?.!")
        return f"{_capital(' '.join(question.split()))} after {end}?"
    question = _LATER.sub(f"after {end}", question)
    question = _EARLIER.sub(f"before {start}", question)
    return _MEANWHILE.sub(f"at {start}", question)


def _written(seconds: float, wall: float | None) -> str:
    """A time as `question` reads it: of a stream, what the clock on the wall showed."""
    return format_time(seconds) if wall is None else datetime.fromtimestamp(wall).strftime("%H:%M:%S")


def _things(question: str) -> tuple[str, ...]:
    return search_phrases(_THING.sub(" ", without_times(question)))


def _things_of(answer: Answer) -> tuple[str, ...]:
    """What a question is about; where it names nothing, what its answer does, if that has evidence."""
    said = _things(answer.text) if any(hit.why != WEAK for hit in answer.evidence) else ()
    return _things(answer.question) or tuple(thing for thing in said if thing.partition(" ")[0] in ARTICLES)


def _is_thing(text: str) -> bool:
    """Whether a few words name a thing and do nothing, as in `and the red cup?`."""
    return (
        len(text.split()) <= 4
        and (text.split()[0].lower() in ARTICLES or len(text.split()) == 1)
        and bool(_things(text))
    )


def _about(question: str, thing: str) -> str:
    """A question asked of another thing."""
    words = [re.escape(word) for word in _bare(_things(question)[0]).split()]
    before = re.compile(rf"\b(?:(?:{'|'.join(sorted(ARTICLES))})\s+)?{r'[^A-Za-z0-9]+'.join(words)}(?:es|s)?\b", re.I)
    put: Callable[[re.Match[str]], str] = lambda _: thing if thing.split()[0].lower() in ARTICLES else f"the {thing}"  # noqa: E731
    return before.sub(put, question, count=1)


def _bare(phrase: str) -> str:
    first, _, rest = phrase.partition(" ")
    return rest if first in ARTICLES and rest else phrase


def _the(phrase: str) -> str:
    first, _, rest = phrase.partition(" ")
    return f"the {rest}" if first in ("a", "an") and rest else phrase


def _capital(text: str) -> str:
    text = _LEADING.sub("", text)
    return text[:1].upper() + text[1:]
