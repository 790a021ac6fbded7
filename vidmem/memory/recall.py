"""Recall: the frames most like a query, and the stretches of time around them. Pure functions.

Source: HippoMM (Lin et al., arXiv 2504.10739). Its code looks hits among all frames up in the times of the key frames
(`policies.hippomm_reference.recall_as_coded`); we take the time of the frame that was hit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.memory.similarity import cosine_similarity


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """The k frames most like a query, the most alike first."""

    index: Tensor
    """(k,) int64 places of the frames."""
    similarity: Tensor
    """(k,) cosines."""


def most_similar(query: Tensor, features: Tensor, *, top_k: int) -> Hits:
    """Compare a query (d,) with frames (n, d). Of equal ones the later comes first; k is n if there are fewer.

    Vectors of zeros have cosine 0 with all.
    """
    cosine = cosine_similarity(features.float(), query.float()[None]).squeeze(1)
    index = cosine.argsort(stable=True)[max(0, len(features) - top_k) :].flip(0)
    return Hits(index, cosine[index])


def spans_around(moments: Tensor, *, margin_seconds: float = 1.0) -> Tensor:
    """Stretches (k, 2) from a margin before each moment (k,) in seconds, not below 0, to a margin behind it."""
    return torch.stack([(moments - margin_seconds).clamp(min=0), moments + margin_seconds], dim=1)
