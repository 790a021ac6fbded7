"""Random models, a camera, and short counted video."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "live"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

from camera import need_gstreamer
from random_models import write_preset

from vidmem.bench.live_camera import Camera
from vidmem.world.counted import counted_video


@pytest.fixture(scope="session")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of counted world video."""
    return counted_video(tmp_path_factory.mktemp("watched") / "counted.mp4", seconds=60)


@pytest.fixture
def camera(video: Path) -> Iterator[Camera]:
    need_gstreamer()
    with Camera(video) as camera:
        yield camera
