"""From a question to a context: what is searched for, what is found, which frames go before the model, what is cited.

The steps are pure functions of `question` and `planning`; here they meet the store, the models and the memory. See
docs/decisions/0004-recall.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vidmem.index import Store, StoredVideo
from vidmem.kv.context import Context as KvContext
from vidmem.memory.resolution import finest, resample
from vidmem.models.language import Context, ContextFrame
from vidmem.pipelines.choosing import Terms, choose_frames
from vidmem.pipelines.expired import (
    Remembered,
    expired_times,
    gist_sentences,
    hit_of,
    nothing_left,
    remembered,
)
from vidmem.pipelines.finding import WEAK, Cited, Finder, Found, RecallConfig, picks_of
from vidmem.pipelines.kv_recall import Inquiry
from vidmem.pipelines.object_evidence import ObjectEvidence
from vidmem.pipelines.planning import Pick, runs_of
from vidmem.pipelines.question import Asked
from vidmem.pipelines.remembering import Memories, store_of
from vidmem.pipelines.time_of_day import clock_label
from vidmem.pipelines.timeline import Timeline, Timelines
from vidmem.pipelines.unseen import asked_of, gaps_touched, unseen
from vidmem.types import Gap, Hit, Reading, Span

if TYPE_CHECKING:
    from vidmem.models.language import VideoLanguageModel
    from vidmem.pipelines.kv_blocks import OpenBlocks
    from vidmem.pipelines.loading import Models


_Placed = tuple[tuple[int, float], ContextFrame]
"""A frame of a context with its video's index and its time in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """What a question brought back."""

    context: Context | KvContext | str
    """What goes before the model; or the answer, where tracks of objects give it without."""
    evidence: tuple[Hit, ...]
    gaps: tuple[Gap, ...]
    """Of streams: what was not seen of the times that it is about."""
    timings: dict[str, float]
    load_seconds: float = 0.0
    """What loading the video-LLM took, which is in none of `timings`."""
    reading: Reading | None = None
    """What is in the context."""
    notes: tuple[str, ...] = ()
    """Sentences on times whose frames have left."""


