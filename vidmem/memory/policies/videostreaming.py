"""VideoStreaming: one memory a clip, and a question chooses which of them it reads.

Source: VideoStreaming (arXiv 2405.16009). Its clip memories are made by a trained language model that also sees the
memory of the clip before; ours are averages, the training-free form. No code of it was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.grouping import average_groups
from vidmem.memory.policies.baselines import fresh
from vidmem.memory.policies.policy import Change, FramePolicy, Level
from vidmem.memory.resolution import resampled
from vidmem.memory.similarity import affinity, cosine_similarity


def choose_clips(similarity: Tensor, num_clips: int) -> Tensor:
    """Places, ascending, of the clips that each query is most like; of equals the first: (N, Q) to (V, Q).

    V is `num_clips`, or N where there are fewer.
    """
    return similarity.argsort(dim=-2, descending=True, stable=True)[..., :num_clips, :].sort(dim=-2).values


@dataclass(frozen=True, slots=True)
class VideoStreaming(FramePolicy):
    """Keep one element a clip, the mean of its frames; read the clips that are most like the question.

    Clips are uniform, and no longer than they must be. When there are too many, neighbours are joined two by two and
    clips are twice as long from then on, so that memory always spans the whole video (the paper's archive has no bound,
    and its clips have 16 frames). Frames still in working memory are clips of one frame.
    """

    name: ClassVar[str] = "videostreaming"
    source: ClassVar[str] = "VideoStreaming, arXiv 2405.16009"
    top_k: int = 4
    """Clips that a question reads; they share its affinity by the softmax of their cosines."""
    clip_frames: int = 1
    """Frames of a clip, until there are too many clips."""
    clip_tokens: int | None = None
    """Tokens of a clip's memory. None: as many as a frame has."""

    def __post_init__(self) -> None:
        FramePolicy.__post_init__(self)
        if self.clip_frames < 1:
            raise ValueError(f"clip_frames={self.clip_frames} must be at least 1")
        if self.clip_tokens is not None and self.clip_tokens < 1:
            raise ValueError(f"clip_tokens={self.clip_tokens} must be at least 1, or None for those of a frame")

    def levels(self, num_tokens: int, max_elements: int) -> tuple[Level, ...]:
        clip_tokens = min(self.clip_tokens or num_tokens, num_tokens)
        return (Level(clip_tokens, num_tokens * max_elements // clip_tokens),)

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (clips,), (level,) = held, levels
        end_index = first_index + len(leaving)
        before, length = (self._length(num_frames, level.max_elements) for num_frames in (first_index, end_index))
        # Clips that are whole, and as long as they are to be, stay where they are.
        num_kept = first_index // length if before == length else 0
        clip = torch.arange(num_kept, len(clips)) * before // length
        of_frame = torch.arange(first_index, end_index) // length
        parts = Elements.cat([clips[num_kept:], resampled(fresh(leaving), level.num_tokens)])
        return (Change(average_groups(parts, torch.cat([clip, of_frame]) - num_kept), torch.arange(num_kept)),)

    def _length(self, num_frames: int, max_clips: int) -> int:
        """Frames of a clip when so many have come: as few as possible, doubled until the clips fit."""
        length = self.clip_frames
        while -(-num_frames // length) > max_clips:
            length *= 2
        return length

    def affinity(self, key: Tensor, query: Tensor, readable: Tensor | None = None) -> Tensor:
        # A product of matrices may round copies differently, and the first of them is to be chosen.
        similarity = cosine_similarity(key.double(), query.double()).float() * self.logit_scale
        if readable is not None:
            similarity = similarity.masked_fill(~readable, -torch.inf)
        chosen = torch.zeros_like(similarity, dtype=torch.bool).scatter(0, choose_clips(similarity, self.top_k), True)
        return affinity(similarity.masked_fill(~chosen, -torch.inf))
