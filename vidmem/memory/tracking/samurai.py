"""SAMURAI: a motion model helps to choose the mask, and memory shows the newest frames that were good.

Source: SAMURAI (Yang et al., arXiv 2411.11922), sections 4.1 and 4.2, and its code. Where the code is plainly wrong we
do what the paper says; `samurai_reference` has it as coded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from vidmem.memory.tracking import kalman
from vidmem.memory.tracking.boxes import box_iou, candidate_boxes
from vidmem.memory.tracking.kalman import Box, Motion
from vidmem.memory.tracking.selection import Candidates, Choice, Kept, Limits, Reading
from vidmem.memory.tracking.windows import MAX_PROMPTED, newest, num_prompts, num_recent, reading, with_prompt, without


@dataclass(frozen=True, slots=True, eq=False)
class SamuraiState:
    prompts: tuple[int, ...]
    motion: Motion | None = None
    """The object's filter, None before a box was seen."""
    num_stable: int = 0
    """Frames tracked well in a row, up to `Samurai.num_stable`; at 0 the filter starts anew on the next frame."""
    good: tuple[int, ...] = ()
    """The newest frames that are fit as memory, as many as can be read."""
    recent: tuple[int, ...] = ()
    """The newest frames that were tracked, as many as pointers are read, at least one."""


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """M candidates against the motion of their object."""

    boxes: Sequence[Box]
    """In pixels of the network's square."""
    predicted: Motion | None
    """The filter on this frame, None if it has to start anew."""
    motion_iou: list[float] | None
    """Overlap of the boxes with the predicted one, where motion counts: for what was tracked well for long."""
    score: Sequence[float]
    """What the choice is made by."""


@dataclass(frozen=True, slots=True)
class Samurai:
    """Take the mask that is both good and where the object was going; remember frames on which all was well.

    Where we differ from the code: an empty mask is no sight of the object and never moves the filter, which in the code
    collapses to the origin; a prompt starts the filter; the first tracked frame can be read later like any other; a
    predicted IoU is held against its threshold in one way, moving or not; each object has a filter of its own; boxes
    are taken off the decoder's own grid, between its pixels, not off masks enlarged to the network's square.
    """

    name: ClassVar[str] = "samurai"
    reads_boxes: ClassVar[bool] = True
    limits: Limits = field(default_factory=Limits)
    max_prompted: int = MAX_PROMPTED
    present_above: float = -1.0
    motion_weight: float = 0.25
    """Share of the motion's overlap in the mixed score. The authors take 0.15 for SAM 2.1 large."""
    num_stable: int = 15
    """Frames tracked well in a row until motion counts."""
    min_tracked_iou: float = 0.3
    """The predicted IoU of a frame that counts as tracked well is above."""
    min_memory_iou: float = 0.5
    """The predicted IoU of a frame that is fit as memory is above."""
    min_memory_score: float = 0.0
    """Its object score is above."""
    min_memory_motion: float = 0.0
    """And its overlap with the predicted box is above, where motion counts."""

    def prompted(
        self, state: SamuraiState | None, frame: int, found: Candidates, *, initial: bool = True
    ) -> SamuraiState:
        before = state or SamuraiState(())
        box = self.boxes(found)[0]
        motion, num_stable = (kalman.initiate(box), 1) if any(box) else (before.motion, before.num_stable)
        return SamuraiState(
            with_prompt(before.prompts, frame, num_prompts(self.limits, self.max_prompted)),
            motion,
            num_stable,
            good=without(before.good, frame),
            recent=without(before.recent, frame),
        )

    def read(self, state: SamuraiState, frame: int) -> Reading:
        return reading(frame, state.prompts, self._others(state), state.recent, self.limits)

    def choose(
        self, states: Sequence[SamuraiState], found: Sequence[Candidates], frame: int
    ) -> Sequence[Choice[SamuraiState]]:
        (state,), (offered,) = states, found
        weighed = self.weigh(state, offered)
        chosen = max(range(len(weighed.score)), key=weighed.score.__getitem__)
        iou, motion_iou = offered.ious[chosen], None if weighed.motion_iou is None else weighed.motion_iou[chosen]
        motion, num_stable = self.follow(state, weighed, weighed.boxes[chosen], iou)
        is_good = (
            iou > self.min_memory_iou
            and offered.object_score > self.min_memory_score
            and (motion_iou is None or motion_iou > self.min_memory_motion)
        )
        good = newest(state.good, frame, self.limits.num_memories - 1) if is_good else state.good
        recent = newest(state.recent, frame, max(num_recent(self.limits), 1))
        return (Choice(0, chosen, SamuraiState(state.prompts, motion, num_stable, good, recent)),)

    def kept(self, state: SamuraiState) -> Kept:
        pointed = (*state.prompts, *state.recent) if self.limits.num_pointers else ()
        # All good ones: where the frame before is bad it takes the place of one, which a prompt gives back.
        return Kept(frozenset((*state.prompts, *state.good, *state.recent[-1:])), frozenset(pointed))

    def weigh(self, state: SamuraiState, offered: Candidates) -> Weighed:
        """Score an object's candidates by predicted IoU and, if it was tracked well for long, by its motion."""
        boxes = self.boxes(offered)
        if state.motion is None or state.num_stable == 0:
            return Weighed(boxes, None, None, offered.ious)
        predicted = kalman.predict(state.motion)
        if state.num_stable < self.num_stable:
            return Weighed(boxes, predicted, None, offered.ious)
        expected = predicted.measurement.box
        motion_iou = [box_iou(expected, box) for box in boxes]
        weight = self.motion_weight
        mixed = [weight * motion + (1 - weight) * iou for motion, iou in zip(motion_iou, offered.ious, strict=True)]
        return Weighed(boxes, predicted, motion_iou, mixed)

    def boxes(self, offered: Candidates) -> Sequence[Box]:
        """Boxes of the masks, zeros for an empty one."""
        return candidate_boxes(offered.masks, offered.square) if offered.boxes is None else offered.boxes

    def follow(self, state: SamuraiState, weighed: Weighed, box: Box, iou: float) -> tuple[Motion | None, int]:
        """The filter after the chosen box, and how many frames went well by now."""
        if not any(box):
            return weighed.predicted, 0
        if weighed.predicted is None:
            return kalman.initiate(box), 1
        if iou <= self.min_tracked_iou:
            return weighed.predicted, 0
        return kalman.update(weighed.predicted, box), min(state.num_stable + 1, self.num_stable)

    def _others(self, state: SamuraiState) -> tuple[int, ...]:
        """Frames to read beside the prompts: good ones, and the frame before however bad it was."""
        if not state.recent or state.recent[-1] in state.good or state.recent[-1] < state.prompts[-1]:
            return state.good
        return newest(state.good, state.recent[-1], self.limits.num_memories - 1)
