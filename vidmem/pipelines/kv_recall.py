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

RANKED = 256
"""Most frames of a ranking; more than any context takes."""
_ADDED = 8
"""Frames that the video-LLM's queries add to what the encoder found. Where that is little, what is left of the budget
is better spent on the frames around it and on a sketch of the whole than on what the queries rank lower."""


def hybrid(external: Sequence[int], internal: Sequence[int]) -> list[int]:
    """One ranking of frames out of the encoder's and the video-LLM's."""
    return fuse([external, internal[:_ADDED]])


def down_ranking(
    order: Sequence[int], block_tokens: Sequence[int], num_tokens: int, config: KvConfig, clip_ids: Sequence[int]
) -> list[int]:
    """Places of the frames that a budget of tokens takes of a ranking, in temporal order. Raises as `choose`."""
    limits = Budget(num_tokens, num_neighbours=config.neighbours, max_event_share=config.max_clip_share)
    return choose(order, block_tokens, limits, events=clip_ids)


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
        chosen = down_ranking(order, sizes, left, self.config, self.line.clip_ids)
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
        rows = self.store.load_tokens([self.line.frame_ids[pick.frame_index] for pick in picks])
        spans = [self.line.span_of(pick.frame_index) for pick in picks]
        labels = map(self.label_of, picks)
        return [self.language.frame(*frame) for frame in zip(labels, rows, spans, strict=True)]

    def _ranking(self, telling: Iterator[Pick]) -> list[int]:
        """Places of frames, the best first: what the encoder found, what the video-LLM asks for, or both fused."""
        external = [pick.frame_index for pick in islice(telling, RANKED)]
        if self.config.retrieval == "external":
            return external
        internal = self._internal()
        return internal if self.config.retrieval == "internal" else hybrid(external, internal)

    def _internal(self) -> list[int]:
        """What the video-LLM asks for; where the question names stretches of time, only of those."""
        within = [places_within(self.line.pts_seconds, span) for span in self.asked.ranges]
        # What was committed since the timeline was read has a block, and no place yet.
        among = set().union(*within) if within else range(len(self.line))
        landmarks = self.blocks.landmarks()
        return landmarks.ranking(self.language.queries(self.question, landmarks.heads), RANKED, among)
