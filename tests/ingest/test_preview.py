"""Small copies for browsers: which videos need one, and that its times are those of the index."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vidmem.errors import CorruptMedia
from vidmem.ingest import open_source
from vidmem.ingest.preview import make_preview, make_slideshow, plays_in_browsers
from vidmem.types import View


def write(path: Path, codec: str, *, pix_fmt: str = "yuv420p", late: float = 0.0) -> Path:
    """Four seconds at ten frames a second, each picture a little lighter than the one before."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 90, pix_fmt
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((90, 160, 3), 20 + 5 * number, np.uint8)).reformat(
                format=pix_fmt
            )
            frame.pts = number + round(10 * late)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "plays"),
    [
        ("a.mp4", "libx264", True),
        ("a.webm", "libvpx-vp9", True),
        ("a.mkv", "libx264", False),
        ("a.avi", "mpeg4", False),
        ("a.ts", "libx264", False),
        ("a.mp4", "libx265", False),
    ],
)
def test_what_browsers_play(tmp_path: Path, name: str, codec: str, plays: bool) -> None:
    assert plays_in_browsers(write(tmp_path / name, codec)) is plays


def test_ten_bits_are_more_than_browsers_play(tmp_path: Path) -> None:
    assert not plays_in_browsers(write(tmp_path / "a.mp4", "libx264", pix_fmt="yuv420p10le"))


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.avi"])
def test_a_copy_plays_and_shows_the_same_picture_at_the_same_time(tmp_path: Path, name: str) -> None:
    original = write(tmp_path / name, "mpeg4" if name == "a.avi" else "libx264", late=1.5 if name == "a.mkv" else 0.0)
    copy, told = tmp_path / "copy.mp4", []
    make_preview(original, copy, progress=lambda done, duration: told.append(done))
    assert plays_in_browsers(copy) and told == sorted(told) and len(told) == 40
    view = View(160, 90)
    with open_source(original) as one, open_source(copy) as other:
        both = list(zip(one.frames(fps=5, views=(view,)), other.frames(fps=5, views=(view,)), strict=True))
    assert len(both) == 20
    for was, shown in both:
        assert shown.pts_seconds == pytest.approx(was.pts_seconds, abs=0.001)
        assert abs(float(was.views[0].mean()) - float(shown.views[0].mean())) < 4


def test_a_copy_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: float, duration: float | None) -> None:
        if done > 1:
            raise KeyboardInterrupt

    original = write(tmp_path / "a.avi", "mpeg4")
    with pytest.raises(KeyboardInterrupt):
        make_preview(original, tmp_path / "copy.mp4", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]


def test_pictures_become_a_video_with_their_times(tmp_path: Path) -> None:
    pictures = []
    for number, seconds in enumerate((0.0, 2.0, 90.5)):
        path = tmp_path / f"{number}.jpg"
        Image.new("RGB", (161, 91), (60 * number, 80, 80)).save(path)
        pictures.append((seconds, str(path)))
    make_slideshow(pictures, tmp_path / "shown.mp4")
    with open_source(tmp_path / "shown.mp4") as source:
        assert [frame.pts_seconds for frame in source.frames(fps=None, views=(View(160, 90),))] == [0.0, 2.0, 90.5]
    with pytest.raises(CorruptMedia):
        make_slideshow([], tmp_path / "none.mp4")
