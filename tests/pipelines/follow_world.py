"""What the tests of objects share: a tracker with random weights, and moving pictures for it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from lively_sam import HEIGHT, WIDTH, lively_sam, moving_clip, small_config
from PIL import Image
from safetensors.torch import save_model

from vidmem.index import ObjectId, ObjectUpdate, Origin
from vidmem.models.sam_config import write_config
from vidmem.models.tracker import ProposalConfig
from vidmem.pipelines.noticing import NoticeConfig
from vidmem.types import Frame

MASK = np.zeros((HEIGHT, WIDTH), dtype=bool)
MASK[10:30, 20:45] = True
"""The red box of `moving_clip` on its first frame."""
ANYTHING = NoticeConfig(
    max_followed=4,
    proposals=ProposalConfig(grid=4, min_iou=0.0, min_stability=0.0, min_share=0.001, max_share=1.0, max_iou=0.99),
)
"""Whatever a network of random weights proposes."""
SIDE = 64
"""Of the tracker's square."""


def write_tracker(folder: Path, *, absent_below: float | None = None) -> Path:
    """A tracker's folder; `absent_below` as of `lively_sam`: about 0.15 loses objects now and then."""
    folder.mkdir()
    config = small_config()
    write_config(config, folder / "config.json")
    save_model(lively_sam(config, absent_below=absent_below), str(folder / "model.safetensors"))
    return folder


def add_tracker(preset: Path, folder: Path, name: str) -> Path:
    """A copy of a preset file beside it, with a tracker."""
    path = preset.with_name(f"{name}.toml")
    path.write_text(f'{preset.read_text()}[tracker]\nmodel = "{folder}"\n')
    return path


def frames(num_frames: int, *, fps: float = 5.0) -> list[Frame]:
    """With the tracker's view and the picture itself."""
    made = []
    for index, picture in enumerate(moving_clip(num_frames)):
        square = np.array(Image.fromarray(picture).resize((SIDE, SIDE)))
        made.append(Frame(index / fps, (square, picture)))
    return made


def write_moving(path: Path, num_frames: int, *, fps: int = 5) -> Path:
    """The same as a file; H.264 needs even sides, which `moving_clip` has."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "5"}
        for picture in moving_clip(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_changing(path: Path) -> Path:
    """Ten frames of `moving_clip` at 5 fps as a transport stream, the last five in a frame that stands upright."""
    pictures = [picture if index < 5 else picture.swapaxes(0, 1) for index, picture in enumerate(moving_clip(10))]
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for first in (0, 5):
            encoder = av.CodecContext.create("libx264", "w")
            height, width = pictures[first].shape[:2]
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.options = Fraction(1, 5), {"preset": "ultrafast", "tune": "zerolatency"}
            for index, picture in enumerate(pictures[first : first + 5], first):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts = index
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
    return path


class Notebook:
    """A keeper that writes all down."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float, Origin]] = []
        self.commits: list[list[ObjectUpdate]] = []

    def add(self, *, label: str, label_score: float, origin: Origin) -> ObjectId:
        self.begun.append((label, label_score, origin))
        return ObjectId(len(self.begun) * 10)

    def extend(self, updates: Sequence[ObjectUpdate]) -> None:
        self.commits.append(list(updates))

    def of(self, object_id: int) -> list[ObjectUpdate]:
        return [update for commit in self.commits for update in commit if update.object_id == object_id]
