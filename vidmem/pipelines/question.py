"""What a question names: things to look for, moments and stretches of time, and which way to look from them.

Plain rules on English words. They need no model, so that they cost nothing and always do the same; what they miss, the
embedding of the whole question still finds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from vidmem.types import Span, parse_time

Look = Literal["after", "before"]

MAX_PHRASES = 5
_EDGE_SECONDS = 10.0
"""What "at the beginning" and "at the end" mean."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question names. Everything may be empty."""

    phrases: tuple[str, ...] = ()
    """Things, as a caption would say them: `a dog`, `a cup on the left`."""
    moments: tuple[float, ...] = ()
    """Times in seconds. Of a stream, those from before it began are below 0."""
    ranges: tuple[Span, ...] = ()
    """Stretches in seconds, half-open."""
    look: Look | None = None
    """Whether what is asked for lies after or before what is named."""


def read_question(
    question: str, duration_seconds: float = math.inf, place_of: Callable[[str], float | None] | None = None
) -> Asked:
    """Find what a question names.

    Args:
        duration_seconds: the video's, for "the last minute" and "at the end".
        place_of: of a stream, where on its timeline a clock showed a time such as `14:05` or `2:05 pm`: below 0 before
            it began, None for what no clock shows. Without it, such times are counted from the beginning.
    """

    def read(text: str) -> float:
        place = place_of(text) if place_of is not None and ":" in text else None
        return seconds_of(text) if place is None else place

    rest, moments, ranges, look = _times(question, duration_seconds, read)
    return Asked(
        phrases=search_phrases(rest),
        moments=tuple(dict.fromkeys(moments)),
        ranges=tuple(dict.fromkeys(ranges)),
        look=look or _look(rest),
    )


def without_times(question: str) -> str:
    """What is left of a question's words without the times that it names."""
    return _times(question, math.inf, seconds_of)[0]


# -- times --

_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_CLOCK = r"\d{1,3}:[0-5]\d(?::[0-5]\d)?(?:\.\d+)?(?:\s*[ap]m\b)?"
_AMOUNT = r"\b\d{1,9}(?:\.\d+)?\s*(?:seconds?|secs?|s|minutes?|mins?|hours?|hrs?|h)\b"
_LENGTH = rf"{_AMOUNT}(?:\s*(?:and\s+|,\s*)?{_AMOUNT})*"
_NTH = r"(?:second|minute|hour)\s+\d{1,9}\b"
_TIME = rf"(?:{_CLOCK}|{_LENGTH}|{_NTH})"
_BETWEEN = re.compile(rf"\b(?:between|from)\s+({_TIME})\s+(?:and|to|until|till|-)\s+({_TIME})", re.I)
_DASHED = re.compile(rf"({_CLOCK})\s*[-\u2013]\s*({_CLOCK})")
_EDGE = re.compile(rf"\b(?:(?:in|during|within|for)\s+)?the\s+(first|last)\s+({_LENGTH}|second|minute|hour)", re.I)
_SIDE = re.compile(rf"\b(?:right\s+|just\s+)?(after|since|from|before|until|till|by)\s+({_TIME})", re.I)
_AT = re.compile(rf"\b(?:at|around|about|near|on|in|close to)\s+({_TIME})", re.I)
_BARE = re.compile(rf"({_CLOCK})")
_ENDS = re.compile(
    r"\b(?:at|near|in|towards?)\s+the\s+(?:very\s+)?(beginning|start|end)\b(?:\s+of\s+the\s+video)?", re.I
)


def _times(
    text: str, duration: float, read: Callable[[str], float]
) -> tuple[str, list[float], list[Span], Look | None]:
    """Take the times out of a question: what is left of its words, moments, ranges, and the way to look."""
    moments: list[float] = []
    ranges: list[Span] = []
    look: Look | None = None
    for pattern in (_BETWEEN, _DASHED):
        for match in _taken(pattern, text):
            first, last = sorted((read(match[1]), read(match[2])))
            ranges.append(Span(max(0.0, first), max(0.0, last)))
        text = pattern.sub(" ", text)
    for match in _taken(_EDGE, text):
        length = seconds_of(match[2]) if match[2][0].isdigit() else _UNIT_SECONDS[match[2][0].lower()]
        ranges += _edge(match[1].lower() == "first", length, duration)
    text = _EDGE.sub(" ", text)
    for match in _taken(_ENDS, text):
        ranges += _edge(match[1].lower() != "end", _EDGE_SECONDS, duration)
    text = _ENDS.sub(" ", text)
    for match in _taken(_SIDE, text):
        moment = read(match[2])
        look = "before" if match[1].lower() in ("before", "until", "till", "by") else "after"
        moments.append(moment)
        place = max(0.0, moment)
        ranges.append(Span(0.0, place) if look == "before" else Span(place, max(place, duration)))
    text = _SIDE.sub(" ", text)
    for pattern in (_AT, _BARE):
        moments += [read(match[1]) for match in _taken(pattern, text)]
        text = pattern.sub(" ", text)
    return text, moments, ranges, look


def _taken(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    return pattern.finditer(text)


def _edge(first: bool, length: float, duration: float) -> list[Span]:
    if first:
        return [Span(0.0, min(length, duration))]
    return [Span(max(0.0, duration - length), duration)] if math.isfinite(duration) else []


def seconds_of(text: str) -> float:
    """Read a time as a question writes it: `12:04`, `1:02:03`, `43 seconds`, `2 min 5 s`, `minute 3`."""
    text = text.strip().lower()
    if ":" in text:
        return parse_time(text.removesuffix("am").removesuffix("pm"))
    if text[0].isalpha():
        unit, number = text.split()
        return float(number) * _UNIT_SECONDS[unit[0]]
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)\s*([smh])", text))


