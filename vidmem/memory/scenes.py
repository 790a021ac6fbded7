"""Scenes: where a sequence of frames is cut, from the similarity of neighbours. Pure functions, and a causal form.

T frames have T - 1 neighbour similarities; place i lies between frames i and i + 1, so a cut at i is *after* frame i.
Three rules are known by their papers: depth scores above a threshold or the k deepest (VideoLLaMB), and the k lowest
similarities (TDC, HEM-LLM). All of them look at the whole sequence, so that one more frame can move earlier cuts;
`SceneStream` is for a sequence that never ends, and what it has cut stays cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def neighbour_cosines(features: Tensor) -> Tensor:
    """Cosine of each frame's features with the next one's: (..., T, d) to (..., T - 1), in float32 or more.

    A vector of zeros is like nothing: 0.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return functional.cosine_similarity(features[..., :-1, :], features[..., 1:, :], dim=-1)


def depth_scores(similarity: Tensor, *, sides: Literal["both", "left"] = "both") -> Tensor:
    """How deep a valley each of (..., n) similarities lies in: its distance below the peaks on both sides, added up.

    From each place one climbs for as long as the next value is not smaller; equal values are crossed. The end of that
    climb is the end of a run which never falls, so all peaks follow from the places where runs begin: a running
    maximum instead of a walk from every place, O(n) and without a loop.

    Args:
        sides: with "left" the depth below the peak on the left alone.

    Source: VideoLLaMB (arXiv 2409.01071), SceneTilling, as coded: the paper halves the sum.
    """
    left = _peaks_before(similarity)
    if sides == "left":
        return left - similarity
    right = _peaks_before(similarity.flip(-1)).flip(-1)
    return left + right - 2 * similarity


def _peaks_before(similarity: Tensor) -> Tensor:
    """Value that begins the run, never rising, in which each of (..., n) values lies."""
    if not similarity.shape[-1]:
        return similarity
    rises = functional.pad(similarity[..., 1:] > similarity[..., :-1], (1, 0))
    place = torch.arange(similarity.shape[-1], device=similarity.device)
    return similarity.gather(-1, (rises * place).cummax(-1).values)


def depth_threshold(depth: Tensor, alpha: float) -> Tensor:
    """Mean of (..., n) depths and `alpha` sample standard deviations: (...).

    Infinite for fewer than two depths, which have no deviation, so that nothing is deeper.
    """
    if depth.shape[-1] < 2:
        return torch.full_like(depth.sum(-1), math.inf)
    return depth.mean(-1) + alpha * depth.std(-1)


def cuts_above(depth: Tensor, *, alpha: float = 0.5, max_cuts: int | None = 15) -> Tensor:
    """Where (..., n) depths exceed their threshold, (..., n) bool; of more than `max_cuts` the deepest."""
    above = depth > depth_threshold(depth, alpha).unsqueeze(-1)
    if max_cuts is None or max_cuts >= depth.shape[-1]:
        return above
    return above & _largest(depth.masked_fill(~above, -math.inf), max_cuts)


def deepest_cuts(depth: Tensor, num_cuts: int) -> Tensor:
    """The `num_cuts` deepest of (..., n) places, the first of equals: (..., n) bool.

    Raises:
        ValueError: there are fewer places.
    """
    return _largest(depth, _checked(num_cuts, depth))


def lowest_cuts(similarity: Tensor, num_cuts: int) -> Tensor:
    """The `num_cuts` lowest of (..., n) similarities, the first of equals: (..., n) bool.

    Raises:
        ValueError: there are fewer places.

    Source: HEM-LLM (arXiv 2409.06299), K - 1 cuts for K events; TDC-Video (arXiv 2504.10443).
    """
    return _largest(-similarity, _checked(num_cuts, similarity))


