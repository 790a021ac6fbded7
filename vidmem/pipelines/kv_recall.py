"""From a question to a context of KV blocks: which frames of one video are brought back, and how they are put together.

Times in a question and the sketch of the whole are obeyed as in tokens mode (`choosing`). What is spent on found frames
goes down one ranking, made of what the encoder found and of what the video-LLM's own queries ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from vidmem.index import Store
from vidmem.kv.context import Context
from vidmem.kv.recall import Budget, choose, fuse
from vidmem.kv.tokens import FrameTokens
from vidmem.models.kv_language import KvLanguage
from vidmem.models.language import ContextFrame
from vidmem.models.preset import KvConfig
from vidmem.pipelines.kv_blocks import VideoBlocks
from vidmem.pipelines.planning import Pick, places_within, spend
from vidmem.pipelines.question import Asked
from vidmem.pipelines.timeline import Timeline
from vidmem.types import Span

_RANKED = 256
"""Frames that each ranking brings to the fusion; more than any context takes."""


@dataclass(frozen=True, slots=True, eq=False)
class Inquiry:
    """One question to the blocks of one video."""

    question: str
    asked: Asked
    line: Timeline
    video_index: int
    """The video's place in the list of videos asked about."""
    label_of: Callable[[Pick], str]
    """The time that stands before a frame."""
    store: Store
    blocks: VideoBlocks
    language: KvLanguage
    config: KvConfig

    def cost(self, pick: Pick) -> int:
        """Tokens of a frame's block."""
        return self.blocks.block_tokens[pick.frame_index]

    def take(self, named: Sequence[Pick], telling: Iterator[Pick], budget: int) -> Sequence[Pick]:
        """Spend a budget of tokens on frames that the question names, then down the ranking (`choosing.Take`)."""
        first = spend(named, self.cost, budget)
        left = budget - sum(map(self.cost, first))
        taken = {pick.frame_index for pick in first}
        order = [place for place in self._ranking(telling) if place not in taken]
        sizes = self.blocks.block_tokens[: len(self.line)]
        if not order or left < max(sizes[place] for place in order):
            return first
        limits = Budget(left, num_neighbours=self.config.neighbours, max_event_share=self.config.max_clip_share)
        chosen = choose(order, sizes, limits, events=self.line.clip_ids)
        return [*first, *(Pick(self.video_index, place) for place in chosen if place not in taken)]

    def context(self, picks: Sequence[Pick], gist: Sequence[tuple[float, ContextFrame]]) -> Context:
        """The blocks of the frames, with `gist` (seconds and frame) among them, on the model's device.

        What has no block, for it is gist or its block is lost, is run through the model now, by itself.
        """
        blocks = self.blocks.fetch(pick.frame_index for pick in picks)
        frames = [self.language.frame(frame.time_label, frame.tokens, Span(at, at)) for at, frame in gist]
        frames += self._frames([pick for pick in picks if pick.frame_index not in blocks])
        remade = self.language.remade(sorted(frames, key=lambda frame: frame.span.start))
        return self.language.context([*blocks.values(), *remade])

    def _frames(self, picks: Sequence[Pick]) -> list[FrameTokens]:
        line = self.line
        rows = self.store.load_tokens([line.frame_ids[pick.frame_index] for pick in picks])
        return [
            self.language.frame(
                self.label_of(pick), row, Span(float(line.pts_seconds[place]), float(line.end_seconds[place]))
            )
            for pick, row in zip(picks, rows, strict=True)
            for place in [pick.frame_index]
        ]

    def _ranking(self, telling: Iterator[Pick]) -> list[int]:
        """Places of frames, the best first: what the encoder found, what the video-LLM asks for, or both fused."""
        external = [pick.frame_index for pick in islice(telling, _RANKED)]
        if self.config.retrieval == "external":
            return external
        internal = self._internal()
        return internal if self.config.retrieval == "internal" else fuse([external, internal])

    def _internal(self) -> list[int]:
        """Where the question names stretches of time, only of those."""
        within = [places_within(self.line.pts_seconds, span) for span in self.asked.ranges]
        # A question that names a stretch ranks more, as most of the video is none of it.
        ranking = self.language.ranking(self.question, self.blocks.representatives(), None if within else _RANKED)
        # What was committed since the timeline was read has a block, and no place yet.
        known = [place for place in ranking if place < len(self.line)]
        return [place for place in known if not within or any(place in part for part in within)][:_RANKED]
