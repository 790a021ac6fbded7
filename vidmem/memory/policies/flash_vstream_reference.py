"""Flash-VStream v1 as its code has it: spatial, temporal, abstract and retrieved memory (STAR).

Pure functions over frame tokens on a square grid. They are what a language model trained with Flash-VStream needs, and
what the parity numbers are compared with; the policy of `flash_vstream` does otherwise where the code is wrong. The
second version's memory is in `flash_memory_reference`.

Source: Flash-VStream (Zhang et al., arXiv 2406.08085), github IVGSZ/Flash-VStream at 8f6bde2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from vidmem.memory.buffer import RowBuffer
from vidmem.memory.kmeans import Clusters, Draws, kmeans, nearest
from vidmem.memory.similarity import cosine_similarity

KeyRule = Literal["coded", "paper"]


@dataclass(frozen=True, slots=True)
class StarConfig:
    """Sizes of the four memories, as the reference is trained (its argument parser's defaults are others)."""

    frame_side: int = 8
    """Side of the grid of tokens of current and key frames, which is that of the frames given in."""
    num_current: int = 1
    """Newest frames kept as they are."""
    num_key: int = 3
    """Key frames kept beside them."""
    temporal_frames: int = 25
    temporal_side: int = 4
    abstract_frames: int = 25
    abstract_side: int = 1
    update_ratio: float = 0.2
    """Share of abstract memory that a group of new frames replaces."""


@dataclass(frozen=True, slots=True, eq=False)
class SemanticAttention:
    """The learned part: two projections to H channels."""

    query_weight: Tensor
    """(H, D)."""
    query_bias: Tensor
    """(H,)."""
    key_weight: Tensor
    key_bias: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Star:
    """What STAR holds, in tokens (frames, side^2, D)."""

    abstract: Tensor
    temporal: Tensor
    spatial: Tensor
    """Key frames, then current ones."""
    key_index: Tensor
    """Frames that the key frames were copied from."""
    order: Tensor
    """Clusters of temporal memory, heaviest first."""
    weight: Tensor
    """Rows in each cluster."""

    @property
    def sequence(self) -> Tensor:
        """(tokens, D), for the projector and the language model."""
        return torch.cat([part.flatten(0, 1) for part in (self.abstract, self.temporal, self.spatial)])


def pool_tokens(frames: Tensor, side: int) -> Tensor:
    """Average squares of a square grid of tokens: (T, S^2, D) to (T, side^2, D).

    Squares have S // side tokens a side; rows and columns that are left over at the end are left out.

    Raises:
        ValueError: the tokens are no square grid, or squares of that size make more than `side` in a row.
    """
    grid = math.isqrt(frames.shape[1])
    if grid * grid != frames.shape[1] or not 1 <= side <= grid or grid // (grid // side) != side:
        raise ValueError(f"{frames.shape[1]} tokens a frame can't be averaged to a grid of {side} x {side}")
    if side == grid:
        return frames
    square = grid // side
    image = frames.unflatten(1, (grid, grid))[:, : side * square, : side * square]
    squares = image.unflatten(1, (side, square)).unflatten(3, (side, square)).float()
    return squares.mean((2, 4)).flatten(1, 2).to(frames.dtype)


def group_tokens(frames: Tensor) -> Tensor:
    """Join the channels of 2 x 2 neighbours, row by row: (T, S^2, D), S even, to (T, S^2 / 4, 4 D)."""
    half = math.isqrt(frames.shape[1]) // 2
    return frames.reshape(len(frames), half, 2, half, 2, -1).transpose(2, 3).flatten(3).flatten(1, 2)


def temporal_memory(frames: Tensor, num_kept: int, *, draws: Draws, weight: Tensor | None = None) -> Clusters:
    """Weighted k-means over whole frames (T, P, D), begun at drawn ones: clusters of P D numbers in the order drawn.

    Up to `num_kept` frames are taken as they are, each a cluster of its weight (1 by default), in no round.
    """
    rows = frames.flatten(1)
    if len(rows) <= num_kept:
        ones = torch.ones(len(rows), device=rows.device)
        every = torch.arange(len(rows), device=rows.device)
        return Clusters(rows, every, ones if weight is None else weight, torch.tensor(0))
    first = draws.distinct(len(rows), num_kept).to(rows.device)
    return kmeans(rows, rows[first], weight=weight, tolerance=1e-4, refill=draws.any)


def abstract_memory(
    frames: Tensor, num_kept: int, *, ratio: float = 0.2, attention: SemanticAttention | None = None
) -> Tensor:
    """The first `num_kept` frames, coloured by the rest in groups of as many: (T, P, D) to (min(T, num_kept), P, D)."""
    memory = frames[:num_kept].flatten(0, 1)
    for start in range(num_kept, len(frames), num_kept):
        new = frames[start : start + num_kept].flatten(0, 1)
        memory = attend(memory, new, ratio=ratio, attention=attention)
    return memory.reshape(min(len(frames), num_kept), *frames.shape[1:])


def attend(
    memory: Tensor, new: Tensor, *, ratio: float, attention: SemanticAttention | None, logit_scale: float = 10.0
) -> Tensor:
    """Move memory (..., n, D) towards what it attends to among new tokens (..., m, D), by the share `ratio`.

    Without projections the attention is the softmax of cosines times `logit_scale`: ours, the reference has none.
    """
    x, y = memory.float(), new.float()
    if attention is None:
        scores = cosine_similarity(x, y) * logit_scale
    else:
        query = functional.linear(x, attention.query_weight, attention.query_bias)
        key = functional.linear(y, attention.key_weight, attention.key_bias)
        scores = query @ key.mT / math.sqrt(query.shape[-1])
    return torch.lerp(x, scores.softmax(-1) @ y, ratio).to(memory.dtype)


def star_memory(
    frames: Tensor,
    config: StarConfig,
    *,
    draws: Draws,
    attention: SemanticAttention | None = None,
    key_rule: KeyRule = "coded",
) -> Star:
    """Memory of a whole video (T, S^2, D), T >= 1, at once: the current frames are in spatial memory alone.

    Args:
        key_rule: paper: key frames are those nearest to the heaviest centroids. coded: the reference takes the
            numbers of the heaviest clusters for numbers of frames, so that they are among the first of the video.
    """
    frames = pool_tokens(frames, config.frame_side)
    num_past = max(0, len(frames) - config.num_current)
    past, current = frames[:num_past], frames[num_past:]
    temporal, abstract = pool_tokens(past, config.temporal_side), pool_tokens(past, config.abstract_side)
    return _star(temporal, abstract, past, current, config, draws, attention, key_rule)


def key_frames(small: Tensor, clusters: Clusters, heaviest: Tensor, *, rule: KeyRule) -> Tensor:
    """Places of frames (T, P, D) that show clusters best: see `star_memory`. (n,) of heaviest clusters to (n,)."""
    rows = small.flatten(1)
    if not len(rows):
        return heaviest
    return nearest(clusters.centroids[heaviest] if rule == "paper" else rows[heaviest], rows)


class StarStream:
    """STAR fed clip by clip, as the reference's server does it.

    The current frame is in all memories; clusters forget how many frames they stand for, so an old centroid counts as
    one in the next clustering; key frames are looked up in the list that was clustered (old centroids, then new
    frames), and taken from the bank of all frames ever seen, which is somewhere else. Room grows without bound.
    """

    def __init__(self, config: StarConfig, *, draws: Draws, attention: SemanticAttention | None = None) -> None:
        self._config, self._attention = config, attention
        self.draws = draws
        self._bank: RowBuffer | None = None
        self.star: Star | None = None

    def write(self, clip: Tensor) -> Star:
        """Take in a clip (T, S^2, D), T >= 1, and return all memory after it."""
        config = self._config
        clip = pool_tokens(clip, config.frame_side)
        if self._bank is None:
            self._bank = RowBuffer({"frames": clip})
        self._bank.append({"frames": clip})
        temporal, abstract = pool_tokens(clip, config.temporal_side), pool_tokens(clip, config.abstract_side)
        current = clip[-config.num_current :]
        if self.star is None:
            nothing = torch.empty(0, dtype=torch.int64, device=clip.device)
            self.star = Star(abstract, temporal, current, nothing, nothing, nothing.float())
            return self.star
        temporal = torch.cat([self.star.temporal, temporal])
        abstract = torch.cat([self.star.abstract, abstract])
        bank = self._bank["frames"]
        self.star = _star(temporal, abstract, bank, current, config, self.draws, self._attention, "coded")
        return self.star


def _star(
    temporal: Tensor,
    abstract: Tensor,
    bank: Tensor,
    current: Tensor,
    config: StarConfig,
    draws: Draws,
    attention: SemanticAttention | None,
    key_rule: KeyRule,
) -> Star:
    """Reduce temporal and abstract frames, and put key frames out of the bank before the current ones."""
    clusters = temporal_memory(temporal, config.temporal_frames, draws=draws)
    order = clusters.weight.argsort(descending=True, stable=True)
    key_index = key_frames(temporal, clusters, order[: config.num_key], rule=key_rule)
    return Star(
        abstract_memory(abstract, config.abstract_frames, ratio=config.update_ratio, attention=attention),
        clusters.centroids.unflatten(1, temporal.shape[1:]),
        torch.cat([bank[key_index], current]),
        key_index,
        order,
        clusters.weight,
    )
