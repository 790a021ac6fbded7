"""EM-LLM: events that begin with surprise, a few frames of each, read together with what lies beside them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.events import boundaries, refined, representatives, surprise, without_repetition
from vidmem.memory.policies.policy import Change, FramePolicy, Level


@dataclass(frozen=True, slots=True)
class EM(FramePolicy):
    """Keep the frames that stand for each event; read what is alike together with its neighbours in time.

    Where we differ from the paper, whose events are spans of tokens that all stay on disk: surprise is distance from
    the frame before, whole frames stand for an event, and when memory is full the frames go that repeat the one before.
    """

    name: ClassVar[str] = "em"
    source: ClassVar[str] = "EM-LLM (Fountas et al., ICLR 2025), arXiv 2407.09450"
    gamma: float = 1.0
    """Deviations above the mean from which surprise begins an event."""
    refine: bool = True
    """Move boundaries to where the similarities of frames fall apart best."""
    num_representatives: int = 4
    """Frames that stand for an event."""
    contiguity: float = 0.3
    """Part of a read's affinity that goes to the neighbours in time of what is alike."""

    def __post_init__(self) -> None:
        FramePolicy.__post_init__(self)
        if self.num_representatives < 1:
            raise ValueError(f"num_representatives={self.num_representatives} must be at least 1")
        if not 0 <= self.contiguity < 1:
            raise ValueError(f"contiguity={self.contiguity} must be in [0, 1)")

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (long_term,), (level,) = held, levels
        gained = leaving[self.told(leaving.key)]
        kept = without_repetition(torch.cat([long_term.key, gained.key]), level.max_elements)
        num_held = len(long_term)
        told = gained[kept[kept >= num_held] - num_held]
        return (Change(Elements.fresh(told.key, told.value, told.span_seconds, told.weight), kept[kept < num_held]),)

    def told(self, key: Tensor) -> Tensor:
        """Places of the frames that stand for the events in a stretch (N, C)."""
        begins = boundaries(surprise(key), gamma=self.gamma)
        cuts = [0, *(refined(begins, key) if self.refine else begins), len(key)]
        return torch.cat(
            [first + representatives(key[first:last], self.num_representatives) for first, last in pairwise(cuts)]
        )

    def affinity(self, key: Tensor, query: Tensor, readable: Tensor | None = None) -> Tensor:
        alike = FramePolicy.affinity(self, key, query, readable)
        beside = torch.zeros_like(alike)
        beside[1:] += alike[:-1]
        beside[:-1] += alike[1:]
        if readable is not None:
            beside = beside.masked_fill(~readable, 0.0)
        share = beside.sum(0).clamp(max=1.0) * self.contiguity
        beside = beside / beside.sum(0).clamp(min=1e-12)
        return alike * (1 - share * (alike.sum(0) > 0)) + beside * share
