"""A store with a video of the sample world and two objects followed in it, and the whole page over it, for tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))

from browsing import free_port
from follow_world import write_tracker
from object_truth import follow, things_of

import vidmem
from vidmem.index import ObjectId
from vidmem.models.preset import load_preset
from vidmem.types import VideoId
from vidmem.ui.access import Access
from vidmem.ui.app import serving
from vidmem.ui.limits import Limits
from vidmem.ui.session import Session
from vidmem.world.script import Script, ScriptConfig
from vidmem.world.video import encode, frames

SECONDS = 60.0
SCRIPT = Script(ScriptConfig(seed=7 * 10**12 + 20, duration=SECONDS))
"""A panda comes twice, to two places; so does a clock, which moves; there is an apple from 13 s to 18 s."""


@dataclass(frozen=True)
class World:
    folder: Path
    preset: Path
    video: Path
    store: Path
    video_id: VideoId
    objects: dict[str, ObjectId]


def tracking_tiny(folder: Path) -> Path:
    """The embedded models, with a tracker of random weights: it finds something wherever one points."""
    tiny = load_preset("tiny")
    tracker = write_tracker(folder / "sam")
    path = folder / "tracking.toml"
    text = (Path(vidmem.__file__).parent / "models" / "presets" / "tiny.toml").read_text(encoding="utf-8")
    text = text.replace('"../tiny/', f'"{(tiny.base / "../tiny").resolve()}/')
    path.write_text(text.replace(f'"{tiny.tracker.model}"', f'"{tracker}"'), encoding="utf-8")
    return path


def made(folder: Path) -> World:
    """Render, ingest, and remember the clock and the panda as a perfect tracker would have followed them."""
    preset, video, path = tracking_tiny(folder), folder / "street.mp4", folder / "street.vidmem"
    encode(video, frames(SCRIPT, fps=10, size=(320, 180)), fps=10, size=(320, 180), duration=SECONDS, progress=None)
    with vidmem.open(path, preset) as memory:
        video_id = memory.ingest(video, progress=False).video_id
        things = things_of(SCRIPT)
        objects = {name: follow(memory, SCRIPT, video_id, things[name, 0]) for name in ("panda", "clock")}
    return World(folder, preset, video, path, video_id, objects)


@contextmanager
def page_over(world: World) -> Iterator[tuple[str, Session]]:
    """The whole page; gives its address and what all pages share."""
    session = Session([world.store], preset=str(world.preset), limits=Limits(roots=(world.folder,)))
    with serving(session, Access(port=free_port())) as address:
        yield address, session
