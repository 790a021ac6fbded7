"""Flash-VStream v2 as its code has it: context synopsis (CSM) and detail augmentation (DAM) memory, positions, pooling.

Pure functions over what a vision tower gives for temporal patches ("frames" here, two of the video's each) at two
resolutions. They are what the parity numbers are compared with; the policy of `flash_vstream` does otherwise where the
code is wrong.

Source: Flash-VStream (Zhang et al., arXiv 2506.23825), github IVGSZ/Flash-VStream at 8f6bde2, Flash-VStream-Qwen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from vidmem.memory.buffer import RowBuffer
from vidmem.memory.kmeans import Draws, kmeans, nearest
from vidmem.memory.similarity import cosine_similarity

DetailRule = Literal["l2", "cosine", "time", "sample"]


@dataclass(frozen=True, slots=True)
class FlashConfig:
    """Sizes in frames (temporal patches), and how detail is chosen."""

    synopsis_frames: int = 60
    detail_frames: int = 30
    detail_rule: DetailRule = "l2"
    """Nearest low-resolution frame to each of the heaviest clusters; *least* similar one by cosine, as the code has
    it; the frame at the cluster's time; or frames at equal distances whatever the clusters."""


@dataclass(frozen=True, slots=True, eq=False)
class Synopsis:
    """Ordered clusters of T frames."""

    frames: Tensor
    """(K, P, D), by time."""
    weight: Tensor
    """(K,)."""
    time: Tensor
    """(K,) float32: mean place of the members in the list that was clustered, whatever their weight."""
    slot: Tensor
    """(T,) int64: where each frame of the list went."""
    num_padding: int = 0
    """Leading frames that are no clusters, but copies of the list's first frames."""


@dataclass(frozen=True, slots=True, eq=False)
class FlashMemory:
    synopsis: Synopsis
    detail: Tensor
    """(n, 4 P, D) frames at full resolution, heaviest cluster first; the same one may come twice."""
    detail_index: Tensor
    """(n,) their numbers."""

    @property
    def sequence(self) -> Tensor:
        """(tokens, D): detail, then synopsis."""
        return torch.cat([self.detail.flatten(0, 1), self.synopsis.frames.flatten(0, 1)])


def synopsis(frames: Tensor, num_kept: int, *, draws: Draws, weight: Tensor | None = None) -> Synopsis:
    """Cluster frames (T, P, D) by weighted k-means, begun at drawn ones of the sorted unique frames; order by time.

    Up to `num_kept` frames are taken as they are, with weight 1 whatever they come with. Where fewer are unique, the
    unique ones are the clusters, of weight 1, and copies of the first frames of the list fill up at the front.
    Clusters that end without members, for which the reference divides by zero, are left out.
    """
    if num_kept < 1:
        raise ValueError(f"{num_kept=} must be at least 1")
    rows, device = frames.float().flatten(1), frames.device
    if len(rows) <= num_kept:
        place = torch.arange(len(rows), device=device)
        return Synopsis(frames, torch.ones(len(rows), device=device), place.float(), place)
    unique = rows.unique(dim=0)
    num_padding = max(0, num_kept - len(unique))
    if num_padding:
        label, centroids, total = nearest(rows, unique), unique, torch.ones(len(unique), device=device)
    else:
        first = draws.distinct(len(unique), num_kept).to(device)
        clusters = kmeans(rows, unique[first], weight=weight, tolerance=1e-4, refill=draws.any)
        label, centroids, total = clusters.label, clusters.centroids, clusters.weight
    num_members = label.bincount(minlength=len(centroids))
    place = torch.arange(len(rows), device=device)
    time = torch.zeros(len(centroids), device=device).index_add_(0, label, place.float()) / num_members
    order = time.argsort(stable=True)[: int((num_members > 0).sum())]  # NaN, without members, is last
    slot_of = torch.empty_like(num_members)
    slot_of[order] = torch.arange(len(order), device=device) + num_padding
    padding = place[:num_padding]
    return Synopsis(
        frames=torch.cat([frames[padding], centroids[order].to(frames.dtype).unflatten(1, frames.shape[1:])]),
        weight=torch.cat([torch.ones(num_padding, device=device), total[order]]),
        time=torch.cat([padding.float(), time[order]]),
        slot=slot_of[label],
        num_padding=num_padding,
    )


def detail_index(small: Tensor, memory: Synopsis, num_kept: int, *, rule: DetailRule) -> Tensor:
    """Numbers of the frames of a bank (N, P, D), at low resolution, that are to be kept at full: (min(N, num_kept),).

    Heaviest cluster first, except with rule `sample`. With fewer clusters than `num_kept` there are as many as
    clusters; the reference fails.
    """
    if len(small) <= num_kept:
        return torch.arange(len(small), device=small.device)
    if rule == "sample":
        return torch.linspace(0, len(small) - 1, num_kept, device=small.device).round().long()
    heaviest = memory.weight.argsort(descending=True, stable=True)[:num_kept]
    if rule == "time":
        return memory.time[heaviest].round().long()
    rows, centroids = small.flatten(1), memory.frames[heaviest].flatten(1)
    if rule == "l2":
        return nearest(centroids, rows)
    return cosine_similarity(rows.float(), centroids.float()).argmin(0)


