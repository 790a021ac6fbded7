"""From a question to a context: what is searched for, what is found, which frames go before the model, what is cited.

The steps are pure functions of `question` and `planning`; here they meet the store, the models and the memory. See
docs/decisions/0004-recall.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vidmem.index import FrameHit, Store, StoredVideo
from vidmem.models.language import Context, ContextFrame
from vidmem.pipelines.planning import (
    Pick,
    Run,
    around_moment,
    around_run,
    interleave,
    places_within,
    rounds,
    runs_of,
    spend,
    spread,
    strong,
)
from vidmem.pipelines.question import Asked, read_question
from vidmem.pipelines.remembering import Memories, store_of
from vidmem.pipelines.timeline import Timeline, Timelines
from vidmem.types import Hit, Span, VideoId, format_time

if TYPE_CHECKING:
    from vidmem.models.encoder import FrameEncoder
    from vidmem.models.language import VideoLanguageModel

Cost = Callable[[Pick], int]
"""Tokens of one frame with its time mark."""

WEAK = "weak match"
"""Why a hit is cited that is less alike than the preset's floor."""

_MAX_VIDEOS = 3
_SPREAD_FRAMES = 96
"""Frames of a range or a sketch that are offered to the budget; more than any context takes."""


@dataclass(frozen=True, slots=True)
class RecallConfig:
    """How a context is put together."""

    context_tokens: int = 900
    """Tokens of frames with their time marks."""
    sketch_share: float = 0.2
    """Share of the context that found frames can't take: it is spread over the whole video."""
    gist_elements: int = 2
    """Elements of long-term memory, those most like the question, that join where not all frames fit."""
    relevance_floor: float = 0.0
    """Similarity below which nothing is a match."""
    relative: float = 0.4
    """How far towards the best score, from the floor, a frame must come to count as found."""
    search_frames: int = 256
    """Frames that one search brings."""
    full_runs: int = 3
    """Best runs that get all their telling frames before others get any."""
    widen_frames: int = 4
    """Frames to either side of the best run, or of the named moment, that are offered when budget is left."""
    max_evidence: int = 5


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """What a question brought back."""

    context: Context
    evidence: tuple[Hit, ...]
    timings: dict[str, float]
    answer: str | None = None
    """Set where memory knows the answer by itself: that it holds nothing of the times asked about."""


@dataclass(frozen=True, slots=True)
class Cited:
    """A run of frames with the reason why it was found."""

    run: Run
    why: str


@dataclass(slots=True)
class Found:
    """What the searches of one question found."""

    by_phrase: list[list[Run]] = field(default_factory=list)
    cited: list[Cited] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        """The best run of each search, then the second best of each, and so on."""
        return rounds(self.by_phrase)

    def relevant_videos(self) -> set[int]:
        """The videos that hold the best citations; none if there is nothing but weak matches."""
        real = [cited for cited in self.cited if cited.why != WEAK]
        return {cited.run.video_index for cited in real[:_MAX_VIDEOS]}