def valley_cuts(similarity: Tensor, *, alpha: float, min_depth: float) -> Tensor:
    """The lowest place of each valley that is deep enough, of a stretch of a longer sequence: (n,) to (n,) bool.

    A valley must be deeper than `min_depth`, and than the mean of all n depths by `alpha` deviations: that threshold
    alone, `cuts_above`, cuts stillness, too, and cuts the slopes beside a valley. Of equal places the first is cut. A
    valley at an end has a depth on its inner side alone.
    """
    if not len(similarity):
        return similarity.bool()
    depth = depth_scores(similarity)
    falls = functional.pad(similarity[1:] < similarity[:-1], (1, 0), value=True)
    run_end = _peaks_before(similarity.flip(0)).flip(0)
    # Of a stretch that falls to its end the last place counts, though nobody knows yet what follows.
    rises = (run_end > similarity) | _reaches_end(similarity)
    threshold = depth_threshold(depth, alpha) if len(depth) > 1 else depth.new_zeros(())
    return falls & rises & (depth > threshold.clamp(min=min_depth))


def _reaches_end(similarity: Tensor) -> Tensor:
    """Whether (n,) values from each place on are all equal."""
    changes = functional.pad(similarity[1:] != similarity[:-1], (0, 1))
    return changes.flip(0).cumsum(0).flip(0) == 0


def _checked(num_cuts: int, places: Tensor) -> int:
    if not 0 <= num_cuts <= places.shape[-1]:
        raise ValueError(
            f"{num_cuts=} must be in [0, {places.shape[-1]}]: one less than there are frames, {places.shape[-1] + 1}"
        )
    return num_cuts


def _largest(values: Tensor, num: int) -> Tensor:
    # A stable sort, not topk: of equal values the first must be taken on every device.
    order = values.argsort(dim=-1, descending=True, stable=True)[..., :num]
    return torch.zeros_like(values, dtype=torch.bool).scatter(-1, order, True)


def scene_ranges(cut_after: Sequence[int], num_frames: int) -> tuple[tuple[int, int], ...]:
    """Half-open ranges of frames between the cuts: they cover all `num_frames` and none is empty.

    Args:
        cut_after: frames after which there is a cut, ascending. One after the last frame changes nothing.
    """
    ends = [frame + 1 for frame in cut_after if frame + 1 < num_frames] + [num_frames] * (num_frames > 0)
    return tuple(zip([0, *ends[:-1]], ends, strict=True)) if ends else ()


