"""A tracker that knows the truth of a clip: what the composition makes of objects, whatever a network can see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vidmem.models.tracker import Change, FrameResult, ObjectResult, Prompt, Proposal, ProposalConfig
from vidmem.models.tracking.results import pixel_boxes
from vidmem.types import View
from vidmem.world.render import Renderer
from vidmem.world.script import Script

_LEAST_PIXELS = 60


class KnowingTracker:
    """Has the surface of `Tracker`; a prompt's mask means the thing that it covers most."""

    def __init__(self, script: Script, size: tuple[int, int]) -> None:
        """`size` is the width and height of the pictures."""
        self.view = View(64, 64)
        self._script, self._renderer = script, Renderer(*size)
        self._stay_of: dict[int, object] = {}
        self._lost: dict[int, float] = {}
        self._seconds = 0.0

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(self._stay_of)

    def step(
        self,
        picture: np.ndarray,
        seconds: float,
        *,
        frame_size: tuple[int, int] | None = None,
        prompts: Sequence[Prompt] = (),
    ) -> FrameResult:
        self._seconds = seconds
        for prompt in prompts:
            self._take(prompt)
        return self._result()

    def prompt(self, prompt: Prompt) -> FrameResult:
        self._take(prompt)
        return self._result()

    def remove(self, object_id: int) -> None:
        del self._stay_of[object_id]
        self._lost.pop(object_id, None)

    def propose(self, config: ProposalConfig | None = None) -> list[Proposal]:
        masks = [mask for mask in self._shown().values() if mask.sum() >= _LEAST_PIXELS]
        boxes = pixel_boxes(torch.stack(masks)) if masks else []
        return [
            Proposal(_logits(mask), mask, box, 0.9) for mask, box in zip(masks, boxes, strict=True) if box is not None
        ]

    def _shown(self) -> dict[int, Tensor]:
        chapter = self._script.chapter_at(self._seconds)
        return {id(item.stay): torch.from_numpy(item.mask) for item in self._renderer.shown(chapter, self._seconds)}

    def _take(self, prompt: Prompt) -> None:
        assert prompt.mask is not None
        mask = torch.as_tensor(prompt.mask)
        shown = self._shown()
        self._stay_of[prompt.object_id] = max(shown, key=lambda stay: int((shown[stay] & mask).sum()))

    def _result(self) -> FrameResult:
        shown, changes, objects = self._shown(), [], []
        nothing = torch.zeros(self._renderer.height, self._renderer.width, dtype=torch.bool)
        for number, stay in self._stay_of.items():
            mask = shown.get(stay, nothing)
            visible = int(mask.sum()) >= _LEAST_PIXELS
            if visible == (number in self._lost):
                changes.append(Change(number, "back" if visible else "lost", self._seconds))
                self._lost.pop(number, None) if visible else self._lost.update({number: self._seconds})
            (box,) = pixel_boxes(mask[None])
            score = 5.0 if visible else -5.0
            objects.append(ObjectResult(number, mask, _logits(mask), box, 0.9, score, visible, self._lost.get(number)))
        return FrameResult(self._seconds, 0, tuple(objects), tuple(changes))


def _logits(mask: Tensor) -> Tensor:
    return mask.float() * 20 - 10
