"""A page with nothing but a player and its timeline, over a film of two hours, for the tests in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import gradio as gr
import numpy as np
from PIL import Image

from vidmem.types import Hit, Span, VideoId
from vidmem.ui.player import timeline_of
from vidmem.ui.timeline import Followed, evidence_lane, lanes_of, timeline

HOURS = 2
SECONDS = HOURS * 3600.0
HITS = tuple(
    Hit(VideoId("0" * 16), "film.mp4", start, end, 0.3, rank, why="looks like 'a dog'")
    for rank, (start, end) in enumerate([(4000.0, 4012.0), (600.0, 640.0)])
)


@dataclass(frozen=True)
class Shown:
    start: float
    end: float
    thumbnail: str | None


def film(path: Path, seconds: float = SECONDS) -> None:
    """Two hours with a picture every 10 seconds, each of another colour; or less."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1, 10), options={"preset": "ultrafast", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 160, 100, "yuv420p"
        for number in range(int(seconds) // 10):
            picture = np.full((100, 160, 3), (number * 7 % 256, number * 3 % 256, 120), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())


def scenes(folder: Path) -> list[Shown]:
    """A scene every 5 seconds, but for one of 20 minutes at the beginning."""
    pictures = []
    for number in range(12):
        pictures.append(str(folder / f"{number:02d}.jpg"))
        Image.new("RGB", (160, 100), (20 * number, 90, 255 - 20 * number)).save(pictures[-1])
    starts = [0.0, *np.arange(1200.0, SECONDS, 5.0).tolist()]
    ends = [*starts[1:], SECONDS]
    return [Shown(start, end, pictures[i % 12]) for i, (start, end) in enumerate(zip(starts, ends, strict=True))]


def told(folder: Path) -> dict[str, Any]:
    objects = [
        Followed("dog", [Span(300, 900), Span(3000, 3002)], str(folder / "03.jpg")),
        Followed("red umbrella", [Span(610, 1800)], str(folder / "05.jpg")),
        Followed("<img src=x>", [Span(2000, 2600)]),
    ]
    lanes = lanes_of(SECONDS, scenes=scenes(folder), objects=objects, gaps=[Span(5000, 5400)])
    return timeline(SECONDS, lanes)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the page, with buttons that show the video's timeline and an answer's evidence; gives its address."""
    film(folder / "film.mp4")
    value = told(folder)
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Video(str(folder / "film.mp4"), interactive=False, elem_id="player", height=300)
        under = timeline_of("#player video")
        gr.Button("Show", elem_id="show").click(lambda: gr.HTML(value=value), None, under)
        cited = timeline(SECONDS, [evidence_lane(HITS, HITS[0].video_id, SECONDS)])
        gr.Button("Answer", elem_id="answer").click(lambda: gr.HTML(evidence=cited), None, under)
        gr.Button("Forget", elem_id="forget").click(lambda: gr.HTML(evidence=None), None, under)
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False, allowed_paths=[str(folder)]
        )
        yield address
    finally:
        page.close()
