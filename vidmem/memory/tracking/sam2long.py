"""SAM2Long: a tree of hypotheses, each with a memory of its own; the one of the best score so far is shown.

Source: SAM2Long (Ding et al., arXiv 2410.16268), section 3, and the rules of its code. Where the code is plainly wrong
we do what the paper says; `sam2long_reference` has it as coded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

from vidmem.memory.tracking.selection import Candidates, Choice, Kept, Limits, Reading
from vidmem.memory.tracking.windows import MAX_PROMPTED, newest, num_prompts, num_recent, ranked_rows, with_prompt

_EPSILON = 1e-5
"""Keeps the logarithm of an IoU of 0 finite."""


class Seen(NamedTuple):
    """A frame, and what the network thought of the object on it."""

    frame: int
    object_score: float


@dataclass(frozen=True, slots=True)
class Pathway:
    """One hypothesis of what the object did."""

    prompts: tuple[int, ...]
    score: float = 0.0
    """Sum of the logarithms of its masks' predicted IoUs."""
    good: tuple[Seen, ...] = ()
    """The newest frames that are fit as memory, as many as pointers are read."""
    last: Seen | None = None
    """The frame before, fit or not; None if that was prompted."""

    @property
    def readable(self) -> tuple[Seen, ...]:
        """Frames to read in time order: what is fit, and the frame before however bad it was."""
        if self.last is None or self.last in self.good:
            return self.good
        return (*self.good, self.last)


class Leaf(NamedTuple):
    """One candidate of one pathway."""

    pathway: int
    candidate: int
    score: float
    quality: float
    """Its predicted IoU, negative where the object is taken to be absent."""


def leaves(pathways: Sequence[Pathway], found: Sequence[Candidates]) -> list[Leaf]:
    """All candidates of all pathways, the best score first; of equals the first pathway's first."""
    grown = [
        Leaf(index, candidate, pathway.score + math.log(iou + _EPSILON), iou if offered.object_score > 0 else -iou)
        for index, (pathway, offered) in enumerate(zip(pathways, found, strict=True))
        for candidate, iou in enumerate(offered.ious)
    ]
    return sorted(grown, key=lambda leaf: -leaf.score)


def prune(ordered: Sequence[Leaf], num_pathways: int, *, is_certain: bool) -> list[Leaf]:
    """The leaves to go on with, at most `num_pathways`: the best, and in uncertain times the best of different quality.

    Quality differs in the second decimal. If too few differ, pathways that were cut off get their best leaf back.
    """
    if is_certain:
        return list(ordered[:num_pathways])
    by_quality: dict[float, Leaf] = {}
    for leaf in ordered:
        by_quality.setdefault(round(leaf.quality, 2), leaf)
    kept = list(by_quality.values())[:num_pathways]
    best_of = {leaf.pathway: leaf for leaf in reversed(ordered)}
    parents = {leaf.pathway for leaf in kept}
    cut_off = [best_of[pathway] for pathway in sorted(best_of) if pathway not in parents]
    return [*kept, *cut_off[: num_pathways - len(kept)]]


def key_scales(object_scores: Sequence[float], lowest: float = 0.95, highest: float = 1.05) -> tuple[float, ...]:
    """Factors on attention keys by rank of the object's score: evenly from `lowest` to `highest`, 1 for one alone.

    Of equal scores the later gets the larger.
    """
    num = len(object_scores)
    if num == 1:
        return ((lowest + highest) / 2,)
    scales = [0.0] * num
    for rank, place in enumerate(sorted(range(num), key=object_scores.__getitem__)):
        scales[place] = lowest + (highest - lowest) * rank / (num - 1)
    return tuple(scales)


