"""MC-ViT: each stretch of video is kept as a few of its frames, or of clusters of them.

Source: MC-ViT (Balažević et al., ICML 2024, arXiv 2402.05861), section 3.2. The paper lets every layer of a video
transformer attend to such memories, which takes training; the policy keeps those of the frames' tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vidmem.memory.coreset import farthest_points, random_subset
from vidmem.memory.elements import Elements
from vidmem.memory.grouping import average_groups, longest_runs
from vidmem.memory.kmeans import kmeans
from vidmem.memory.policies.policy import Change, FramePolicy, Level


@dataclass(frozen=True, slots=True)
class McVit(FramePolicy):
    """Keep each stretch as a few means of clusters, or as frames far from each other or drawn at random.

    Frames are compared by all their tokens. When long-term memory is full, the stretches that are told most finely are
    consolidated again, two as one, so that all that was seen is told about as finely; the paper's memory grows without
    a bound, and its bounded variant forgets.
    """

    name: ClassVar[str] = "mc-vit"
    source: ClassVar[str] = "MC-ViT (Balažević et al., ICML 2024), arXiv 2402.05861"
    method: Literal["kmeans", "coreset", "random"] = "kmeans"
    """Means of clusters (the paper's choice), rows far from all others chosen, or any rows."""
    num_memories: int = 8
    """Memories made of each stretch that leaves working memory (K)."""
    when_full: Literal["reconsolidate", "forget"] = "reconsolidate"
    """What makes room: consolidating memories again, or forgetting the oldest."""
    rounds: int = 5
    """Of k-means."""
    seed: int = 0
    """Of the random choices: of memories, or of the frames that k-means begins with."""

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class object than the one that super() would look for.
        FramePolicy.__post_init__(self)
        if self.num_memories < 1 or self.rounds < 1:
            raise ValueError(f"num_memories={self.num_memories} and rounds={self.rounds} must be at least 1")
        if self.method not in ("kmeans", "coreset", "random"):
            raise ValueError(f"method={self.method!r} must be kmeans, coreset or random")
        if self.when_full not in ("reconsolidate", "forget"):
            raise ValueError(f"when_full={self.when_full!r} must be reconsolidate or forget")

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (long_term,), (level,) = held, levels
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + first_index)
        gained = self.memories(leaving, len(leaving), generator)
        num_over = len(long_term) + len(gained) - level.max_elements
        finest = torch.empty(0, dtype=torch.int64)
        if num_over > 0 and self.when_full == "reconsolidate":
            # All behind the first of them is rewritten, so room is made for some time.
            num_stretches = -(-max(num_over, level.max_elements // 16) // self.num_memories)
            finest = finest_stretches(long_term.span_seconds, 2 * self.num_memories, num_stretches)
        if not len(finest):
            return (Change.forgetting_oldest(long_term, gained, level.max_elements),)
        # What comes before the first of them stays where it is. They are fine because they are new, most often.
        num_untouched = int(finest[0]) * 2 * self.num_memories
        thinned = self.thinned(long_term[num_untouched:], finest - finest[0], generator)
        rest = Elements.cat([thinned, gained])
        num_gone = max(0, num_untouched + len(rest) - level.max_elements)
        return (
            Change(rest[max(0, num_gone - num_untouched) :], torch.arange(min(num_gone, num_untouched), num_untouched)),
        )

    def thinned(self, elements: Elements, stretch_index: Tensor, generator: torch.Generator) -> Elements:
        """Consolidate some of the stretches of `2 * num_memories` elements again, and leave the others as they are."""
        size = 2 * self.num_memories
        place = (stretch_index[:, None] * size + torch.arange(size)).flatten()
        others = torch.ones(len(elements), dtype=torch.bool)
        others[place] = False
        thinned = Elements.cat([elements[others], self.memories(elements[place], size, generator)])
        return thinned[thinned.span_seconds[:, 0].argsort(stable=True)]

    def memories(self, elements: Elements, size: int, generator: torch.Generator) -> Elements:
        """At most `num_memories` of each of B stretches of `size` elements: (B size) to (up to B K), in time order."""
        rows = elements.value.float().flatten(1).unflatten(0, (-1, size))
        if self.method == "kmeans":
            return self._means(elements, rows, generator)
        if self.method == "coreset":
            chosen = farthest_points(rows, self.num_memories).cpu()
        else:
            chosen = _random_rows(rows, self.num_memories, generator)
        place = (chosen + torch.arange(len(rows))[:, None] * size).flatten().sort().values
        return elements[place]

    def _means(self, elements: Elements, rows: Tensor, generator: torch.Generator) -> Elements:
        """Means of clusters, each told by the longest run of neighbours in it; what drew no members is no memory."""
        first = _random_rows(rows, self.num_memories, generator).to(rows.device)
        frames = elements.weight.mean(1).unflatten(0, rows.shape[:2])
        centroids = rows.take_along_dim(first[..., None], dim=1)
        label = kmeans(rows, centroids, weight=frames, rounds=self.rounds).label
        label = label + torch.arange(len(rows), device=label.device)[:, None] * self.num_memories
        present, group = label.flatten().unique(return_inverse=True)
        means = average_groups(elements, group)
        means = replace(means, span_seconds=longest_runs(elements.span_seconds, group.cpu(), len(present)))
        return means[means.span_seconds[:, 0].argsort(stable=True)]


def finest_stretches(span_seconds: Tensor, size: int, num_stretches: int) -> Tensor:
    """Which stretches of `size` elements with spans (M, 2) tell of the least time, the oldest of equals: ascending.

    A stretch tells of the time until the next one starts. At most `num_stretches` of the M // size whole ones, counted
    from the oldest element.
    """
    num_whole = len(span_seconds) // size
    following = torch.cat([span_seconds[:, 0], span_seconds[-1:, 1]])
    seconds = following[: num_whole * size + 1 : size].diff()
    return seconds.argsort(stable=True)[:num_stretches].sort().values


def _random_rows(rows: Tensor, num_kept: int, generator: torch.Generator) -> Tensor:
    """Places of random rows of each stretch (B, T, F): (B, min(num_kept, T)) on the CPU."""
    return torch.stack([random_subset(rows.shape[1], num_kept, generator) for _ in range(len(rows))])
