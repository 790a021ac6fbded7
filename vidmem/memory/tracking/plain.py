"""SAM 2's own memory: the prompts and the newest frames, whatever became of them.

Source: SAM 2 (Ravi et al., arXiv 2408.00714), section 4, "memory bank", and the `sam2` package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from vidmem.memory.tracking.strategy import Attention, Branch, Candidates, Choice, Held
from vidmem.memory.tracking.windows import Sizes, attention, newest, records, with_prompt


@dataclass(frozen=True, slots=True)
class PlainState:
    prompts: tuple[int, ...]
    recent: tuple[int, ...] = ()
    """The newest frames that were tracked, as many as pointers are read."""


@dataclass(frozen=True, slots=True)
class Plain(Sizes):
    """The mask of the highest predicted IoU, the newest frames as memory, each in the row of its distance."""

    name: ClassVar[str] = "sam2"
    min_object_logit: ClassVar[float] = 0.0
    needs_boxes: ClassVar[bool] = False
    needs_masks: ClassVar[bool] = False

    def prompt(self, state: PlainState | None, frame_index: int, box: np.ndarray | None = None) -> PlainState:
        if state is None:
            return PlainState((frame_index,))
        recent = tuple(index for index in state.recent if index != frame_index)
        return replace(state, prompts=with_prompt(state.prompts, frame_index, self.num_prompts), recent=recent)

    def attend(self, state: PlainState, frame_index: int) -> tuple[Attention, ...]:
        others = [index for index in state.recent if frame_index - index < self.num_memories]
        rows = [frame_index - index - 1 for index in others]
        return (attention(frame_index, state.prompts, others, rows, state.recent, self),)

    def choose(
        self, states: Sequence[PlainState], frame_index: int, candidates: Sequence[Candidates]
    ) -> tuple[Choice[PlainState], ...]:
        num_recent = max(self.num_memories, self.num_pointers) - 1
        return tuple(
            Choice(
                replace(state, recent=newest(state.recent, frame_index, num_recent)),
                (Branch(0, int(given.ious[0].argmax())),),
            )
            for state, given in zip(states, candidates, strict=True)
        )

    def held(self, state: PlainState) -> Held:
        prompts = records(state.prompts)
        last = state.recent[-1] if state.recent else 0
        readable = [index for index in state.recent if last - index < self.num_memories - 1]
        return Held(prompts | records(readable), prompts | records(state.recent))
