"""What the tracks of a store's objects say to a question: stretches as evidence, and the answer where they know it all.

See docs/decisions/0004-recall.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, zip_longest

import numpy as np
from torch import Tensor

from vidmem.errors import NotFound, StoreCorrupt
from vidmem.index import ObjectHit, Store, StoredObject
from vidmem.index.objects import Box
from vidmem.pipelines import track_facts
from vidmem.pipelines.finding import WEAK, Cited
from vidmem.pipelines.object_matching import MAX_OBJECTS, Match, match_objects
from vidmem.pipelines.planning import Run, places_within
from vidmem.pipelines.question import ARTICLES, Asked, with_article
from vidmem.pipelines.timeline import Timeline
from vidmem.pipelines.track_facts import MIN_GAP_SECONDS, Facts, facts_of, joined
from vidmem.pipelines.track_questions import Want, is_plain, thing_of, want_of
from vidmem.types import Span, VideoId

_MAX_TRACKED = 8
"""Objects whose tracks are read for one question; of more with one name the model is asked."""
_MAX_STRETCHES = 4
"""Stretches of tracks that are cited: one place is left for what was found by its looks."""
_MAX_TOLD = 4
"""Different things with one name that an answer tells apart."""
_MOMENT_SECONDS = 1.0
"""How near to a moment an object must be seen for its place to be that of the moment: clocks tell seconds."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """An object that a question names, with what its track says of the times that are asked about."""

    phrase: str
    match: Match
    video_index: int
    facts: Facts

    @property
    def followed(self) -> Span:
        return _followed(self.match.object)


@dataclass(frozen=True, slots=True)
class TrackEvidence:
    """What tracks say to one question. Nothing, if it is about something else."""

    want: Want | None = None
    tracked: tuple[Tracked, ...] = ()
    """Of each phrase, best first."""
    is_all: bool = True
    """Whether these are all the objects of the store that the question names; others may have been seen later."""

    def cited(self, lines: Sequence[Timeline], *, floor: float) -> list[Cited]:
        """Stretches in which the objects were seen, of each in turn; those seen last come first where that is asked.

        Their score is the cosine of the phrase and the object's look that is most like it, as that of frames is the
        cosine of the phrase and the frame; `floor`, the least that counts as found, where it has no look.
        """
        groups = [_cited(one, lines[one.video_index], floor) for one in self.tracked]
        if self.want in ("where", "when"):
            groups = [group[::-1] for group in groups]
        in_turn = [cited for row in zip_longest(*groups) for cited in row if cited is not None]
        return in_turn[:_MAX_STRETCHES]

    def answer(
        self, question: str, asked: Sequence[Asked], found: Sequence[Cited], lines: Sequence[Timeline]
    ) -> str | None:
        """What tracks alone answer; None where the model is needed.

        They answer if a question wants no more than when, or where, something was there, if objects are called exactly
        that, and if frames that look like it (`found`) were found nowhere but where those were followed.
        """
        if self.want is None or not self.tracked or not self.is_all:
            return None
        thing = thing_of(asked[0].phrases[0], self.want)
        named = [one for one in self.tracked if one.match.named == "exactly" and one.phrase == thing]
        if not named or not is_plain(question, self.want, thing):
            return None
        moment = _only_moment(asked[0])
        if asked[0].moments and not asked[0].ranges and (self.want != "where" or moment is None):
            return None
        if any(not _is_followed(cited.run, named, lines) for cited in found if cited.why != WEAK):
            return None
        if moment is not None and (len(named) > 1 or named[0].facts.box is None):
            return None
        videos = sorted({one.video_index for one in named})
        if self.want in ("where", "when"):
            videos = videos[-1:]
        told = [
            _told(self.want, [one for one in named if one.video_index == index], asked[index], lines[index])
            for index in videos
        ]
        if any(sentence is None for sentence in told):
            return None
        names = [f"{lines[index].video.name}: " if len(lines) > 1 else "" for index in videos]
        return " ".join(f"{name}{sentence}" for name, sentence in zip(names, told, strict=True))


class ObjectEvidence:
    """Asks one store's objects. Reads only. What is damaged of them is passed over, and the store notices it once."""

    def __init__(self, store: Store, floor: float) -> None:
        """`floor` is the cosine below which looks are no match."""
        self._store, self._floor = store, floor

    def find(
        self,
        question: str,
        queries: Tensor,
        phrases: Sequence[str],
        asked: Sequence[Asked],
        lines: Sequence[Timeline],
    ) -> TrackEvidence:
        """What tracks say to a question; its phrases embedded as `queries` (Q, C), `asked` and `lines` one a video."""
        want = want_of(question)
        if want is None or not asked[0].phrases:
            return TrackEvidence()
        video_index = {line.video.video_id: index for index, line in enumerate(lines)}
        stored = [one for one in self._store.objects(list(video_index)) if one.spans and one.tracked_until is not None]
        if not stored:
            return TrackEvidence()
        matches: dict[int, tuple[str, Match]] = {}
        for phrase, query in zip(phrases, queries.numpy(), strict=True):
            hits = self._alike(query, list(video_index))
            thing = thing_of(phrase, want)
            for match in match_objects(thing, stored, hits, floor=self._floor):
                matches.setdefault(match.object.object_id, (thing, match))
        tracked, is_all = [], len(matches) <= _MAX_TRACKED
        for phrase, match in list(matches.values())[:_MAX_TRACKED]:
            index = video_index[match.object.video_id]
            try:
                facts = self._facts(match.object, asked[index], lines[index])
            except NotFound:  # it was removed meanwhile
                continue
            except StoreCorrupt as error:
                self._store.notice(str(error))
                is_all = False
                continue
            if facts is not None:
                tracked.append(Tracked(phrase, match, index, facts))
        return TrackEvidence(want, tuple(tracked), is_all)

    def _alike(self, query: np.ndarray, video_ids: list[VideoId]) -> list[ObjectHit]:
        try:
            return self._store.search_objects(query, MAX_OBJECTS, video_ids)
        except StoreCorrupt as error:
            self._store.notice(f"{error} Until then objects are found by their names alone.")
            return []

    def _facts(self, one: StoredObject, asked: Asked, line: Timeline) -> Facts | None:
        """None if it was not seen in the times asked about. Raises as `Store.track_of`."""
        times: Sequence[Span] = asked.ranges or (Span(0.0, line.duration_seconds),)
        if asked.moments and not asked.ranges:
            near = [Span(moment, moment + _MOMENT_SECONDS) for moment in asked.moments]
            stretches = joined(one.spans, MIN_GAP_SECONDS)
            times = [span for span in stretches if any(span.overlaps(other) for other in near)]
        facts = facts_of(one.spans, [_followed(one)], times)
        if facts is None:
            return None
        box = self._last_box(one, facts.stretches[-1], _only_moment(asked))
        return replace(facts, box=box, moment=_only_moment(asked))

    def _last_box(self, one: StoredObject, stretch: Span, moment: float | None) -> Box | None:
        """Where an object was at the end of a stretch, or at a moment."""
        if moment is not None:
            start, end = max(0.0, moment - _MOMENT_SECONDS), moment + _MOMENT_SECONDS
        else:
            start, end = stretch.start, math.nextafter(stretch.end, math.inf)
        track = self._store.track_of(one.object_id, start, end)
        seen = np.flatnonzero(track.is_seen)
        if not len(seen):
            return None
        best = seen[-1] if moment is None else min(seen, key=lambda place: abs(float(track.seconds[place]) - moment))
        return track.box(int(best))


