"""HippoMM: frames unlike all that is kept, read together with what lies beside them.

The functions are in `novelty`, `windows` and `recall`; the reference's own forms, where the policy does otherwise, in
`hippomm_reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.novelty import most_novel, novel_frames
from vidmem.memory.policies.baselines import fresh
from vidmem.memory.policies.policy import Change, FramePolicy, Level
from vidmem.memory.similarity import affinity, cosine_similarity


@dataclass(frozen=True, slots=True)
class HippoMM(FramePolicy):
    """Keep frames unlike all that is kept, the most novel when memory is full; read the best and their neighbours.

    Where we differ from the code, which keeps the embeddings of all frames and no bound: only key frames are kept, each
    for its own time, and when they are too many those go that are most like one before them. No two frames are kept
    because there are only two. Captions, sound and the choice of what to look at are for language models.
    """

    name: ClassVar[str] = "hippomm"
    source: ClassVar[str] = "HippoMM (Lin et al., 2025), arXiv 2504.10739"
    threshold: float = 0.97
    """Cosine with a kept frame's key from which a frame is nothing new, even while there is room. The code has 0.9, for
    ImageBind."""
    top_k: int = 5
    """Elements most like a query that are read."""
    num_neighbours: int = 1
    """Elements on either side of each that may share the affinity, as far as they are like the query."""

    def __post_init__(self) -> None:
        FramePolicy.__post_init__(self)
        if self.num_neighbours < 0:
            raise ValueError(f"num_neighbours={self.num_neighbours} must be at least 0")

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (long_term,), (level,) = held, levels
        gained = fresh(leaving[novel_frames(leaving.key, threshold=self.threshold, known=long_term.key)])
        kept = most_novel(torch.cat([long_term.key, gained.key]), level.max_elements)
        num_held = len(long_term)
        return (Change(gained[kept[kept >= num_held] - num_held], kept[kept < num_held]),)

    def affinity(self, key: Tensor, query: Tensor, readable: Tensor | None = None) -> Tensor:
        similarity = cosine_similarity(key.float(), query.float()) * self.logit_scale
        if readable is not None:
            similarity = similarity.masked_fill(~readable, -torch.inf)
        hits = similarity.topk(min(self.top_k, len(key)), dim=0).indices
        reach = torch.arange(-self.num_neighbours, self.num_neighbours + 1, device=key.device)
        near = (hits.unsqueeze(0) + reach[:, None, None]).clamp(0, len(key) - 1).flatten(0, 1)
        is_near = torch.zeros_like(similarity, dtype=torch.bool).scatter_(0, near, True)
        return affinity(similarity.masked_fill(~is_near, -torch.inf))
