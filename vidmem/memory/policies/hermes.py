"""HERMES: episodes, merged from what is most alike as memory fills, and a summary that all frames are folded into.

The functions are in `episodes` and `semantics`; the reference's own forms, where the policy does otherwise, in
`hermes_reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.episodes import compress_episodes, whole_frames
from vidmem.memory.policies.baselines import fresh, stride_that_fits
from vidmem.memory.policies.policy import Change, FramePolicy, Level
from vidmem.memory.semantics import plan_fold


@dataclass(frozen=True, slots=True)
class Hermes(FramePolicy):
    """Merge the most alike neighbours into episodes when memory is full; fold all frames into a few, if wanted.

    Where we differ from the code, which sees one clip: episodes are as many as there is room for, not 20; the fold is
    made as frames come, among those that are kept by then, where the code waits for the last frame; merged frames keep
    a span of time and a key, by which they are found.
    """

    name: ClassVar[str] = "hermes"
    source: ClassVar[str] = "HERMES (Faure et al., ICCV 2025), arXiv 2408.17443"
    granularity: Literal["frame", "token"] = "frame"
    """Whether whole frames are merged (the paper), or each token position merges its own (the code, and MA-LMM). Then
    an episode's tokens are of different moments; its key is the mean over their frames, its span covers them."""
    pairs: Literal["adjacent", "all"] = "adjacent"
    """Whether neighbours alone are merged (the code), or any two (the paper); their span covers what lies between."""
    weighted: bool = True
    """Whether a mean counts episodes by their frames (the code), or each as one (the paper)."""
    semantic_share: float = 0.0
    """Part of long-term memory, below 1, that is given to the fold: every n-th frame, in the mean with all that are
    more like it than like the others kept, with its own key and span."""

    def __post_init__(self) -> None:
        FramePolicy.__post_init__(self)
        if self.granularity not in ("frame", "token"):
            raise ValueError(f"granularity={self.granularity!r} must be frame or token")
        if self.pairs not in ("adjacent", "all"):
            raise ValueError(f"pairs={self.pairs!r} must be adjacent or all")
        if not 0 <= self.semantic_share < 1:
            raise ValueError(f"semantic_share={self.semantic_share} must be in [0, 1)")

    def levels(self, num_tokens: int, max_elements: int) -> tuple[Level, ...]:
        num_folded = int(max_elements * self.semantic_share)
        episodes = Level(num_tokens, max_elements - num_folded)
        return (episodes, Level(num_tokens, num_folded)) if num_folded else (episodes,)

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        leaving = fresh(leaving)
        episodes = self._merge(held[0], leaving, levels[0].max_elements)
        folds = [
            _fold(folded, leaving, level.max_elements, first_index)
            for folded, level in zip(held[1:], levels[1:], strict=True)
        ]
        return (episodes, *folds)

    def _merge(self, held: Elements, leaving: Elements, max_elements: int) -> Change:
        """Append, and merge until there is room. What lies before the first merge is not touched."""
        if len(held) + len(leaving) <= max_elements:
            return Change(leaving)
        frames = Elements.cat([held, leaving])
        tokens, size = frames.value.unsqueeze(0), frames.weight.unsqueeze(0)
        if self.granularity == "frame":
            tokens, size = whole_frames(tokens), size[:, :, :1]
        episodes = compress_episodes(tokens, max_elements, size=size, pairs=self.pairs, weighted=self.weighted)
        member = episodes.membership()
        owner = member.episode[0]
        is_moved = owner != torch.arange(len(frames), device=owner.device).unsqueeze(1)
        first = min(int(owner[is_moved].min()), len(held))
        merged = _gather(
            frames,
            owner,
            member.share[0],
            value=episodes.value[0].view(-1, *frames.value.shape[1:]),
            weight=episodes.size[0].float().expand(-1, frames.value.shape[1]),
        )
        return Change(merged[first:], torch.arange(first))


def _gather(frames: Elements, owner: Tensor, share: Tensor, *, value: Tensor, weight: Tensor) -> Elements:
    """Episodes of frames, from what became of their tokens.

    Usage of what is merged is added up: each read was shared by the elements of its time, so their sum is never more
    than the longest life, which an episode takes over.

    Args:
        owner: (T, N) which of K episodes each frame's token went to, N positions a frame.
        share: (T, N) the token's part in the episode's mean.
        value: (K, P, D). weight: (K, P).
    """
    num_kept, num_positions = len(value), owner.shape[1]
    place = owner.flatten()
    shares = (share / num_positions).float().unsqueeze(-1)
    key = torch.zeros(num_kept, frames.key.shape[1], device=owner.device)
    key.index_add_(0, place, (frames.key.float().unsqueeze(1) * shares).flatten(0, 1))
    usage = torch.zeros(num_kept, device=owner.device)
    usage.index_add_(0, place, (frames.usage / num_positions).repeat_interleave(num_positions))
    life = torch.zeros(num_kept, device=owner.device)
    life.scatter_reduce_(0, place, frames.life.repeat_interleave(num_positions), "amax")
    starts, ends = frames.span_seconds.repeat_interleave(num_positions, dim=0).unbind(1)
    start = torch.full((num_kept,), torch.inf, dtype=torch.float64).scatter_reduce_(0, place.cpu(), starts, "amin")
    end = torch.full((num_kept,), -torch.inf, dtype=torch.float64).scatter_reduce_(0, place.cpu(), ends, "amax")
    return Elements(key.to(frames.key.dtype), value, torch.stack([start, end], dim=1), usage, life, weight)


def _fold(held: Elements, leaving: Elements, max_elements: int, first_index: int) -> Change:
    """Keep frames as far apart as there is room for, in time, and fold the others into them."""
    before, stride = (stride_that_fits(count, max_elements) for count in (first_index, first_index + len(leaving)))
    frames = Elements.cat([held, leaving])
    places = [*range(0, len(held), stride // before)]
    places += range(len(held) + -first_index % stride, len(frames), stride)
    kept = torch.tensor(places, device=frames.key.device)
    fold = plan_fold(frames.value.flatten(1).unsqueeze(0), kept)
    weight = frames.weight[:, 0].unsqueeze(0)
    value = fold.mean(frames.value.unsqueeze(0), weight)[0]
    own = frames[kept]
    total = fold.total(weight)[0].unsqueeze(1).expand(-1, value.shape[1])
    return Change(Elements(own.key, value, own.span_seconds, own.usage, own.life, total), torch.arange(0))