class Recall:
    """Finds and assembles for one store. Reads the store and counts usage in memories; changes nothing else."""

    def __init__(
        self,
        store: Store,
        encoder: FrameEncoder,
        timelines: Timelines,
        memories: Memories,
        config: RecallConfig,
    ) -> None:
        self._store, self._encoder, self._config = store, encoder, config
        self._timelines, self._memories = timelines, memories

    def search(self, words: str, k: int, videos: Sequence[StoredVideo], *, merge: bool = True) -> list[Hit]:
        """The k stretches most like some words, best first; single frames without `merge`."""
        query = self._encoder.encode_text([words])[0].cpu().numpy()
        found = self._store.search(query, max(64, 16 * k), video_ids=[video.video_id for video in videos])
        lines = [self._timelines.of(video) for video in videos]
        kept = [hit for hit in found if hit.score >= self._config.relevance_floor]
        runs = runs_of(_picks(kept, lines), [hit.score for hit in kept], max_gap=2 if merge else 0)
        return self._hits([Cited(run, "") for run in runs[:k]], lines)

    def recall(
        self, question: str, videos: Sequence[StoredVideo], language: VideoLanguageModel, *, reserved_tokens: int = 0
    ) -> Recalled:
        """Bring back what answers a question about some videos.

        Args:
            reserved_tokens: what the model's limit must leave beside the frames.
        """
        begun = time.perf_counter()
        lines = [self._timelines.of(video) for video in videos]
        asked = [read_question(question, line.duration_seconds) for line in lines]
        if (beyond := _beyond(asked, lines)) is not None:
            spent = {"embed": 0.0, "recall": time.perf_counter() - begun, "context": 0.0}
            return Recalled(Context([]), (), spent, answer=beyond)
        phrases = asked[0].phrases
        if not phrases and not any(one.moments or one.ranges for one in asked):
            phrases = (question,)
        queries = self._encoder.encode_text(phrases).cpu() if phrases else torch.empty(0, self._encoder.dim)
        embedded = time.perf_counter()
        found = self._find(queries, phrases, asked, lines)
        relevant = found.relevant_videos() or set(range(len(lines)))
        labels = Labels(lines, named=len(relevant) > 1)
        budget = min(self._config.context_tokens, language.max_context_tokens - reserved_tokens)
        picks = self._plan(asked, found, lines, relevant, lambda pick: language.frame_cost(labels.of(pick)), budget)
        planned = time.perf_counter()
        frames = self._frames(picks, lines, labels)
        left = budget - sum(language.frame_cost(frame.time_label) for _, frame in frames)
        if len(picks) < sum(len(lines[index]) for index in relevant):
            frames += self._gist(queries, found, lines, labels, language, left)
        evidence = tuple(self._hits(found.cited[: self._config.max_evidence], lines))
        self._count_reads(evidence, lines)
        ordered = [frame for _, frame in sorted(frames, key=lambda entry: entry[0])]
        timings = {
            "embed": embedded - begun,
            "recall": planned - embedded,
            "context": time.perf_counter() - planned,
        }
        return Recalled(Context(ordered), evidence, timings)

    # -- finding --

    def _find(
        self, queries: Tensor, phrases: Sequence[str], asked: Sequence[Asked], lines: Sequence[Timeline]
    ) -> Found:
        found = Found()
        for video_index, (one, line) in enumerate(zip(asked, lines, strict=True)):
            for moment in one.moments:
                places = around_moment(line.pts_seconds, moment, video_index)
                if places:
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
        return runs_of(_picks(chosen, lines), [hit.score for hit in chosen]), is_weak

    # -- choosing --

    def _plan(
        self,
        asked: Sequence[Asked],
        found: Found,
        lines: Sequence[Timeline],
        videos: set[int],
        cost: Cost,
        budget: int,
    ) -> list[Pick]:
        """The frames of the context out of some of the videos, in temporal order. All of them if they fit."""
        a_frame = cost(Pick(min(videos), 0))
        if sum(len(lines[index]) for index in videos) * a_frame <= 2 * budget:
            all_picks = [Pick(index, place) for index in sorted(videos) for place in range(len(lines[index]))]
            if sum(map(cost, all_picks)) <= budget:
                return all_picks
        config = self._config
        if found.by_phrase:
            budget -= config.gist_elements * a_frame
        telling = (pick for pick in self._telling(asked, found, lines) if pick.video_index in videos)
        filling = (pick for pick in self._filling(found, lines) if pick.video_index in videos)
        first = spend(telling, cost, int(budget * (1 - config.sketch_share)))
        return spend(filling, cost, budget, taken=first)

    def _telling(self, asked: Sequence[Asked], found: Found, lines: Sequence[Timeline]) -> Iterator[Pick]:
        """Frames that the question is about, the most telling first."""
        look = asked[0].look
        moments = [
            around_moment(line.pts_seconds, moment, index, look=one.look)
            for index, (one, line) in enumerate(zip(asked, lines, strict=True))
            for moment in one.moments
        ]
        ranges = [
            [Pick(index, places[place]) for place in spread(len(places), _SPREAD_FRAMES)]
            for index, (one, line) in enumerate(zip(asked, lines, strict=True))
            for places in (places_within(line.pts_seconds, span) for span in one.ranges)
        ]
        full = self._config.full_runs
        groups = [around_run(run, len(lines[run.video_index])) for run in found.runs]
        looking = [around_run(run, len(lines[run.video_index]), look=look) for run in found.runs[:2]] if look else []
        return chain(*moments, *groups[:1], *looking, *groups[1:full], interleave(groups[full:]), interleave(ranges))

    def _filling(self, found: Found, lines: Sequence[Timeline]) -> list[Pick]:
        """Frames for what is left: the newest, what surrounds the best run, and a sketch of the whole."""
        newest = [
            Pick(index, len(line) - back) for index, line in enumerate(lines) for back in (1, 2) if len(line) >= back
        ]
        sketch = interleave(
            [[Pick(index, place) for place in spread(len(line), _SPREAD_FRAMES)] for index, line in enumerate(lines)]
        )
        wide: list[Pick] = []
        for run in (found.runs or [cited.run for cited in found.cited])[:1]:
            reach = range(1, self._config.widen_frames + 1)
            places = [place for step in reach for place in (run.first - step, run.last + step)]
            wide = [Pick(run.video_index, place) for place in places if 0 <= place < len(lines[run.video_index])]
        return [*newest, *interleave([wide, sketch])]

    # -- assembling --

    def _frames(
        self, picks: Sequence[Pick], lines: Sequence[Timeline], labels: Labels
    ) -> list[tuple[tuple[int, float], ContextFrame]]:
        """Context frames with what they are ordered by: video, then time."""
        tokens = self._store.load_tokens([lines[pick.video_index].frame_ids[pick.frame_index] for pick in picks])
        return [
            (
                (pick.video_index, float(lines[pick.video_index].pts_seconds[pick.frame_index])),
                ContextFrame(labels.of(pick), row),
            )
            for pick, row in zip(picks, tokens, strict=True)
        ]

    def _gist(
        self,
        queries: Tensor,
        found: Found,
        lines: Sequence[Timeline],
        labels: Labels,
        language: VideoLanguageModel,
        budget: int,
    ) -> list[tuple[tuple[int, float], ContextFrame]]:
        """Long-term elements most like the question, of the videos with the best runs, as far as the budget goes."""
        gathered: list[tuple[tuple[int, float], ContextFrame]] = []
        for video_index in dict.fromkeys(run.video_index for run in found.runs[:1]):
            memory = self._memories.of(lines[video_index].video)
            if not len(memory) or not len(queries):
                continue
            readout = memory.read(queries)
            usage = readout.usage[: readout.num_long_term]
            best = usage.argsort(descending=True, stable=True)[: self._config.gist_elements]
            elements = memory.elements_at(best.sort().values)
            for span, value in zip(elements.span_seconds.tolist(), elements.value, strict=True):
                label = labels.at(video_index, span[0])
                budget -= language.frame_cost(label)
                if budget < 0:
                    break
                gathered.append(((video_index, span[0]), ContextFrame(label, value)))
        return gathered

    def _count_reads(self, evidence: Sequence[Hit], lines: Sequence[Timeline]) -> None:
        """Tell the memories what was found by the index, so that what is asked about often is kept longer."""
        for line in lines:
            spans = [
                (hit.start, hit.end) for hit in evidence if hit.video_id == line.video.video_id and hit.why != WEAK
            ]
            if spans:
                self._memories.of(line.video).touch(torch.tensor(spans, dtype=torch.float64))

    def _hits(self, cited: Sequence[Cited], lines: Sequence[Timeline]) -> list[Hit]:
        hits = []
        for rank, entry in enumerate(cited, start=1):
            run, line = entry.run, lines[entry.run.video_index]
            span = Span(float(line.pts_seconds[run.first]), float(line.end_seconds[run.last]))
            hits.append(
                Hit(
                    video_id=line.video.video_id,
                    source=line.video.source,
                    start=span.start,
                    end=span.end,
                    score=run.score,
                    rank=rank,
                    store=store_of(self._memories.of(line.video), span),
                    thumbnail=line.thumbnails[run.peak],
                    why=entry.why,
                )
            )
        return hits


