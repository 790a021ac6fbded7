"""The bounded memories of a store's videos, brought up to date out of what was committed."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from vidmem.errors import ModelMismatch
from vidmem.index import Store, StoredVideo
from vidmem.memory import Elements, Memory, MemoryConfig
from vidmem.pipelines.timeline import Timelines
from vidmem.types import Span, StoreName, VideoId

_FRAMES_AT_ONCE = 256
_MEMORIES_HELD = 8


class Memories:
    """Gives the memory of any video as it is after its last committed clip.

    A memory's state is committed with some clips only, for it is as large as a hundred clips of tokens. What was
    committed since is written to it again from the stored tokens, which gives the same memory (`Memory`'s promise).
    """

    def __init__(self, store: Store, config: MemoryConfig, timelines: Timelines, *, widen: bool = False) -> None:
        """With `widen`, a saved memory that is larger than `config` allows is taken as it is: only to look at it."""
        self._store, self._config, self._timelines, self._widen = store, config, timelines, widen
        self._held: OrderedDict[tuple[VideoId, str], Memory] = OrderedDict()

    def of(self, video: StoredVideo) -> Memory:
        """The memory of a video. It is kept, with the reads counted in it, while it is among the latest used.

        Raises:
            StoreCorrupt: its saved state or tokens are damaged.
            ModelMismatch: its saved state does not fit the settings of this memory.
        """
        memory = self._held.pop(video.key, None)
        # What was committed since may have left again: the saved state is never older than that.
        if memory is None or _newest(memory) < self._timelines.of(video).expired.until:
            memory = self._loaded(video)
        self._replay(memory, video)
        self._held[video.key] = memory
        while len(self._held) > _MEMORIES_HELD:
            self._held.popitem(last=False)
        return memory

    def new(self) -> Memory:
        """An empty memory for a video that is not in the store yet."""
        return Memory(self._config)

    def forget(self, video: StoredVideo) -> None:
        """Drop what is held of a video, so that the next use starts from what is committed."""
        self._held.pop(video.key, None)

    def keep_only(self, videos: Iterable[StoredVideo]) -> None:
        """Drop what is held of all other videos: they were removed, here or by another process."""
        present = {video.key for video in videos}
        for key in self._held.keys() - present:
            del self._held[key]

    def _loaded(self, video: StoredVideo) -> Memory:
        saved = self._store.load_memory(video.video_id)
        if not saved:
            return self.new()
        try:
            return Memory.from_state_dict(self._config, saved, bounded=not self._widen)
        except ValueError as error:
            raise ModelMismatch(f"{video.name} can't be remembered with this preset: {error}.") from error

    def frames_of(self, video: StoredVideo, *, after: int = 0, at_most: int = sys.maxsize) -> Iterator[Elements]:
        """The committed frames of a video as they are written to its memory, some at a time.

        Args:
            after: frames to pass over.
            at_most: frames to give in all.
        """
        timeline = self._timelines.of(video)
        end = min(len(timeline), after + at_most)
        for start in range(after, end, _FRAMES_AT_ONCE):
            places = slice(start, min(start + _FRAMES_AT_ONCE, end))  # more may have been committed since
            begin, limit = float(timeline.pts_seconds[start]), places.stop - start
            _, embeddings = self._store.embeddings(video.video_id, start=begin, limit=limit)
            tokens = self._store.load_tokens(timeline.frame_ids[places])
            spans = np.stack([timeline.pts_seconds[places], timeline.end_seconds[places]], axis=1)
            yield elements_of(torch.tensor(embeddings), tokens, spans)

    def _replay(self, memory: Memory, video: StoredVideo) -> None:
        first = int(np.searchsorted(self._timelines.of(video).pts_seconds, _newest(memory), side="right"))
        for elements in self.frames_of(video, after=first):
            memory.write(elements)


def _newest(memory: Memory) -> float:
    """Time of the last frame that was written; before all if there is none."""
    return float(memory.working.elements.span_seconds[-1, 0]) if len(memory.working) else -1.0


def elements_of(embeddings: Tensor, tokens: Tensor, spans_seconds: np.ndarray) -> Elements:
    """Frames as elements of memory: keys (F, C) and values (F, P, D) in float32 on the CPU, spans (F, 2)."""
    return Elements.fresh(
        embeddings.float().cpu(), tokens.float().cpu(), torch.from_numpy(np.ascontiguousarray(spans_seconds))
    )


def store_of(memory: Memory, span: Span) -> StoreName:
    """Where a stretch of time lies: in the newest seconds, among the recent frames, or further back."""
    for store in (memory.sensory, memory.working):
        spans = store.elements.span_seconds
        if len(spans) and span.end > float(spans[0, 0]):
            return store.name
    return "long-term"
