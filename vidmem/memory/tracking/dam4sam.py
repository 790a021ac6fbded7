"""DAM4SAM: recent frames in steps, and anchors: frames on which something alike was told from the object.

Source: DAM4SAM (Videnovic et al., CVPR 2025, arXiv 2411.17576), sections 3.2 and 3.3, and its code. Where the code is
plainly wrong we do what the paper says; `dam4sam_reference` has it as coded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from vidmem.memory.tracking.boxes import box_iou, mask_boxes
from vidmem.memory.tracking.components import largest_component
from vidmem.memory.tracking.kalman import Box
from vidmem.memory.tracking.selection import Candidates, Choice, Kept, Limits, Reading
from vidmem.memory.tracking.windows import newest, reading, with_prompt, without


class Area(NamedTuple):
    frame: int
    num_pixels: int


@dataclass(frozen=True, slots=True)
class Dam4SamState:
    prompts: tuple[int, ...]
    anchors: tuple[int, ...] = ()
    """The newest anchors, as many as can be read."""
    visible: tuple[int, ...] = ()
    """The newest frames that show the object, anchors among them, as many as pointers are read and at least two."""
    stepped: tuple[int, ...] = ()
    """The newest of those that are no anchors and lie on a step, as many as can be read."""
    areas: tuple[Area, ...] = ()
    """The newest masks that were not empty, as many as the median takes."""
    last: int | None = None
    """The frame tracked last."""
    last_added: int | None = None
    """The frame that became an anchor last."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What speaks for and against a frame as an anchor."""

    num_pixels: int
    """Area of the chosen mask."""
    size_ratio: float | None
    """It against the median of the newest ones; None for an empty mask, and on the first frame."""
    is_reliable: bool
    """Whether the object was tracked so well that other masks mean other things."""
    num_alternatives: int = 0
    min_overlap: float | None = None
    """Least overlap of the box with one stretched to an alternative; None if there is none, or it was not looked."""
    is_anchor: bool = False


def stretched(masks: np.ndarray, chosen: int) -> np.ndarray:
    """The chosen mask and, for each other that shows something beside it, the mask with the largest part of that.

    Args:
        masks: (M, H, W) bool.

    Returns:
        (1 + A, H, W) bool, the chosen one first.
    """
    apart = np.delete(masks, chosen, axis=0) & ~masks[chosen]
    return np.stack([masks[chosen], *(masks[chosen] | largest_component(mask) for mask in apart if mask.any())])