def flash_memory(big: Tensor, small: Tensor, config: FlashConfig, *, draws: Draws) -> FlashMemory:
    """Memory of a whole video at once, from its frames at full (T, 4 P, D) and low resolution (T, P, D)."""
    memory = synopsis(small, config.synopsis_frames, draws=draws)
    index = detail_index(small, memory, config.detail_frames, rule=config.detail_rule)
    return FlashMemory(memory, big[index], index)


class FlashStream:
    """Memory fed clip by clip. Weights are carried; times are places in the list of old clusters and new frames, so
    no times of the video once there are more than fit; detail is looked up in the bank of all frames, without bound.
    """

    def __init__(self, config: FlashConfig, *, draws: Draws) -> None:
        self._config = config
        self.draws = draws
        self._bank: RowBuffer | None = None
        self._synopsis: Synopsis | None = None

    def write(self, big: Tensor, small: Tensor) -> FlashMemory:
        """Take in a clip at full (T, 4 P, D) and low resolution (T, P, D), T >= 1, and return all memory after it."""
        clip = {"big": big, "small": small}
        if self._bank is None:
            self._bank = RowBuffer(clip)
        self._bank.append(clip)
        listed, weight = small, torch.ones(len(small), device=small.device)
        if self._synopsis is not None:
            listed = torch.cat([self._synopsis.frames, listed])
            weight = torch.cat([self._synopsis.weight, weight])
        self._synopsis = synopsis(listed, self._config.synopsis_frames, draws=self.draws, weight=weight)
        bank = self._bank["small"]
        index = detail_index(bank, self._synopsis, self._config.detail_frames, rule=self._config.detail_rule)
        return FlashMemory(self._synopsis, self._bank["big"][index], index)


def adaptive_positions(
    position_ids: Tensor, memory: FlashMemory, *, visual_start: int, grid: tuple[int, int], small_grid: tuple[int, int]
) -> Tensor:
    """AM-RoPE: write the positions of the memory's tokens, after 2 x 2 merging, over those of one sequence.

    Detail tokens lie at (frame number, row, column); synopsis tokens at (rounded time, row, column), shifted on all
    three axes by the number of detail tokens. Both are shifted by the id of the first visual token; text stays.

    Args:
        position_ids: (3, L). Not modified.
        visual_start: place of the first visual token.
        grid: patches (rows, columns) of a frame at full resolution, before merging. small_grid: at low.
    """
    detail = _grid_positions(memory.detail_index, grid)
    context = _grid_positions(memory.synopsis.time.round().long(), small_grid) + detail.shape[1]
    visual = torch.cat([detail, context], dim=1) + position_ids[:1, visual_start]
    positions = position_ids.clone()
    positions[:, visual_start : visual_start + visual.shape[1]] = visual
    return positions


def _grid_positions(time: Tensor, grid: tuple[int, int]) -> Tensor:
    """Time, row and column of all merged tokens of frames at times (n,): (3, n * rows / 2 * columns / 2)."""
    axes = [torch.arange(size // 2, device=time.device) for size in grid]
    return torch.stack(torch.meshgrid(time, *axes, indexing="ij")).flatten(1)


def pool_patches(patches: Tensor, grid: tuple[int, int, int]) -> tuple[Tensor, tuple[int, int, int]]:
    """Halve a video's resolution in the form in which Qwen2-VL's tower takes it, before the tower.

    Args:
        patches: (frames * rows * columns, 3 * 2 * S * S) squares of pixels of two frames each, in groups of 2 x 2.
        grid: frames, rows, columns; the latter two multiples of 4.

    Returns:
        The patches averaged over 2 x 2 pixels, grouped alike, a quarter as many; and their grid.
    """
    num_frames, rows, columns = grid
    if rows % 4 or columns % 4:
        raise ValueError(f"a grid of {rows} x {columns} patches can't be halved: both must be multiples of 4")
    side = math.isqrt(patches.shape[1] // 6)
    groups = patches.reshape(-1, 2, 2, 6, side, side).permute(0, 3, 1, 4, 2, 5).reshape(-1, 6, 2 * side, 2 * side)
    half = functional.avg_pool2d(groups.float(), 2).to(patches.dtype)
    small = half.reshape(num_frames, rows // 4, 2, columns // 4, 2, -1).transpose(2, 3).reshape(-1, patches.shape[1])
    return small, (num_frames, rows // 2, columns // 2)