class Recall:
    """Finds and assembles for one store. Reads the store and counts usage in memories; changes nothing else."""

    def __init__(
        self,
        store: Store,
        models: Models,
        timelines: Timelines,
        memories: Memories,
        config: RecallConfig,
        blocks: OpenBlocks | None = None,
    ) -> None:
        """`blocks` are the store's in kv mode, None in tokens mode."""
        self._store, self._models, self._config = store, models, config
        self._timelines, self._memories = timelines, memories
        self._finder, self._blocks = Finder(store, config), blocks
        self._objects = ObjectEvidence(store, config.relevance_floor)

    def search(self, words: str, k: int, videos: Sequence[StoredVideo], *, merge: bool = True) -> list[Hit]:
        """The k stretches most like some words, best first; single frames without `merge`."""
        query = self._models.encoder.encode_text([words])[0].cpu().numpy()
        found = self._store.search(query, max(64, 16 * k), video_ids=[video.video_id for video in videos])
        lines = [self._timelines.of(video) for video in videos]
        kept = [hit for hit in found if hit.score >= self._config.relevance_floor]
        runs = runs_of(picks_of(kept, lines), [hit.score for hit in kept], max_gap=2 if merge else 0)
        return self._hits([Cited(run, "") for run in runs[:k]], lines)

    def beyond(self, question: str, videos: Sequence[StoredVideo]) -> str | None:
        """What memory answers by itself, without a model: that it holds nothing of the times asked about. Else None."""
        lines = [self._timelines.of(video) for video in videos]
        asked = [asked_of(question, line) for line in lines]
        if (known := unseen(asked, lines)) is not None:
            return known
        have_left = all(expired_times(one, line) for one, line in zip(asked, lines, strict=True))
        return nothing_left(asked, lines, [self._memories.of(video) for video in videos]) if have_left else None

    def recall(self, question: str, videos: Sequence[StoredVideo]) -> Recalled:
        """Bring back what answers a question about some videos, and leaves the model room for question and answer.

        The video-LLM is loaded where tracks don't answer. Raises BadInput if the question alone is too long for it.
        """
        encoder, begun = self._models.encoder, time.perf_counter()
        lines = [self._timelines.of(video) for video in videos]
        asked = [asked_of(question, line) for line in lines]
        phrases = asked[0].phrases
        if not phrases and not any(one.moments or one.ranges for one in asked):
            phrases = (question,)
        queries = encoder.encode_text(phrases).cpu() if phrases else torch.empty(0, encoder.dim)
        embedded = time.perf_counter()
        found = self._finder.find(queries, phrases, asked, lines)
        tracks = self._objects.find(question, queries, phrases, asked, lines)
        found.tracked = tracks.cited(lines, floor=self._config.relevance_floor)
        if (answer := tracks.answer(question, asked, found.cited, lines)) is not None:
            now = time.perf_counter()
            evidence = self._evidence(found, lines)
            gaps = tuple(gaps_touched(asked, evidence, lines))
            return Recalled(answer, evidence, gaps, _timings(begun, embedded, now, now))
        load_seconds = self._models.load()
        room = self._models.language.room(question)
        gist = self._remembered(queries, phrases, found, asked, lines)
        context, reading, planned = self._context(question, queries, found, gist, asked, lines, room)
        evidence = self._evidence(found, lines, gist)
        gaps = tuple(gaps_touched(asked, evidence, lines))
        notes = tuple(gist_sentences(gist, asked, lines))
        timings = _timings(begun, embedded, planned - load_seconds, time.perf_counter() - load_seconds)
        return Recalled(context, evidence, gaps, timings, load_seconds, reading, notes)

    def _remembered(
        self, queries: Tensor, phrases: Sequence[str], found: Found, asked: Sequence[Asked], lines: Sequence[Timeline]
    ) -> list[Remembered]:
        """What the gist has of times whose frames have left."""
        real = [cited.run.score for cited in found.cited if cited.why.startswith("looks like")]
        return [
            one
            for index, (line, of_line) in enumerate(zip(lines, asked, strict=True))
            if line.expired.until
            for one in remembered(
                self._memories.of(line.video),
                line,
                index,
                of_line,
                queries,
                phrases,
                found=max(real, default=None),
                floor=self._config.relevance_floor,
            )
        ]

    def _context(
        self,
        question: str,
        queries: Tensor,
        found: Found,
        of_expired: Sequence[Remembered],
        asked: Sequence[Asked],
        lines: Sequence[Timeline],
        room: int,
    ) -> tuple[Context | KvContext, Reading, float]:
        """What goes before the model, what that is, and the time by `time.perf_counter` at which it was chosen but not
        yet read."""
        language = self._models.language
        relevant = found.relevant_videos() | {one.video_index for one in of_expired} or set(range(len(lines)))
        labels = Labels(lines, language.label, named=len(relevant) > 1)
        room = min(self._config.context_tokens, room)
        elements = self._elements(of_expired, lines, labels, room // 2)
        budget = room - sum(language.frame_cost(frame.time_label) for _, frame in elements)
        inquiry = self._inquiry(question, relevant, asked, lines, labels)
        terms = inquiry.terms if inquiry else Terms(lambda pick: language.frame_cost(labels.of(pick)))
        picks = choose_frames(self._config, asked, found, lines, relevant, terms, budget)
        planned = time.perf_counter()
        gist: list[_Placed] = []
        if len(picks) < (inquiry.line.num_blocks if inquiry else sum(len(lines[index]) for index in relevant)):
            gist = self._gist(queries, found, lines, labels, language, budget - sum(map(terms.cost, picks)))
        gist = list({place: (place, frame) for place, frame in [*gist, *elements]}.values())
        if inquiry:
            of_video = [(seconds, frame) for (index, seconds), frame in gist if index in relevant]
            blocks = inquiry.context(picks, of_video)
            num_blocks = len(set(map(inquiry.block_of, picks)))
            return blocks, _reading(picks, lines, len(of_video), blocks.num_tokens, num_blocks), planned
        frames = sorted([*self._frames(picks, lines, labels), *gist], key=lambda entry: entry[0])
        num_tokens = sum(language.frame_cost(frame.time_label) for _, frame in frames)
        return Context([frame for _, frame in frames]), _reading(picks, lines, len(gist), num_tokens), planned

    def _inquiry(
        self, question: str, relevant: set[int], asked: Sequence[Asked], lines: Sequence[Timeline], labels: Labels
    ) -> Inquiry | None:
        """The question to the KV blocks of the only relevant video; None where it is to be answered from tokens.

        So is a question about several videos: the times in blocks don't say of which video they are.
        """
        if self._blocks is None or len(relevant) > 1:
            return None
        (video_index,) = relevant
        line = lines[video_index]
        blocks = self._blocks.of(line.video)
        return Inquiry(
            question=question,
            asked=asked[video_index],
            line=line,
            block_tokens=blocks.sizes_of(line.log_ids),
            video_index=video_index,
            label_of=labels.of,
            store=self._store,
            blocks=blocks,
            language=self._models.kv_language,
            config=self._blocks.config,
        )

    def _frames(self, picks: Sequence[Pick], lines: Sequence[Timeline], labels: Labels) -> list[_Placed]:
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
    ) -> list[_Placed]:
        """Long-term elements most like the question, of the videos with the best runs, as far as the budget goes."""
        chosen: list[tuple[int, int]] = []
        for video_index in dict.fromkeys(run.video_index for run in found.runs[:1]):
            memory = self._memories.of(lines[video_index].video)
            if not len(memory) or not len(queries):
                continue
            readout = memory.read(queries)
            usage = readout.usage[: readout.num_long_term]
            best = usage.argsort(descending=True, stable=True)[: self._config.gist_elements]
            chosen += [(video_index, element) for element in best.sort().values.tolist()]
        return self._placed(chosen, lines, labels, language, budget)

    def _elements(
        self, of_expired: Sequence[Remembered], lines: Sequence[Timeline], labels: Labels, budget: int
    ) -> list[_Placed]:
        """Long-term elements of times whose frames have left, as far as the budget goes."""
        chosen = [(one.video_index, one.element) for one in of_expired]
        return self._placed(chosen, lines, labels, self._models.language, budget) if chosen else []

    def _placed(
        self,
        chosen: Sequence[tuple[int, int]],
        lines: Sequence[Timeline],
        labels: Labels,
        language: VideoLanguageModel,
        budget: int,
    ) -> list[_Placed]:
        """Elements of videos' memories as context frames, until one more would cost more than the budget."""
        gathered: list[_Placed] = []
        for video_index in dict.fromkeys(video_index for video_index, _ in chosen):
            memory = self._memories.of(lines[video_index].video)
            wanted = torch.tensor([element for index, element in chosen if index == video_index])
            for element in finest(memory.elements_at(wanted)):
                start = float(element.span_seconds[0, 0])
                label = labels.at(video_index, start)
                budget -= language.frame_cost(label)
                if budget < 0:
                    break
                # The model knows frames of one size only: coarse tokens are repeated.
                tokens = resample(element.value, language.tokens_per_frame)[0]
                gathered.append(((video_index, start), ContextFrame(label, tokens)))
        return gathered

    def _evidence(self, found: Found, lines: Sequence[Timeline], gist: Sequence[Remembered] = ()) -> tuple[Hit, ...]:
        """What is cited, and counted as read; behind frames that are more than weak matches, the gist."""
        cited = found.evidence()
        if gist:
            cited = [one for one in cited if one.why != WEAK][: self._config.max_evidence - len(gist)]
        evidence = self._hits(cited[: self._config.max_evidence], lines)
        evidence += [
            hit_of(one, lines[one.video_index], rank) for rank, one in enumerate(gist, start=len(evidence) + 1)
        ]
        self._count_reads(evidence, lines)
        return tuple(evidence)

    def _count_reads(self, evidence: Sequence[Hit], lines: Sequence[Timeline]) -> None:
        """Tell the memories what was found by the index, so that what is asked about often is kept longer.

        It counts in this process alone, for a video that is still being ingested: see docs/decisions/0004-recall.md.
        """
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
            span = entry.span or Span(float(line.pts_seconds[run.first]), float(line.end_seconds[run.last]))
            hits.append(
                Hit(
                    video_id=line.video.video_id,
                    source=line.video.source,
                    start=span.start,
                    end=span.end,
                    score=run.score,
                    rank=rank,
                    store=store_of(self._memories.of(line.video), span),
                    thumbnail=entry.thumbnail or line.thumbnails[run.peak],
                    why=entry.why,
                    wall_start=line.clock.wall_at(span.start) if line.clock else None,
                    wall_end=line.clock.wall_at(span.end) if line.clock else None,
                )
            )
        return hits