def tile_scenes(
    features: Tensor, *, num_cuts: int | None = None, alpha: float = 0.5, max_cuts: int | None = 15
) -> tuple[tuple[int, int], ...]:
    """Cut frames (T, d) into scenes by depth: half-open ranges of frames.

    Args:
        num_cuts: cut at so many of the deepest places (at all there are, if they are fewer). None: where the depth
            exceeds the mean by `alpha` standard deviations, at `max_cuts` places at most.
    """
    depth = depth_scores(neighbour_cosines(features))
    if num_cuts is None:
        cuts = cuts_above(depth, alpha=alpha, max_cuts=max_cuts)
    else:
        cuts = deepest_cuts(depth, min(num_cuts, len(depth)))
    return scene_ranges(cuts.nonzero().flatten().tolist(), len(features))


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and spread of numbers that are not kept."""

    num: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""

    def joined(self, other: Spread) -> Spread:
        """Of both sets of numbers together (Chan, Golub and LeVeque 1979)."""
        num = self.num + other.num
        if not num:
            return self
        apart = other.mean - self.mean
        squares = self.squares + other.squares + apart * apart * self.num * other.num / num
        return Spread(num, self.mean + apart * other.num / num, squares)

    def shifted(self, by: float) -> Spread:
        """Of the same numbers with `by` added to each."""
        return Spread(self.num, self.mean + by, self.squares)

    @property
    def deviation(self) -> float:
        """Sample standard deviation; 0 for fewer than two numbers."""
        return math.sqrt(self.squares / (self.num - 1)) if self.num > 1 else 0.0


@dataclass(frozen=True, slots=True)
class SceneRule:
    """When a stream of frames is cut."""

    alpha: float = 0.5
    """Deviations by which a valley must be deeper than the mean of all depths so far."""
    min_depth: float = 0.3
    """Depth that a valley must exceed in any case: a threshold of mean and deviation alone cuts still pictures, too."""
    min_frames: int = 1
    """A valley that would end a shorter scene is passed over."""
    max_frames: int | None = None
    """A scene that reaches this length ends there. None: scenes may last for ever."""

    def __post_init__(self) -> None:
        if self.min_frames < 1:
            raise ValueError(f"min_frames={self.min_frames} must be at least 1")
        if self.max_frames is not None and self.max_frames < self.min_frames:
            raise ValueError(f"max_frames={self.max_frames} must be at least min_frames={self.min_frames}")


class SceneStream:
    """Cuts a stream of frames as it comes. What was cut stays cut, however the frames are split into pushes.

    A valley is told once similarity rises again and its depth (which then only grows) exceeds the threshold: one frame
    after a sharp change, later for a soft one. Only the lowest place of a valley is cut, the first of equals, where
    `cuts_above` may cut its slopes too. State and cost a frame do not grow: the depths of a rise that has not ended
    differ by one number, their peak, so that their spread is known without keeping them.
    """

    def __init__(self, rule: SceneRule | None = None) -> None:
        self.rule = rule or SceneRule()
        self.num_frames = 0
        self.scene_start = 0
        """First frame of the scene that has not ended."""
        self._newest: Tensor | None = None
        self._similarity = -math.inf
        self._left_peak = 0.0
        self._valley = 0
        self._valley_similarity = self._valley_left = 0.0
        self._settled, self._rising = Spread(), Spread()

    def push(self, features: Tensor) -> list[int]:
        """Take in the next frames' features (n, d); the frames after which a scene is now known to have ended."""
        if not len(features):
            return []
        joined = features if self._newest is None else torch.cat([self._newest, features])
        similarities = neighbour_cosines(joined).tolist()
        self._newest = features[-1:].clone()
        cuts = [] if self.num_frames else self._after_frame(None)
        for similarity in similarities:
            self._see(similarity)
            cuts += self._after_frame(self._told_valley())
        return cuts

    def _see(self, similarity: float) -> None:
        """Take the next similarity into the run and the valley that it belongs to."""
        before, place = self._similarity, self.num_frames - 1
        if similarity > before:
            self._left_peak = similarity
        if similarity < before or place == 0:
            self._settled = self._settled.joined(self._rising.shifted(before))
            self._rising = Spread()
            self._valley, self._valley_similarity, self._valley_left = place, similarity, self._left_peak
        self._rising = self._rising.joined(Spread(1, self._left_peak - 2 * similarity))
        self._similarity = similarity

    def _told_valley(self) -> int | None:
        """The valley before the newest frame, if it is known now to be deep enough to end a long enough scene."""
        depth = self._valley_left + self._similarity - 2 * self._valley_similarity
        threshold = self.rule.min_depth
        if self._settled.num > 1:
            threshold = max(threshold, self._settled.mean + self.rule.alpha * self._settled.deviation)
        is_deep = self._similarity > self._valley_similarity and depth > threshold
        is_long = self._valley + 1 - self.scene_start >= self.rule.min_frames
        return self._valley if is_deep and is_long else None

    def _after_frame(self, valley: int | None) -> list[int]:
        """Count one frame, and end the scene at a valley or because it is as long as may be."""
        self.num_frames += 1
        cuts = []
        if valley is not None:
            cuts.append(valley)
            self.scene_start = valley + 1
        if self.num_frames - self.scene_start == self.rule.max_frames:
            cuts.append(self.num_frames - 1)
            self.scene_start = self.num_frames
        return cuts
