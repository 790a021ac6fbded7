"""infinity-Video: a function of time held by a fixed number of coefficients, finer where it was read.

Source: infinity-Video (Santos et al., ICML 2025, arXiv 2501.19098) and its code. The code's own forms, where the policy
differs from them, are the functions of `infinity_video_reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vidmem.memory.continuous import capped_shares, systematic_draws
from vidmem.memory.elements import Elements
from vidmem.memory.grouping import average_groups, union_of_groups
from vidmem.memory.policies.policy import Change, FramePolicy, Level


@dataclass(frozen=True, slots=True)
class InfinityVideo(FramePolicy):
    """Press what is held into fewer coefficients whenever it is full, finer where it was read.

    Elements are the coefficients of a function of time. New frames are coefficients of their own while there is room.
    Then the whole function is drawn from anew, in the order of time, and pressed into the share `tau` of the room: each
    draw becomes a coefficient of the stretch around it, and what was not drawn joins the nearer of its neighbours. A
    coefficient is never drawn twice, and one that is read so much that it is drawn for certain stays as it is if it
    can. So every frame, the newest too, is told by some element, whose span says which stretch that is.

    With a constant function on each of N equal rectangles, continuous attention is dot-product attention over the
    coefficients (`continuous.continuous_attention`), so that memory is read as ever.
    """

    name: ClassVar[str] = "infinity-video"
    source: ClassVar[str] = "infinity-Video (Santos et al., ICML 2025), arXiv 2501.19098"
    tau: float = 0.9
    """Share of the room that the past is pressed into when it is full. The paper takes 0.75, and few, long chunks."""
    stickiness: float = 0.5
    """How much of the density of draws goes by how often an element was read; the rest goes by time alone. The paper
    has 1, with a density that is 0 nowhere."""
    even: Literal["time", "coefficients"] = "time"
    """What is drawn from evenly where nothing was read: time, so that all that was seen fades alike, or coefficients,
    as published, so that the past is pressed by `tau` again and again and fades exponentially."""
    samples: Literal["mean", "draw"] = "mean"
    """What a coefficient is: the mean of its stretch, or what was drawn alone."""
    reads_on_write: bool = False
    """Whether each new frame queries memory before it is written, so that what goes on showing stays fine. The paper's
    queries are learned ones, which every chunk is read with."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class object than the one that super() would look for.
        FramePolicy.__post_init__(self)
        if not 0 < self.tau <= 1 or not 0 <= self.stickiness <= 1:
            raise ValueError(f"tau={self.tau} must be in (0, 1] and stickiness={self.stickiness} in [0, 1]")
        if self.even not in ("time", "coefficients"):
            raise ValueError(f"even={self.even!r} must be time or coefficients")
        if self.samples not in ("mean", "draw"):
            raise ValueError(f"samples={self.samples!r} must be mean or draw")

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (long_term,), (level,) = held, levels
        if len(long_term) + len(leaving) <= level.max_elements:
            return (Change(leaving),)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + first_index)
        num_coefficients = max(1, round(self.tau * level.max_elements))
        pressed = self.pressed(Elements.cat([long_term, leaving]), num_coefficients, generator)
        return (Change(pressed, torch.empty(0, dtype=torch.int64)),)

    def pressed(self, timeline: Elements, num_coefficients: int, generator: torch.Generator) -> Elements:
        """The elements of a timeline, in time order, as fewer ones: (M) to (min(num_coefficients, M))."""
        shares = capped_shares(self.density(timeline), num_coefficients)
        drawn = systematic_draws(shares, num_coefficients, generator).unique()
        label = nearest_draw(shares, drawn, num_coefficients)
        if self.samples == "mean":
            return average_groups(timeline, label)
        sample = timeline[drawn.to(timeline.key.device)]
        span_seconds = union_of_groups(timeline.span_seconds, label, len(drawn))
        return Elements(sample.key, sample.value, span_seconds, sample.usage, sample.life, sample.weight)

    def density(self, timeline: Elements) -> Tensor:
        """How much of all draws each of (M,) elements is to get: float64 on the CPU, above 0."""
        frequency = timeline.frequency.to("cpu", torch.float64)
        even = timeline.weight.mean(1).to("cpu", torch.float64) if self.even == "time" else torch.ones_like(frequency)
        # An average has what its parts were read, all together, so what counts is how often each of its frames was.
        # What no query has passed over yet is read as often as the rest, for all that is known.
        is_known = timeline.life.cpu() > 0
        mean = frequency[is_known].sum() / even[is_known].sum()  # NaN where nothing is known
        relative = torch.where(is_known & (mean > 0), frequency / even / mean, torch.ones_like(frequency))
        # At stickiness 1, what was never read would have no density at all and could not be told by anything.
        return even * (1 - self.stickiness + self.stickiness * relative).clamp(min=1e-6)


def nearest_draw(shares: Tensor, drawn: Tensor, num_draws: int) -> Tensor:
    """Which of D drawn places each of M places joins: (M,) int64 in [0, D), never decreasing.

    Nearness is measured in probability. A place that is drawn for certain takes others in only if they have no other
    neighbour; of equally near ones the earlier does, also where rounding would make a difference.

    Args:
        shares: (M,) float64 share of each place in all draws, at most 1 / num_draws.
        drawn: (D,) int64, ascending, D >= 1.
    """
    middle = shares.cumsum(0) - shares / 2
    is_certain = shares[drawn] >= (1 - 1e-9) / num_draws
    place = torch.arange(len(shares))
    earlier = (torch.searchsorted(drawn, place, right=True) - 1).clamp(min=0)
    later = torch.searchsorted(drawn, place).clamp(max=len(drawn) - 1)
    # All distances are below 1, so that 1 more is farther than any.
    to_earlier, to_later = ((middle - middle[drawn[at]]).abs() + is_certain[at].double() for at in (earlier, later))
    return torch.where(to_later < to_earlier - 1e-6 / num_draws, later, earlier)