def _look(text: str) -> Look | None:
    words = set(re.findall(r"[a-z]+", text.lower()))
    if words & {"after", "afterwards", "next", "then", "following", "followed"}:
        return "after"
    return "before" if words & {"before", "previous", "previously", "preceding", "earlier"} else None


# -- things --

ARTICLES = frozenset(("a", "an", "the", "this", "that", "my", "your", "his", "her", "their", "our", "another"))
_PLURAL_MARKS = frozenset(
    ("many", "some", "any", "all", "these", "those", "several", "few", "two", "three", "four", "five", "six", "no")
)
_FORM_WORDS = """
what when where which who whom whose why how is are was were be been being am do does did done has have had can
could will would shall should may might must there here it its they them he she we you i me us not and or but if
than as so while after before until then next during since from to into onto out up down again ever first last
once twice many much often long time times please tell show list describe name find give say says said mention
appear appears appeared appearing come comes came coming leave leaves go goes went gone see sees saw seen look
looks looked happen happens happened happening occur occurs occurred become becomes became turn turns turned
move moves moved moving change changes changed changing visible present shown exist exists stay stays stayed
place places thing things object objects item items something anything nothing everything video clip frame frames
scene picture image moment point second seconds minute minutes hour hours kind type sort between following
previous each every other same both only just also more most
"""
_FORM = frozenset(_FORM_WORDS.split())
_JOINING = frozenset(
    ("of", "with", "in", "on", "at", "by", "near", "under", "over", "behind", "wearing", "for", "about")
)
_PLACE = re.compile(
    r"\b(?:on|at|in|to|from)\s+the\s+(?:left|right|top|bottom|middle|cent(?:er|re)|background|foreground)"
    r"(?:\s+side)?\b",
    re.I,
)
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_TOKEN = re.compile(rf"{_WORD.pattern}|[,;:.!?()]")
_IRREGULAR = {"people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "feet": "foot"}
_HEARD_AN = re.compile(r"[aeiou]", re.I)


def search_phrases(text: str) -> tuple[str, ...]:
    """The things that a text without times names, as captions, at most `MAX_PHRASES`, each once.

    Every noun phrase gives one (`the dog` -> `a dog`, `how many buses` -> `a bus`). Where other words of content are
    left, such as what a thing does, they follow as one phrase of their own.
    """
    placeless = _PLACE.sub(" ; ", text)
    chunks, rest = _chunks(_TOKEN.findall(placeless))
    things = [_caption(chunk) for chunk in chunks]
    if rest:
        things.append(_statement(placeless) if chunks else _caption(rest))
    placed = _PLACE.search(text)
    if placed and len(chunks) == 1 and _PLACE.sub("", text).strip():
        things[0] = f"{things[0]} {placed[0].lower()}"
    return tuple(dict.fromkeys(thing for thing in things if thing))[:MAX_PHRASES]


def _chunks(tokens: list[str]) -> tuple[list[list[str]], list[str]]:
    """Cut tokens into noun phrases that begin with an article or number word, and the content words outside."""
    chunks: list[list[str]] = []
    rest: list[str] = []
    chunk: list[str] | None = None
    for index, token in enumerate(tokens):
        word = token.lower()
        if word in ARTICLES or word in _PLURAL_MARKS:
            chunk = [word]
            chunks.append(chunk)
        elif chunk is not None and word == "of" and len(chunk) > 1 and _is_content(tokens[index + 1 : index + 2]):
            chunk.append(word)
        elif not _is_content([token]) or word in _JOINING:
            chunk = None
        elif chunk is not None:
            chunk.append(token)
        else:
            rest.append(token)
    return [chunk for chunk in chunks if len(chunk) > 1], rest


def _is_content(tokens: list[str]) -> bool:
    return bool(tokens) and bool(_WORD.fullmatch(tokens[0])) and tokens[0].lower() not in _FORM


def _caption(words: list[str]) -> str:
    """`[the, dog]` -> `a dog`, `[many, buses]` -> `a bus`, `[people]` -> `a person`, `[night]` -> `night`."""
    mark = words[0].lower()
    if mark in ARTICLES:
        return with_article(words[1:])
    if mark in _PLURAL_MARKS:
        words = words[1:]
        head = words.index("of") - 1 if "of" in words else len(words) - 1
        return with_article([*words[:head], singular(words[head]), *words[head + 1 :]])
    return " ".join(words)


def with_article(words: list[str]) -> str:
    """`[dog]` -> `a dog`, `[old, dog]` -> `an old dog`."""
    return f"{'an' if _HEARD_AN.match(words[0]) else 'a'} {' '.join(words)}"


def _statement(text: str) -> str:
    """A question's words of content with the small words between them: `man with the red hat pour the coffee`."""
    words = [word for word in _WORD.findall(text) if word.lower() not in _FORM]
    while words and words[0].lower() in ARTICLES | _JOINING:
        words = words[1:]
    while words and words[-1].lower() in ARTICLES | _JOINING:
        words = words[:-1]
    return " ".join(words)


def singular(word: str) -> str:
    """A plural noun as one: `buses` -> `bus`, `butterflies` -> `butterfly`, `dogs` -> `dog`; others unchanged."""
    lowered = word.lower()
    if lowered in _IRREGULAR:
        return _IRREGULAR[lowered]
    if lowered.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(?:ss|sh|ch|x|us|z)es$", lowered):
        return word[:-2]
    if lowered.endswith("s") and not lowered.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
