"""A store of one video that no model was needed for: scenes that are apart, with a little noise within each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vidmem.index import FrameRows, Store, StoreIdentity, VideoRow
from vidmem.types import Span, VideoId

IDENTITY = StoreIdentity("tiny", "encoder", "e1", "language", "l1", 6, 4, 3, "moviechat")
FRAMES = 8
"""Of a scene, each a second long."""


def write_scenes(folder: Path, num_scenes: int, *, name: str = "a.mp4", picture: Callable[[int], bytes]) -> Store:
    """A store in a folder, with a clip for each scene; `picture` gives the JPEG of a frame's number."""
    store = Store.open(folder / "a.vidmem", IDENTITY)
    video = VideoRow(VideoId("a"), "content", "settings", "/videos/a.mp4", name)
    store.begin_video(video)
    random = np.random.default_rng(1)
    scenes = random.normal(size=(num_scenes, 6))
    keys = np.repeat(scenes, FRAMES, axis=0) + 0.1 * random.normal(size=(num_scenes * FRAMES, 6))
    keys = (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32)
    for first in range(0, num_scenes * FRAMES, FRAMES):
        tokens = torch.from_numpy(random.normal(size=(FRAMES, 4, 3))).half()
        pictures = [picture(number) for number in range(first, first + FRAMES)]
        rows = FrameRows(first + np.arange(float(FRAMES)), keys[first : first + FRAMES], tokens, pictures)
        store.append_clip(video.video_id, Span(first, first + FRAMES), rows)
    return store
