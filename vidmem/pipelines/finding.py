"""Searching a store for what a question names: runs of frames, and which of them are cited why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from vidmem.index import FrameHit, Store
from vidmem.models.preset import Preset
from vidmem.pipelines.planning import RELATIVE, Pick, Run, around_moment, rounds, runs_of, strong
from vidmem.pipelines.question import Asked
from vidmem.pipelines.timeline import Timeline
from vidmem.types import Span, VideoId

WEAK = "weak match"
"""Why a hit is cited that is less alike than the preset's floor."""

_MAX_VIDEOS = 3


@dataclass(frozen=True, slots=True)
class RecallConfig:
    """How a context is put together."""

    context_tokens: int = 900
    """Tokens of frames with their time marks."""
    sketch_share: float = 0.2
    """Share of the context that weak matches can't take: it is spread over the whole video."""
    gist_elements: int = 2
    """Elements of long-term memory, those most like the question, that join where not all frames fit."""
    relevance_floor: float = 0.0
    """Similarity below which nothing is a match."""
    relative: float = RELATIVE
    """How far towards the best score, from the floor, a frame must come to count as found."""
    search_frames: int = 256
    """Frames that one search brings."""
    full_runs: int = 3
    """Best runs that get all their telling frames before others get any."""
    widen_frames: int = 4
    """Frames to either side of the best run, or of the named moment, that are offered when budget is left."""
    max_evidence: int = 5

    @classmethod
    def of(cls, preset: Preset) -> RecallConfig:
        """As a preset says."""
        budget = preset.budget
        return cls(
            context_tokens=budget.context_tokens,
            sketch_share=budget.sketch_share,
            gist_elements=budget.gist_elements,
            relevance_floor=preset.encoder.relevance_floor,
        )


@dataclass(frozen=True, slots=True)
class Cited:
    """A run of frames with the reason why it was found."""

    run: Run
    why: str
    span: Span | None = None
    """The stretch that is cited; None for that of the frames."""
    thumbnail: str | None = None
    """A picture of what was found; None for the best frame's."""


@dataclass(slots=True)
class Found:
    """What the searches of one question found."""

    by_phrase: list[list[Run]] = field(default_factory=list)
    cited: list[Cited] = field(default_factory=list)
    tracked: list[Cited] = field(default_factory=list)
    """Stretches of the tracks of objects that the question is about."""

    @property
    def runs(self) -> list[Run]:
        """The best run of each search, then the second best of each, and so on."""
        return rounds(self.by_phrase)

    @property
    def is_any_real(self) -> bool:
        """Whether there is more than weak matches."""
        return bool(self.tracked) or any(cited.why != WEAK for cited in self.cited)

    def evidence(self) -> list[Cited]:
        """What is cited, best first: what tracks say, then other frames; beside tracks no weak matches."""
        if not self.tracked:
            return self.cited
        real = [cited for cited in self.cited if cited.why != WEAK]
        return [*self.tracked, *(cited for cited in real if not any(_overlap(cited, one) for one in self.tracked))]

    def relevant_videos(self) -> set[int]:
        """The videos that hold the best citations; none if there is nothing but weak matches."""
        real = [cited for cited in self.cited if cited.why != WEAK]
        return {cited.run.video_index for cited in (*self.tracked, *real[:_MAX_VIDEOS])}


class Finder:
    """Searches one store. Reads only."""

    def __init__(self, store: Store, config: RecallConfig) -> None:
        self._store, self._config = store, config

    def find(self, queries: Tensor, phrases: Sequence[str], asked: Sequence[Asked], lines: Sequence[Timeline]) -> Found:
        """Look for every phrase (embedded as `queries` (Q, C)) and every moment that a question names.

        `asked` and `lines` hold one entry a video.
        """
        found = Found()
        for video_index, (one, line) in enumerate(zip(asked, lines, strict=True)):
            for moment in one.moments:
                places = around_moment(line.pts_seconds, moment, video_index)
                if places and not line.is_in_gap(moment) and not line.has_expired(moment):
                    place = places[0].frame_index
                    found.cited.append(Cited(Run(video_index, place, place, place, 1.0), "the time in the question"))
        matches: list[Cited] = []
        for query, phrase in zip(queries.numpy(), phrases, strict=True):
            runs, is_weak = self._runs(self._hits_of(query, asked, lines), lines)
            found.by_phrase.append(runs)
            why = WEAK if is_weak else f"looks like {phrase!r}"
            matches += [Cited(run, why) for run in runs]
        by_score = sorted(matches, key=lambda cited: (cited.why == WEAK, -cited.run.score))
        found.cited = _without_overlaps([*found.cited, *by_score])
        return found

    def _hits_of(self, query: np.ndarray, asked: Sequence[Asked], lines: Sequence[Timeline]) -> list[FrameHit]:
        """The best frames for a query; where the question names stretches of time, only of those."""
        count = self._config.search_frames
        if not any(one.ranges for one in asked):
            return self._store.search(query, count, video_ids=[line.video.video_id for line in lines])
        hits: list[FrameHit] = []
        for one, line in zip(asked, lines, strict=True):
            for span in one.ranges:
                ids = [line.video.video_id]
                hits += self._store.search(query, count, video_ids=ids, start=span.start, end=span.end)
        return sorted({hit.frame_id: hit for hit in hits}.values(), key=lambda hit: -hit.score)

    def _runs(self, hits: Sequence[FrameHit], lines: Sequence[Timeline]) -> tuple[list[Run], bool]:
        """The runs of one search and whether nothing in it is a real match; then only the nearest are given."""
        scores = np.array([hit.score for hit in hits])
        kept = strong(scores, floor=self._config.relevance_floor, relative=self._config.relative)
        is_weak = not kept.any()
        chosen = hits[:3] if is_weak else [hit for hit, keep in zip(hits, kept, strict=True) if keep]
        return runs_of(picks_of(chosen, lines), [hit.score for hit in chosen]), is_weak


def picks_of(hits: Sequence[FrameHit], lines: Sequence[Timeline]) -> list[Pick]:
    video_index: dict[VideoId, int] = {line.video.video_id: index for index, line in enumerate(lines)}
    found = []
    for hit in hits:
        index = video_index[hit.video_id]
        found.append(Pick(index, lines[index].place_of(hit.pts_seconds)))
    return found


def _without_overlaps(cited: Sequence[Cited]) -> list[Cited]:
    """Drop what shares frames with something before it."""
    kept: list[Cited] = []
    for entry in cited:
        if not any(_overlap(entry, other) for other in kept):
            kept.append(entry)
    return kept


def _overlap(one: Cited, other: Cited) -> bool:
    run, others = one.run, other.run
    return run.video_index == others.video_index and run.first <= others.last and others.first <= run.last