class Labels:
    """Times as they stand before frames: with hours once a video has one, with its name if `named`."""

    def __init__(self, lines: Sequence[Timeline], *, named: bool) -> None:
        self._lines, self._named = lines, named
        self._hours = [line.duration_seconds >= 3600 for line in lines]

    def of(self, pick: Pick) -> str:
        return self.at(pick.video_index, float(self._lines[pick.video_index].pts_seconds[pick.frame_index]))

    def at(self, video_index: int, seconds: float) -> str:
        label = format_time(seconds, hours=self._hours[video_index])
        return f"{self._lines[video_index].video.name} {label}" if self._named else label


def _picks(hits: Sequence[FrameHit], lines: Sequence[Timeline]) -> list[Pick]:
    video_index: dict[VideoId, int] = {line.video.video_id: index for index, line in enumerate(lines)}
    found = []
    for hit in hits:
        index = video_index[hit.video_id]
        found.append(Pick(index, lines[index].place_of(hit.pts_seconds)))
    return found


def _beyond(asked: Sequence[Asked], lines: Sequence[Timeline]) -> str | None:
    """What to say if every time that the question names lies behind the end of what was seen; else None."""
    named = [time for one in asked for time in (*one.moments, *(span.start for span in one.ranges))]
    ends = [line.duration_seconds for line in lines]
    if not named or min(named) <= max(ends):
        return None
    latest, asked_for = max(ends), min(named)
    hours = max(asked_for, latest) >= 3600
    clock = [format_time(seconds, hours=hours) for seconds in (asked_for, latest)]
    return f"Nothing is in memory at {clock[0]}: it ends at {clock[1]}."


def _without_overlaps(cited: Sequence[Cited]) -> list[Cited]:
    """Drop what shares frames with something before it."""
    kept: list[Cited] = []
    for entry in cited:
        run = entry.run
        if not any(
            run.video_index == other.run.video_index and run.first <= other.run.last and other.run.first <= run.last
            for other in kept
        ):
            kept.append(entry)
    return kept
