"""Whether a clip that is streamed through our tracker gets the masks that the `sam2` package gives the whole video."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidmem.bench.track_package import package_predictor, propagated, write_folder
from vidmem.models.sam_config import SamConfig
from vidmem.models.tracker import Tracker
from vidmem.models.tracking.prompts import Prompt


def identical_masks(model: Any, config: SamConfig, frames: Sequence[np.ndarray], prompt: Prompt) -> float:
    """The share of frames whose masks are the same, pixel by pixel; both get the frames as JPEGs.

    Args:
        frames: uint8 RGB (H, W, 3), `max_obj_ptrs_in_encoder` of them or more.
        prompt: on the first.
    """
    with tempfile.TemporaryDirectory() as folder:
        decoded = write_folder(frames, Path(folder))
        tracker = Tracker(model, selection="sam2")
        package = propagated(package_predictor(model, config), Path(folder), [prompt], dtype=torch.float32)
        same = 0
        for index, (frame, theirs) in enumerate(zip(decoded, package, strict=True)):
            ours = tracker.step(frame, float(index), prompts=() if index else [prompt])[prompt.object_id].mask
            same += torch.equal(ours, theirs[prompt.object_id] > 0)
    return same / len(decoded)
