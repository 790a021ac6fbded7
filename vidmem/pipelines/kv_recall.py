"""From a question to a context of KV blocks: which frames of one video are brought back, and how they are put together.

Where a block holds several frames its first one stands for it: a chosen frame brings its block, once.

Times in a question are obeyed as in tokens mode (`choosing`). What is spent on found frames
goes down one ranking, made of what the encoder found and of what the video-LLM's own queries ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from vidmem.index import Store
from vidmem.kv.compress import Seen, thin
from vidmem.kv.context import Context
from vidmem.kv.landmarks import GROUP_FRAMES
from vidmem.kv.recall import Budget, choose, fuse
from vidmem.kv.tokens import FrameTokens
from vidmem.models.kv_language import KvLanguage
from vidmem.models.language import ContextFrame
from vidmem.models.preset import KvConfig
from vidmem.pipelines.choosing import Terms
from vidmem.pipelines.kv_blocks import VideoBlocks
from vidmem.pipelines.planning import Pick, places_within, spend
from vidmem.pipelines.question import Asked
from vidmem.pipelines.timeline import Timeline
from vidmem.types import Span

RANKED = 256
"""Most frames of a ranking; more than any context takes."""
ADDED = GROUP_FRAMES
"""Frames that the video-LLM's queries add to what the encoder found: a group of landmarks. What they rank lower shows
other things, among which answers go wrong."""


def hybrid(external: Sequence[int], internal: Sequence[int]) -> list[int]:
    """One ranking of blocks out of the encoder's and the video-LLM's."""
    return fuse([external, internal])


def down_ranking(
    order: Sequence[int], block_tokens: Sequence[int], num_tokens: int, config: KvConfig, clip_ids: Sequence[int]
) -> list[int]:
    """The blocks that a budget of tokens takes of a ranking, in temporal order. Raises as `choose`.

    `block_tokens` and `clip_ids` have an entry for each block.
    """
    limits = Budget(num_tokens, num_neighbours=config.neighbours, max_event_share=config.max_clip_share)
    return choose(order, block_tokens, limits, events=clip_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Inquiry:
    """One question to the blocks of one video."""

    question: str
    asked: Asked
    line: Timeline
    block_tokens: Sequence[int]
    """Tokens of each of its blocks."""
    video_index: int
    """The video's place in the list of videos asked about."""
    label_of: Callable[[Pick], str]
    """The time that stands before a frame."""
    store: Store
    blocks: VideoBlocks
    language: KvLanguage
    config: KvConfig

    @property
    def terms(self) -> Terms:
        """How frames are chosen."""
        return Terms(self._cost, self._take, lambda pick: self._first_of(self.block_of(pick)))

    def block_of(self, pick: Pick) -> int:
        """The block that holds a frame, by its place on the timeline."""
        return int(self.line.block_ids[pick.frame_index])

    def _first_of(self, block_id: int) -> Pick:
        return Pick(self.video_index, self.line.places_in(block_id)[0])

    def _cost(self, pick: Pick) -> int:
        """Tokens of a frame's block."""
        return self.block_tokens[self.block_of(pick)]

    def _take(self, named: Sequence[Pick], telling: Iterator[Pick], budget: int) -> Sequence[Pick]:
        """Spend a budget of tokens on frames that the question names, then down the ranking (`choosing.Take`)."""
        first = spend(named, self._cost, budget)
        left = budget - sum(map(self._cost, first))
        taken = set(map(self.block_of, first))
        order = [block_id for block_id in self._ranking(telling) if block_id not in taken]
        sizes = self.block_tokens
        if not order or left < min(sizes[block_id] for block_id in order):
            return first
        chosen = down_ranking(order, sizes, left, self.config, self.line.clip_of_block)
        return [*first, *(self._first_of(block_id) for block_id in chosen if block_id not in taken)]

    def context(self, picks: Sequence[Pick], gist: Sequence[tuple[float, ContextFrame]]) -> Context:
        """The blocks of the frames, with `gist` (seconds and frame) among them, on the model's device.

        What has no block, for it is gist or its block is lost or has left, is run through the model now, by itself. A
        lost block is made again from its first frame, and is no larger than it was.
        """
        wanted = {block_id: int(self.line.log_ids[block_id]) for block_id in map(self.block_of, picks)}
        blocks = self.blocks.fetch(wanted.values())
        lost = [block_id for block_id, log_id in wanted.items() if log_id not in blocks]
        sizes = [self.blocks.tokens_when_written(wanted[block_id]) for block_id in lost]
        frames = [(self.language.frame(frame.time_label, frame.tokens, Span(at, at)), None) for at, frame in gist]
        again = sorted([*frames, *zip(self._frames(lost), sizes, strict=True)], key=lambda one: one[0].span.start)
        remade = self.language.remade([frame for frame, _ in again])
        kept = [
            block if size is None else thin(Seen(block, frame.tokens.is_visual), size)
            for block, (frame, size) in zip(remade, again, strict=True)
        ]
        return self.language.context([*blocks.values(), *kept])

    def _frames(self, block_ids: Sequence[int]) -> list[FrameTokens]:
        """The first frames of some blocks, each for all of its block's time."""
        firsts = list(map(self._first_of, block_ids))
        rows = self.store.load_tokens([self.line.frame_ids[pick.frame_index] for pick in firsts])
        spans = map(self.line.span_of_block, block_ids)
        return [self.language.frame(*frame) for frame in zip(map(self.label_of, firsts), rows, spans, strict=True)]

    def _ranking(self, telling: Iterator[Pick]) -> list[int]:
        """Blocks, the best first: what the encoder found, what the video-LLM asks for, or both fused.

        Both, only where something is looked for: frames at the times that a question names are there already.
        """
        external = list(dict.fromkeys(map(self.block_of, islice(telling, RANKED))))
        names_only_times = bool(self.asked.moments) and not self.asked.phrases
        if self.config.retrieval == "external" or (self.config.retrieval == "hybrid" and names_only_times):
            return external
        if self.config.retrieval == "internal":
            return self._internal(RANKED)
        return hybrid(external, self._internal(ADDED))

    def _internal(self, num_frames: int) -> list[int]:
        """The blocks of so many frames that the video-LLM asks for, in the stretches of time that are named."""
        within = [places_within(self.line.pts_seconds, span) for span in self.asked.ranges]
        among = set().union(*within) if within else range(len(self.line))
        landmarks = self.blocks.landmarks(self.line)
        places = landmarks.ranking(self.language.queries(self.question, landmarks.heads), num_frames, among)
        return list(dict.fromkeys(self.line.block_ids[places].tolist()))
