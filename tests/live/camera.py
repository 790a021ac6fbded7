"""A camera to be watched and the video that it shows: fixtures of whoever imports them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vidmem.bench.live_camera import Camera, what_is_missing
from vidmem.world.counted import counted_video


def need_gstreamer() -> None:
    if (command := what_is_missing()) is not None:
        pytest.skip(f"NO RTSP SERVER HERE, SO NO CAMERA WAS TRIED: {command}")


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of counted world video."""
    return counted_video(tmp_path_factory.mktemp("counted") / "counted.mp4", seconds=60)


@pytest.fixture
def camera(video: Path) -> Iterator[Camera]:
    need_gstreamer()
    with Camera(video) as camera:
        yield camera
