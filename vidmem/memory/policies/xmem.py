"""XMem: keep what was read most, as prototypes that gather the values of the rest; forget what is read least.

Source: XMem (Cheng and Schwing, ECCV 2022, arXiv 2207.07115), sections 3.2 and 3.3. The functions serve frames and
tokens; `TokenMemory` is the paper's own memory over them, `XMem` the policy for frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.policies.policy import Change, FramePolicy, Level
from vidmem.memory.similarity import affinity, anisotropic_similarity, frame_readout


def most_used(frequency: Tensor, num_prototypes: int) -> Tensor:
    """Places of the most used of (N,) elements, most used first; of equals the earlier one: (num_prototypes,)."""
    if not 1 <= num_prototypes <= len(frequency):
        raise ValueError(f"{num_prototypes=} must be in [1, {len(frequency)}], the candidates given")
    return frequency.argsort(descending=True, stable=True)[:num_prototypes]


def above_threshold(frequency: Tensor, num_kept: int) -> Tensor:
    """XMem's eviction: places, ascending, of what is read more often than the K-th least read, K = N - num_kept.

    All that tie at the threshold go, so fewer than `num_kept` may stay: everything that was never read goes at
    once. Where nothing has to go (K <= 0) the reference fails; we keep all.
    """
    num_evicted = len(frequency) - num_kept
    if num_evicted <= 0:
        return torch.arange(len(frequency), device=frequency.device)
    threshold = frequency.kthvalue(num_evicted).values
    return (frequency > threshold).nonzero().squeeze(1)


def most_frequent(frequency: Tensor, num_kept: int) -> Tensor:
    """Places, ascending, of exactly the `num_kept` most often read of (N,) elements in time order; ties stay newest."""
    newest_first = frequency.flip(0).argsort(descending=True, stable=True)[:num_kept]
    return (len(frequency) - 1 - newest_first).sort().values


def counts_long_term_usage(
    num_video_frames: int, *, max_frames: int, min_frames: int, num_prototypes: int, max_elements: int
) -> bool:
    """Whether a video of known length fills long-term memory, so that its usage has to be counted for eviction.

    As in the reference's evaluation; it takes frames where memory frames are meant, which errs on the safe side.
    """
    return num_video_frames / (max_frames - min_frames) * num_prototypes >= max_elements


@dataclass(frozen=True, slots=True)
class XMem(FramePolicy):
    """Keep the most used frames of each stretch as prototypes; forget the least used when memory is full.

    Where we differ from the paper, whose memory serves one frame's tokens and is read on every frame:
    a new frame queries memory as it is written, which makes usage tell something before anyone asks; eviction keeps
    exactly as many as fit, where the paper's strict threshold drops all ties and so everything that was never read;
    prototypes are written in time order; no first frame stays for good (nobody annotated it); keys come with no
    selection and one shrinkage for all.
    """

    name: ClassVar[str] = "xmem"
    source: ClassVar[str] = "XMem (Cheng and Schwing, ECCV 2022), arXiv 2207.07115"
    num_prototypes: int = 4
    """Prototypes made of each stretch that leaves working memory."""
    top_k: int = 30
    """Elements that share one query's affinity."""
    logit_scale: float = 100.0
    """Factor on the cosine of unit keys in the softmax, 2 / sqrt(C) times the shrinkage; 100 as CLIP is trained."""
    reads_on_write: bool = True
    """Whether each new frame queries memory before it is written."""

    def __post_init__(self) -> None:
        FramePolicy.__post_init__(self)
        if self.num_prototypes < 1:
            raise ValueError(f"num_prototypes={self.num_prototypes} must be at least 1")

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (long_term,), (level,) = held, levels
        gained = self.prototypes(leaving)
        if len(gained) > level.max_elements:
            gained = gained[most_frequent(gained.frequency, level.max_elements)]
        num_kept = level.max_elements - len(gained)
        is_full = len(long_term) > num_kept
        return (Change(gained, most_frequent(long_term.frequency, num_kept) if is_full else None),)

    def prototypes(self, leaving: Elements) -> Elements:
        """What long-term memory gains from frames that leave working memory."""
        num_prototypes = min(self.num_prototypes, len(leaving))
        chosen = most_used(leaving.frequency, num_prototypes).sort().values
        prototypes = leaving[chosen]
        # Potentiation: all that leave give to the prototypes near them, so no top-k here.
        weight = affinity(self._similarity(leaving.key, prototypes.key))
        value = frame_readout(weight, leaving.value).to(leaving.value.dtype)
        return Elements.fresh(prototypes.key, value, prototypes.span_seconds)

    def affinity(self, key: Tensor, query: Tensor, readable: Tensor | None = None) -> Tensor:
        similarity = self._similarity(key, query)
        if readable is not None:
            similarity = similarity.masked_fill(~readable, -torch.inf)
        return affinity(similarity, top_k=self.top_k)

    def _similarity(self, key: Tensor, query: Tensor) -> Tensor:
        shrinkage = self.logit_scale * math.sqrt(key.shape[1]) / 2
        return anisotropic_similarity(key.float(), query.float()) * shrinkage
