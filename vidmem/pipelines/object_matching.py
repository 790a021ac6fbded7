"""Which objects some words name, by what they are called and by how they look; and where in the frame a box is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidmem.index import ObjectHit, ObjectId, StoredObject
from vidmem.index.objects import Box
from vidmem.pipelines.planning import strong
from vidmem.pipelines.question import ARTICLES, singular

MAX_OBJECTS = 64
"""Objects that a search by appearance brings."""
_ARTICLES = ARTICLES | {"these", "those"}

Named = Literal["exactly", "partly", "by looks"]
"""`exactly`: its label says what the words say. `partly`: one of both says more. `by looks`: it has another label, or
none, and looks like them."""


@dataclass(frozen=True, slots=True)
class Match:
    """An object that words name."""

    object: StoredObject
    named: Named
    score: float
    """Cosine of the words and the look of it that is most like them; NaN if it has no look."""
    seconds: float | None
    """Time of that look."""
    thumbnail: str | None
    """Crop of that look."""


def match_objects(
    words: str, objects: Sequence[StoredObject], hits: Sequence[ObjectHit], *, floor: float
) -> list[Match]:
    """The objects that some words name, best first: by exact labels if there are any, else by labels and looks.

    An object whose label says less than the words (`car` for a red car), or more, must look like them, too. What a
    person called something else is never found by its looks.

    Args:
        hits: what `search_objects` found for the words among these objects, best first.
        floor: cosine below which looks are no match.
    """
    looks_so = set(alike(hits, floor=floor))
    look = {hit.object_id: hit for hit in hits}
    found = []
    for one in objects:
        named = _named(one.label, words)
        # What a person calls it (score 1) counts for more than looks.
        is_another = named == "by looks" and bool(one.label) and one.label_score >= 1
        if named != "exactly" and (is_another or one.object_id not in looks_so):
            continue
        hit = look.get(one.object_id)
        score, seconds = (math.nan, None) if hit is None else (hit.score, hit.seconds)
        found.append(Match(one, named, score, seconds, one.thumbnail_path if hit is None else hit.thumbnail_path))
    best = next((way for way in ("exactly", "partly", "by looks") if any(one.named == way for one in found)), None)
    return sorted((one for one in found if one.named == best), key=_rank)


def alike(hits: Sequence[ObjectHit], *, floor: float) -> list[ObjectId]:
    """Of objects that a search by looks brought, best first, those that count as found."""
    kept = strong(np.array([hit.score for hit in hits]), floor=floor)
    return [hit.object_id for hit, is_kept in zip(hits, kept, strict=True) if is_kept]


def is_named(label: str, text: str) -> bool:
    """Whether a text names what a label says, in the singular or the plural: `red car` is named by `a red car`."""
    words = words_in(label)
    return bool(words) and words <= words_in(text)


def words_in(text: str) -> frozenset[str]:
    """The words of a text, in lower case and the singular, without articles."""
    words = re.findall(r"[^\W_]+", text.lower())
    return frozenset(singular(word) for word in words if word not in _ARTICLES)


def place_in_words(box: Box) -> str:
    """Where the middle of a box is in the frame: a third of it across and one down, such as `bottom right`."""
    left, top, right, bottom = box
    across = ("left", "", "right")[min(2, int((left + right) / 2 * 3))]
    down = ("top", "", "bottom")[min(2, int((top + bottom) / 2 * 3))]
    return " ".join(part for part in (down, across) if part) or "middle"


def at_place(box: Box) -> str:
    """The same as a sentence says it: `on the left`, `at the bottom right`, `in the middle`."""
    place = place_in_words(box)
    return f"{'in' if place == 'middle' else 'on' if place in ('left', 'right') else 'at'} the {place}"


def _named(label: str, words: str) -> Named:
    own, asked = words_in(label), words_in(words)
    if own and own == asked:
        return "exactly"
    return "partly" if own and asked and (own < asked or asked < own) else "by looks"


def _rank(match: Match) -> tuple[float, int]:
    return (math.inf if math.isnan(match.score) else -match.score, match.object.object_id)