def _reading(
    picks: Sequence[Pick], lines: Sequence[Timeline], num_gist: int, num_tokens: int, num_blocks: int | None = None
) -> Reading:
    """`num_blocks` is None where frames are read as tokens."""
    frames = [
        (lines[pick.video_index].video.video_id, float(lines[pick.video_index].pts_seconds[pick.frame_index]))
        for pick in picks
    ]
    return Reading("tokens" if num_blocks is None else "kv", frames, num_blocks or 0, num_gist, num_tokens)


def _timings(begun: float, embedded: float, planned: float, read: float) -> dict[str, float]:
    return {"embed": embedded - begun, "recall": planned - embedded, "context": read - planned}


class Labels:
    """Times as they stand before frames: with hours once a video has one, with its name if `named`; times of day where
    it is a stream."""

    def __init__(self, lines: Sequence[Timeline], label: Callable[..., str], *, named: bool) -> None:
        """`label` writes a time as the video-LLM reads it (`VideoLanguageModel.label`)."""
        self._lines, self._label, self._named = lines, label, named
        self._hours = [line.duration_seconds >= 3600 for line in lines]

    def of(self, pick: Pick) -> str:
        return self.at(pick.video_index, float(self._lines[pick.video_index].pts_seconds[pick.frame_index]))

    def at(self, video_index: int, seconds: float) -> str:
        clock = self._lines[video_index].clock
        if clock is not None:
            label = clock_label(clock.wall_at(seconds))
        else:
            label = self._label(seconds, hours=self._hours[video_index])
        return f"{self._lines[video_index].video.name} {label}" if self._named else label
