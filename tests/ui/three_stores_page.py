"""A page with nothing but the three stores, over the same frames under each policy, for the tests in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from scene_store import FRAMES, write_scenes

from vidmem.index import Store
from vidmem.memory import MemoryConfig, policies
from vidmem.pipelines.contents import contents_of
from vidmem.pipelines.growth import Growth
from vidmem.pipelines.remembering import Memories
from vidmem.pipelines.tiers import tiers_of
from vidmem.pipelines.timeline import Timelines
from vidmem.pipelines.writing import jpeg
from vidmem.ui.drawn import drawn
from vidmem.ui.three_stores import Look, three_stores

SCENES = 15
EMPTY = "nothing"


def coloured(number: int) -> bytes:
    """A picture of the colour of a frame's scene, a little darker with each of its frames."""
    first = number - number % FRAMES
    colour = (first * 2, 128, 255 - first * 2 - 8 * (number - first))
    return jpeg(np.full((60, 96, 3), colour, np.uint8))


def told(store: Store, policy: str, summary: str) -> dict[str, Any]:
    timelines = Timelines(store)
    config = MemoryConfig(working_max_frames=24, working_min_frames=12, max_elements=30, policy=policy)
    memories = Memories(store, config, timelines)
    (video,) = store.videos()
    memory = memories.of(video)
    memory.read(torch.eye(6)[:3])
    contents = contents_of(memory, timelines.of(video))
    tiers = tiers_of(memory.state(), (), store.state())
    return three_stores(Look(contents, summary, Growth(memories).of(video), tiers))


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Serve the page, with a button for each policy; gives its address and what each of them shows."""
    values: dict[str, Any] = {EMPTY: None}
    with write_scenes(folder, SCENES, name="<img src=x>.mp4", picture=coloured) as store:
        values |= {one.name: told(store, one.name, one.summary) for one in policies()}
    with gr.Blocks(analytics_enabled=False) as page:
        for number, name in enumerate(values):
            gr.Button(name, elem_id=f"show-{number}")
        view = drawn("three_stores", "memory")
        for number, name in enumerate(values):
            button = next(one for one in page.blocks.values() if one.elem_id == f"show-{number}")
            button.click(lambda name=name: gr.HTML(value=values[name]), None, view)  # type: ignore[attr-defined]
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False, allowed_paths=[str(folder)]
        )
        yield address, values
    finally:
        page.close()
