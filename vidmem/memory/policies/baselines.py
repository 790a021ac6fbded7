"""What every policy is measured against: the newest frames, evenly spread ones, and a fair sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.policies.policy import Change, FramePolicy, Level, WholeFrames


@dataclass(frozen=True, slots=True)
class Latest(WholeFrames):
    """Keep nothing of what leaves working memory; read its newest frames alone, whatever is asked."""

    name: ClassVar[str] = "latest"
    source: ClassVar[str] = "SimpleStream"
    num_frames: int = 4
    """Newest frames that are read."""

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"num_frames={self.num_frames} must be at least 1")

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        return (Change(leaving[:0]),)

    def affinity(self, key: Tensor, query: Tensor, readable: Tensor | None = None) -> Tensor:
        """Equal shares of the newest frames that a query may see."""
        readable = (
            torch.ones(len(key), len(query), dtype=torch.bool, device=key.device) if readable is None else readable
        )
        num_newer = readable.flip(0).cumsum(0).flip(0)  # of those a query may see, itself included
        shares = (readable & (num_newer <= self.num_frames)).float()
        return shares / shares.sum(0).clamp(min=1)


@dataclass(frozen=True, slots=True)
class Window(FramePolicy):
    """Keep whole frames as they leave working memory, and forget the oldest."""

    name: ClassVar[str] = "window"
    source: ClassVar[str] = "first in, first out, as in MeMViT (Wu et al., CVPR 2022)"

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (long_term,), (level,) = held, levels
        return (Change.forgetting_oldest(long_term, fresh(leaving), level.max_elements),)


@dataclass(frozen=True, slots=True)
class Uniform(FramePolicy):
    """Keep every n-th frame, and every second of those, with n doubled, whenever they are too many."""

    name: ClassVar[str] = "uniform"
    source: ClassVar[str] = "a baseline"

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (level,) = levels
        num_frames = first_index + len(leaving)
        before, stride = (stride_that_fits(count, level.max_elements) for count in (first_index, num_frames))
        kept = torch.arange(0, len(held[0]), stride // before) if stride > before else None
        return (Change(fresh(leaving[-first_index % stride :: stride]), kept),)


@dataclass(frozen=True, slots=True)
class Reservoir(FramePolicy):
    """Keep a sample in which every frame so far is as likely as any other.

    The frames with the lowest lots stay; a frame's lot is drawn from its time and `seed`, so that nothing has to be
    remembered of frames that are gone. The sample is distributed as that of Vitter's algorithm R.
    """

    name: ClassVar[str] = "reservoir"
    source: ClassVar[str] = "algorithm R (Vitter, ACM TOMS 1985)"
    seed: int = 0
    """Of the lots."""

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (long_term,), (level,) = held, levels
        lots = _lots(torch.cat([long_term.span_seconds, leaving.span_seconds])[:, 0], self.seed)
        chosen = lots.argsort(stable=True)[: level.max_elements].sort().values
        num_held = len(long_term)
        return (Change(fresh(leaving[chosen[chosen >= num_held] - num_held]), chosen[chosen < num_held]),)


def fresh(frames: Elements) -> Elements:
    """The frames as elements that nothing has read yet."""
    return Elements.fresh(frames.key, frames.value, frames.span_seconds, frames.weight)


def stride_that_fits(num_frames: int, max_elements: int) -> int:
    """The smallest power of 2 at which `num_frames` frames leave at most `max_elements`."""
    stride = 1
    while -(-num_frames // stride) > max_elements:
        stride *= 2
    return stride


def _lots(starts: Tensor, seed: int) -> Tensor:
    """Numbers (N,) int64 that look random, one for each time (N,) float64.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    lots = starts.contiguous().numpy().view(np.uint64) ^ np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        lots = (lots ^ lots >> np.uint64(shift)) * np.uint64(factor)
    return torch.from_numpy((lots ^ lots >> np.uint64(31)).view(np.int64))