@dataclass(frozen=True, slots=True)
class Dam4Sam:
    """Take the mask of the best predicted IoU; remember visible frames only, and frames that resolved a distractor.

    Where we differ from the code: boxes include their last pixel, without which thin masks have no box and count as
    distractors or as none; areas and alternatives are seen on the decoder's own grid, a sixteenth of the pixels of the
    network's square; the first prompt may lie on any frame and more may follow, which are read like it.
    """

    name: ClassVar[str] = "dam4sam"
    reads_boxes: ClassVar[bool] = False
    limits: Limits = field(default_factory=Limits)
    present_above: float = 0.0
    max_anchors: int = 4
    """Prompts and anchors that are read at once. The fewer there are the more recent frames are read."""
    step: int = 5
    """Recent frames are the one before, and further back the multiples of this."""
    min_iou: float = 0.8
    """The predicted IoU of a reliable frame is above."""
    size_change: float = 0.2
    """Its area is at most by this share off the median of the last ones."""
    num_areas: int = 10
    """Areas that the median takes, the present one among them, empty masks not counted."""
    area_frames: int = 300
    """Frames back to which it looks for them."""
    spacing: int = 5
    """An anchor lies more frames than these behind the one before."""
    max_overlap: float = 0.7
    """A distractor is there if the box stretched to it overlaps the object's by no more."""

    def prompted(
        self, state: Dam4SamState | None, frame: int, found: Candidates, *, initial: bool = True
    ) -> Dam4SamState:
        before = state or Dam4SamState(())
        return replace(
            before,
            prompts=with_prompt(before.prompts, frame, self.max_anchors),
            anchors=without(before.anchors, frame),
            visible=without(before.visible, frame),
            stepped=without(before.stepped, frame),
            last=frame,
        )

    def read(self, state: Dam4SamState, frame: int) -> Reading:
        anchors = self.anchors_for(state, frame)
        others = self._recent(state, frame, anchors)
        pointed = [index for index in state.visible if index not in anchors]
        return reading(frame, anchors, others, pointed, self.limits)

    def choose(
        self, states: Sequence[Dam4SamState], found: Sequence[Candidates], frame: int
    ) -> Sequence[Choice[Dam4SamState]]:
        (state,), (offered,) = states, found
        chosen = max(range(len(offered.ious)), key=offered.ious.__getitem__)
        judged = self.judge(state, offered, chosen, frame)
        after = replace(state, areas=self.with_area(state, frame, judged.num_pixels), last=frame)
        if self.is_visible(offered, chosen, judged):
            after = self._remembered(after, frame, judged.is_anchor)
        return (Choice(0, chosen, after, binarise=judged.is_anchor),)

    def kept(self, state: Dam4SamState) -> Kept:
        anchors = (*state.prompts, *state.anchors)
        recent = {*state.stepped, *state.visible[-1:]}
        recent.update([index for index in state.visible if index not in anchors][-1:])
        pointed = {*anchors, *state.visible} if self.limits.num_pointers else ()
        return Kept(frozenset(recent.union(anchors)), frozenset(pointed))

    def judge(self, state: Dam4SamState, offered: Candidates, chosen: int, frame: int) -> Judgement:
        """Decide whether a frame resolves a distractor: tracked reliably, while another mask shows something else."""
        masks = self.masks(offered)
        num_pixels = int(masks[chosen].sum())
        ratio = self.size_ratio(state, frame, num_pixels)
        is_reliable = (
            bool(np.float32(offered.ious[chosen]) > np.float32(self.min_iou))
            and ratio is not None
            and 1 - self.size_change <= ratio <= 1 + self.size_change
            and (state.last_added is None or frame - state.last_added > self.spacing)
        )
        if not is_reliable:
            return Judgement(num_pixels, ratio, False)
        seen = stretched(masks.cpu().numpy(), chosen)
        if len(seen) == 1:
            return Judgement(num_pixels, ratio, True)
        boxes = mask_boxes(torch.from_numpy(seen)).tolist()
        overlap = min(self.overlap(boxes[0], other) for other in boxes[1:])
        return Judgement(num_pixels, ratio, True, len(seen) - 1, overlap, overlap <= self.max_overlap)

    def size_ratio(self, state: Dam4SamState, frame: int, num_pixels: int) -> float | None:
        """Area against the median of the newest areas, this one among them."""
        if num_pixels == 0 or state.last in (None, *state.prompts[:1]):
            return None
        return num_pixels / median(area.num_pixels for area in self.with_area(state, frame, num_pixels))

    def with_area(self, state: Dam4SamState, frame: int, num_pixels: int) -> tuple[Area, ...]:
        """The newest areas that are not empty, with this frame's."""
        recent = tuple(area for area in state.areas if frame - area.frame < self.area_frames)
        return newest(recent, Area(frame, num_pixels), self.num_areas) if num_pixels else recent

    def masks(self, offered: Candidates) -> torch.Tensor:
        """Masks (M, H, W) bool that areas and alternatives are taken from."""
        return offered.masks > 0

    def overlap(self, box: Box, other: Box) -> float:
        """Overlap of two masks' boxes of inclusive extremes."""
        return box_iou(_with_last_pixel(box), _with_last_pixel(other))

    def is_visible(self, offered: Candidates, chosen: int, judged: Judgement) -> bool:
        """Whether a frame shows the object and so can be read later."""
        return judged.num_pixels > 0

    def anchors_for(self, state: Dam4SamState, frame: int) -> tuple[int, ...]:
        """What is read in the prompts' row: the latest but for the frame before, the prompts, then the nearest."""
        by_nearness = sorted({*state.prompts, *state.anchors} - {frame - 1}, reverse=True)
        prompts = state.prompts[:1] + state.prompts[:0:-1]
        order = dict.fromkeys((*by_nearness[:1], *prompts, *by_nearness))
        return tuple(order)[: self.max_anchors]

    def _recent(self, state: Dam4SamState, frame: int, anchors: Sequence[int]) -> tuple[int, ...]:
        """Recent frames in time order: the one before, or the latest that can be, and steps further back."""
        before = [index for index in state.visible[-1:] if index == frame - 1 and index not in anchors]
        if not before:
            held = (*state.prompts, *state.anchors)
            before = [index for index in state.visible if index not in held][-1:]
        num_steps = self.limits.num_memories - len(anchors) - 1
        if not before or num_steps < 0:
            return ()
        steps = [index for index in state.stepped if index < before[0]]
        return (*steps[max(0, len(steps) - num_steps) :], *before)

    def _remembered(self, state: Dam4SamState, frame: int, is_anchor: bool) -> Dam4SamState:
        """The state with a frame that shows the object."""
        visible = newest(state.visible, frame, max(self.limits.num_pointers - 1, 2))
        if is_anchor:
            # One more than is read beside the first prompt: the frame before does not count yet.
            anchors = newest(state.anchors, frame, self.max_anchors)
            return replace(state, visible=visible, anchors=anchors, last_added=frame)
        if frame % self.step:
            return replace(state, visible=visible)
        return replace(state, visible=visible, stepped=newest(state.stepped, frame, self.limits.num_memories - 1))


def _with_last_pixel(box: Box) -> Box:
    x1, y1, x2, y2 = box
    return x1, y1, x2 + 1, y2 + 1
