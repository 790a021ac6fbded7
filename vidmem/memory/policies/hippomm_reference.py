"""HippoMM as its code has it, where ours do otherwise: frames of windows, key frames of few frames, recall.

They are what the parity numbers are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.memory.novelty import novel_frames
from vidmem.memory.recall import Hits, most_similar, spans_around


def frames_of_window(span: tuple[float, float], frame_seconds: Tensor) -> Tensor:
    """Places of the frames in a window, both ends taken in: a frame at a cut belongs to both of its neighbours."""
    start, end = span
    return ((start <= frame_seconds) & (frame_seconds <= end)).nonzero().flatten()


def key_frames(features: Tensor, *, threshold: float = 0.9) -> Tensor:
    """Places of an event's key frames: the novel ones of (T, d) features; of two frames both, however alike."""
    if len(features) <= 2:
        return torch.arange(len(features), device=features.device)
    return novel_frames(features, threshold=threshold)


@dataclass(frozen=True, slots=True, eq=False)
class CodedRecall:
    """What the coded recall makes of an event."""

    hits: Hits
    span_seconds: Tensor
    """(m, 2) stretches that are looked at again, m <= k."""
    key_index: tuple[Tensor, ...]
    """For each of the m, places of the key frames in it."""


def recall_as_coded(query: Tensor, features: Tensor, key_seconds: Tensor, *, top_k: int = 5) -> CodedRecall:
    """Look a query (d,) up in all frames' features (n, d), and the hits in the times of the *key* frames (K,).

    So hit i is told as key frame i; a hit from K on is dropped.
    """
    hits = most_similar(query, features, top_k=top_k)
    moments = key_seconds[hits.index[hits.index < len(key_seconds)]]
    near = tuple(((moment - 1 <= key_seconds) & (key_seconds <= moment + 1)).nonzero().flatten() for moment in moments)
    return CodedRecall(hits, spans_around(moments), near)