def _followed(one: StoredObject) -> Span:
    """The time in which an object was looked for."""
    assert one.tracked_from is not None and one.tracked_until is not None, "it has a track"
    return Span(one.tracked_from, max(one.tracked_until, one.spans[-1].end))


def _only_moment(asked: Asked) -> float | None:
    """The one moment that a question is about; None if it names none, several, or stretches of time."""
    return asked.moments[0] if len(asked.moments) == 1 and not asked.ranges else None


def _is_followed(run: Run, named: Sequence[Tracked], lines: Sequence[Timeline]) -> bool:
    """Whether a run of frames was found where the objects were followed."""
    line = lines[run.video_index]
    span = Span(float(line.pts_seconds[run.first]), float(line.end_seconds[run.last]))
    return track_facts.is_followed(span, [one.followed for one in named if one.video_index == run.video_index])


def _cited(one: Tracked, line: Timeline, floor: float) -> list[Cited]:
    """The stretches of one object, in time order."""
    stored, score = one.match.object, floor if math.isnan(one.match.score) else one.match.score
    what = f"object {stored.object_id}"
    if one.match.named == "by looks":
        what += f", which looks like {one.phrase!r}"
    elif stored.label:
        what += f", {_with_article(stored.label, one.phrase)}"
    reason = track_facts.why(what, one.facts, times=line.times)
    cited = []
    for span in one.facts.stretches:
        places = places_within(line.pts_seconds, span)
        if places:
            peak = places[len(places) // 2]
            if one.match.seconds is not None and span.start <= one.match.seconds < span.end:
                peak = int(np.searchsorted(line.pts_seconds, one.match.seconds, side="right")) - 1
            run = Run(one.video_index, places[0], places[-1], min(max(peak, places[0]), places[-1]), score)
            cited.append(Cited(run, reason, span, one.match.thumbnail))
    return cited


def _told(want: Want, named: Sequence[Tracked], asked: Asked, line: Timeline) -> str | None:
    """What the objects of one video with one name say; None if they are too many to be told apart.

    Those that were there at one time are different things, and each is told by its number. Those that never were may be
    one thing that left and came back, and are told as one.
    """
    moment, phrase = _only_moment(asked), named[0].phrase
    if not any(_are_two(one, other) for one, other in combinations(named, 2)):
        spans = [span for one in named for span in one.facts.stretches]
        last = max(named, key=lambda one: one.facts.stretches[-1].end)
        times = asked.ranges or (spans if moment is not None else [Span(0.0, line.duration_seconds)])
        facts = facts_of(spans, [one.followed for one in named], times)
        assert facts is not None, "each of them was seen"
        facts = replace(facts, box=last.facts.box, moment=moment)
        name = _without_article(last.match.object.label)
        name = f"The {name}" if _has_article(phrase) else name[:1].upper() + name[1:]
        return track_facts.answer(want, name, facts, times=line.times)
    if len(named) > _MAX_TOLD:
        return None
    named = sorted(named, key=lambda one: one.match.object.object_id)
    names = [f"Object {one.match.object.object_id} ({one.match.object.label})" for one in named]
    return " ".join(
        track_facts.answer(want, name, one.facts, times=line.times) for name, one in zip(names, named, strict=True)
    )


def _are_two(one: Tracked, other: Tracked) -> bool:
    return any(span.overlaps(theirs) for span in one.match.object.spans for theirs in other.match.object.spans)


def _has_article(phrase: str) -> bool:
    return phrase.startswith(("a ", "an "))


def _with_article(label: str, phrase: str) -> str:
    """A label as a sentence has it, as the phrase is: with an article if that has one."""
    label = _without_article(label)
    return with_article(label.split()) if _has_article(phrase) else label


def _without_article(label: str) -> str:
    first, _, rest = label.partition(" ")
    return rest if rest and first.lower() in ARTICLES else label