@dataclass(frozen=True, slots=True)
class Sam2Long:
    """Follow several hypotheses at once, so that one wrong mask does not spoil the only memory there is.

    Each frame costs as many runs of memory attention, decoder and memory encoder as there are pathways.

    Where we differ from the code: the tree grows from one pathway, where the code starts with copies of one that stay
    alike until a frame is uncertain; the pointer of the oldest readable frame is read too; a pointer alone is not
    scaled down; prompts outrank every other frame, where the code takes their score for 10; there may be several.
    The code shows nothing before the end of the video. We show the best pathway of each moment, as a stream has to;
    `Choice.pathway` leads back along the final one.
    """

    name: ClassVar[str] = "sam2long"
    reads_boxes: ClassVar[bool] = False
    limits: Limits = field(default_factory=Limits)
    max_prompted: int = MAX_PROMPTED
    present_above: float = 0.0
    num_pathways: int = 3
    min_memory_iou: float = 0.1
    """The predicted IoU of a frame that is fit as memory is above, and its object score above 0."""
    certain_above: float = 2.0
    """A frame on which some pathway's object score is above in size, for or against the object, is certain."""

    def prompted(self, state: Pathway | None, frame: int, found: Candidates, *, initial: bool = True) -> Pathway:
        if state is None:
            return Pathway((frame,))
        return replace(
            state,
            prompts=with_prompt(state.prompts, frame, num_prompts(self.limits, self.max_prompted)),
            good=tuple(seen for seen in state.good if seen.frame != frame),
            last=None,
        )

    def read(self, state: Pathway, frame: int) -> Reading:
        others = state.readable[-(self.limits.num_memories - 1) :]
        pointed, distances = self._pointers(state, frame)
        prompts, last_row = state.prompts, self.limits.num_memories - 1
        return Reading(
            frames=(*prompts, *(seen.frame for seen in others)),
            rows=(last_row,) * len(prompts) + ranked_rows(len(others)),
            pointer_frames=tuple(seen.frame for seen in pointed),
            distances=distances,
            frame_scales=self.scales(state, others) if others else (),
            pointer_scales=self.scales(state, pointed[len(prompts) :]) if others and pointed else (),
        )

    def choose(self, states: Sequence[Pathway], found: Sequence[Candidates], frame: int) -> Sequence[Choice[Pathway]]:
        if states[0].last is None:
            (offered,) = found
            best = max(range(len(offered.ious)), key=offered.ious.__getitem__)
            return (self._grown(states[0], offered, Leaf(0, best, states[0].score, 0.0), frame),)
        is_certain = max(abs(offered.object_score) for offered in found) > self.certain_above
        kept = prune(leaves(states, found), self.num_pathways, is_certain=is_certain)
        return tuple(self._grown(states[leaf.pathway], found[leaf.pathway], leaf, frame) for leaf in kept)

    def kept(self, state: Pathway) -> Kept:
        others = [seen.frame for seen in state.readable]
        pointed = (*state.prompts, *others[-self.limits.num_pointers :]) if self.limits.num_pointers else ()
        # All good ones: where the frame before is bad it takes the place of one, which a prompt gives back.
        good = [seen.frame for seen in state.good[1 - self.limits.num_memories :]]
        return Kept(frozenset((*state.prompts, *good, *others[-1:])), frozenset(pointed))

    def scales(self, state: Pathway, others: Sequence[Seen]) -> tuple[float, ...]:
        """Factors on the keys of the prompts and of other frames."""
        return key_scales([math.inf] * len(state.prompts) + [seen.object_score for seen in others])

    def num_pointed(self, num_readable: int) -> int:
        """How many of the readable frames give their pointers."""
        return min(num_readable, num_recent(self.limits))

    def _pointers(self, state: Pathway, frame: int) -> tuple[tuple[Seen, ...], tuple[int, ...]]:
        """Prompts by true distance, then readable frames, the newest first, by rank."""
        if not self.limits.num_pointers:
            return (), ()
        others = state.readable[::-1][: self.num_pointed(len(state.readable))]
        pointed = (*(Seen(prompt, math.inf) for prompt in state.prompts), *others)
        return pointed, (*(frame - prompt for prompt in state.prompts), *range(1, len(others) + 1))

    def _grown(self, state: Pathway, offered: Candidates, leaf: Leaf, frame: int) -> Choice[Pathway]:
        seen = Seen(frame, offered.object_score)
        is_fit = offered.ious[leaf.candidate] > self.min_memory_iou and offered.object_score > 0
        num_good = max(num_recent(self.limits), self.limits.num_memories - 1)
        good = newest(state.good, seen, num_good) if is_fit else state.good
        return Choice(leaf.pathway, leaf.candidate, Pathway(state.prompts, leaf.score, good, seen))
