"""SAMURAI: a motion model helps to choose the mask, and memory shows the newest frames that were good.

Source: SAMURAI (Yang et al., arXiv 2411.11922), sections 4.1 and 4.2, and its code. Where the code is plainly wrong we
do what the paper says; `samurai_reference` has it as coded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from vidmem.memory.tracking import kalman
from vidmem.memory.tracking.boxes import box_iou
from vidmem.memory.tracking.kalman import Motion
from vidmem.memory.tracking.strategy import Attention, Branch, Candidates, Choice, Held
from vidmem.memory.tracking.windows import Sizes, attention, newest, ranked_rows, records, with_prompt


@dataclass(frozen=True, slots=True, eq=False)
class SamuraiState:
    prompts: tuple[int, ...]
    motion: Motion | None = None
    """One object's filter, None before a box was seen."""
    num_stable: int = 0
    """Frames tracked well in a row, up to `Samurai.num_stable`; at 0 the filter starts anew on the next frame."""
    good: tuple[int, ...] = ()
    """The newest frames that are fit as memory, as many as can be read."""
    recent: tuple[int, ...] = ()
    """The newest frames that were tracked, as many as pointers are read."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Candidates of N objects, weighed."""

    predicted: Motion
    """(N, 5, 4): the filters on this frame."""
    is_moving: np.ndarray
    """(N,): whether motion counts. It does for an object tracked well for long enough."""
    motion_iou: np.ndarray
    """(N, K): overlap of the candidates' boxes with the predicted one."""
    mixed: np.ndarray
    """(N, K): what the choice is made by."""


_BLANK = kalman.initiate(np.zeros(4))
"""A filter's place for an object that has none."""


@dataclass(frozen=True, slots=True)
class Samurai(Sizes):
    """Take the mask that is both good and where the object was going; remember frames on which all was well.

    Where we differ from the code: an empty mask is no sight of the object and never moves the filter, which in the code
    collapses to the origin; a prompt's box starts the filter; the first tracked frame can be read later like any other;
    a predicted IoU that equals its threshold fails, moving or not; each object has a filter of its own.
    """

    name: ClassVar[str] = "samurai"
    min_object_logit: ClassVar[float] = -1.0
    needs_boxes: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = False

    motion_weight: float = 0.25
    """Share of the motion's overlap in the mixed score. The authors take 0.15 for the large model."""
    num_stable: int = 15
    """Frames tracked well in a row until motion counts."""
    min_tracked_iou: float = 0.3
    """Predicted IoU of a frame that counts as tracked well is above."""
    min_memory_iou: float = 0.5
    """Predicted IoU of a frame that is fit as memory is above."""
    min_memory_logit: float = 0.0
    """Its object's logit is above."""
    min_memory_motion: float = 0.0
    """And its overlap with the predicted box is above, where motion counts."""

    def prompt(self, state: SamuraiState | None, frame_index: int, box: np.ndarray | None = None) -> SamuraiState:
        began = {} if box is None else {"motion": kalman.initiate(box), "num_stable": 1}
        if state is None:
            return SamuraiState((frame_index,), **began)
        return replace(
            state,
            prompts=with_prompt(state.prompts, frame_index, self.num_prompts),
            good=tuple(index for index in state.good if index != frame_index),
            recent=tuple(index for index in state.recent if index != frame_index),
            **began,
        )

    def attend(self, state: SamuraiState, frame_index: int) -> tuple[Attention, ...]:
        others = state.good
        if state.recent and state.recent[-1] not in others:
            # SAM 2 counts on the frame before, so it is shown however bad it was.
            others = newest(others, state.recent[-1], self.num_memories - 1)
        rows = ranked_rows(len(others))
        return (attention(frame_index, state.prompts, others, rows, state.recent, self),)

    def score(self, states: Sequence[SamuraiState], ious: np.ndarray, boxes: np.ndarray) -> Scores:
        """Weigh candidates: predicted IoUs (N, K) and boxes (N, K, 4) of N objects."""
        predicted = kalman.predict(kalman.stack([state.motion or _BLANK for state in states]))
        is_moving = np.array([state.num_stable >= self.num_stable for state in states])
        motion_iou = box_iou(predicted.boxes[:, None], boxes)
        mixed = self.motion_weight * motion_iou + (1 - self.motion_weight) * ious.astype(np.float64)
        return Scores(predicted, is_moving, motion_iou, np.where(is_moving[:, None], mixed, ious))

    def choose(
        self, states: Sequence[SamuraiState], frame_index: int, candidates: Sequence[Candidates]
    ) -> tuple[Choice[SamuraiState], ...]:
        if not states:
            return ()
        ious = np.stack([given.ious[0] for given in candidates])
        boxes = np.stack([_boxes(given)[0] for given in candidates])
        scores = self.score(states, ious, boxes)
        chosen = scores.mixed.argmax(1)
        each = np.arange(len(states))
        iou, box = ious[each, chosen], boxes[each, chosen]
        begins = np.array([state.motion is None or state.num_stable == 0 for state in states])
        is_sight = self.is_sight(box)
        goes_well = np.where(begins, is_sight, is_sight & self.is_tracked(iou, scores.is_moving))
        filters = np.where(
            begins[:, None, None], kalman.initiate(box).filters, kalman.update(scores.predicted, box).filters
        )
        filters = np.where(goes_well[:, None, None], filters, scores.predicted.filters)
        logits = np.array([given.object_logits[0] for given in candidates])
        on_course = ~scores.is_moving | (scores.motion_iou[each, chosen] > self.min_memory_motion)
        is_good = (iou > self.min_memory_iou) & (logits > self.min_memory_logit) & on_course
        num_recent = self.num_pointers - 1
        return tuple(
            Choice(
                replace(
                    state,
                    motion=Motion(filters[place]),
                    num_stable=min(state.num_stable + 1, self.num_stable) if goes_well[place] else 0,
                    good=newest(state.good, frame_index, self.num_memories - 1)
                    if is_good[place] and self.can_be_memory(state, frame_index)
                    else state.good,
                    recent=newest(state.recent, frame_index, num_recent),
                ),
                (Branch(0, int(chosen[place])),),
            )
            for place, state in enumerate(states)
        )

    def held(self, state: SamuraiState) -> Held:
        prompts = records(state.prompts)
        return Held(
            prompts | records(state.good) | records(state.recent[-1:]),
            prompts | records(state.recent),
        )

    def is_sight(self, box: np.ndarray) -> np.ndarray:
        """Whether boxes (N, 4) show the object at all."""
        return box.any(-1)

    def is_tracked(self, iou: np.ndarray, is_moving: np.ndarray) -> np.ndarray:
        """Whether chosen masks of predicted IoU (N,) float32 count as tracked well."""
        return iou > np.float32(self.min_tracked_iou)

    def can_be_memory(self, state: SamuraiState, frame_index: int) -> bool:
        """Whether a good frame is remembered as such."""
        return True


def _boxes(candidates: Candidates) -> np.ndarray:
    assert candidates.boxes is not None, "the strategy needs boxes, the tracker gives none"
    return candidates.boxes
