"""How the sample world speaks: nouns, places and numbers in English, and reading them back out of an answer."""

from __future__ import annotations

import re

from vidmem.world.script import PLACES, THINGS, Place

_NOUNS = {"grapes": "bunch of grapes", "scissors": "pair of scissors", "glasses": "pair of glasses"}
_PLURALS = {
    "bus": "buses",
    "cactus": "cactuses",
    "fish": "fish",
    "octopus": "octopuses",
    "butterfly": "butterflies",
    "strawberry": "strawberries",
    "grapes": "bunches of grapes",
    "scissors": "pairs of scissors",
    "glasses": "pairs of glasses",
}
PLACE_PHRASES: dict[Place, str] = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}


def noun(thing: str) -> str:
    """`dog` -> dog, `sign EXIT` -> EXIT sign."""
    if thing.startswith("sign "):
        return f"{thing.removeprefix('sign ')} sign"
    return _NOUNS.get(thing, thing)


def plural(thing: str) -> str:
    return _PLURALS.get(thing) or f"{noun(thing)}s"


def a(thing: str) -> str:
    """With its article: a dog, an apple, an EXIT sign, a HELP sign."""
    word = noun(thing)
    return f"{'an' if word[0].lower() in 'aeiou' else 'a'} {word}"


def counted(count: int, thing: str) -> str:
    return f"{count} {noun(thing) if count == 1 else plural(thing)}"


def sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _patterns() -> list[tuple[re.Pattern[str], str]]:
    forms = [(form, thing) for thing in THINGS for form in {noun(thing), plural(thing), thing.split(" ")[-1]}]
    forms.sort(key=lambda pair: -len(pair[0]))
    cases = ((form, thing, 0 if thing.startswith("sign ") else re.I) for form, thing in forms)
    return [(re.compile(rf"\b{re.escape(form)}\b", flags), thing) for form, thing, flags in cases]


_PATTERNS = _patterns()
_PLACE = re.compile(rf"\b({'|'.join(PLACES)})\b", re.I)
_TIME = re.compile(r"\b(?:(\d+):)?(\d{1,2}):(\d{2})\b")
_NUMBER_WORDS = {"no": 0, "zero": 0, "once": 1, "one": 1, "twice": 2, "two": 2, "three": 3, "four": 4, "five": 5}
_NUMBER = re.compile(rf"\b(\d+|{'|'.join(_NUMBER_WORDS)})\b", re.I)


def things_in(text: str) -> list[str]:
    """The world's things that a text names, in order, each once."""
    found: dict[str, int] = {}
    rest = text
    for pattern, thing in _PATTERNS:
        for match in pattern.finditer(rest):
            found.setdefault(thing, match.start())
        rest = pattern.sub(lambda match: "#" * len(match.group()), rest)
    return sorted(found, key=found.__getitem__)


def places_in(text: str) -> list[str]:
    return [match.group(1).lower() for match in _PLACE.finditer(text)]


def seconds_in(text: str) -> list[float]:
    return [int(h or 0) * 3600 + int(m) * 60 + float(s) for h, m, s in _TIME.findall(text)]


def numbers_in(text: str) -> list[int]:
    """Counts that a text names in digits or words; times are not counts."""
    found = _NUMBER.findall(_TIME.sub("", text))
    return [_NUMBER_WORDS[word.lower()] if word.lower() in _NUMBER_WORDS else int(word) for word in found]
