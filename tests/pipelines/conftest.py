from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))
from random_models import write_preset

FPS = 5


def picture(second: int, width: int = 160, height: int = 96) -> np.ndarray:
    """A picture that tells its second: another colour and place of a square every second."""
    rng = np.random.default_rng(second)
    image = np.full((height, width, 3), rng.integers(0, 255, 3), dtype=np.uint8)
    left = int(rng.integers(0, width - 40))
    image[20:60, left : left + 40] = rng.integers(0, 255, 3)
    return image


def pictures(seconds: int) -> Iterator[tuple[float, np.ndarray]]:
    return ((float(second), picture(second)) for second in range(seconds))


def write_video(path: Path, seconds: int) -> Path:
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "5"}
        for index in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(picture(index // FPS), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "minute.mp4", 60)


@pytest.fixture(scope="session")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "short.mp4", 12)


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every clip is committed by itself, before the next but one is encoded, so that a test can stop between two."""
    monkeypatch.setattr("vidmem.pipelines.ingest.CLIPS_TOGETHER", 1)
