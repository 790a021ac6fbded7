"""The world as frames and as files: lazy, exact in time, the same every time, true to its script."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vidmem.errors import BadInput, NotFound, StorageFull
from vidmem.world.render import Renderer
from vidmem.world.script import Script, ScriptConfig
from vidmem.world.truth import load_truth
from vidmem.world.video import frames, render_file

SMALL = (160, 90)


def script(duration: float = 20.0, seed: int = 3) -> Script:
    return Script(ScriptConfig(seed=seed, duration=duration))


def test_frames_equal_the_plain_renderer_at_every_moment() -> None:
    world, renderer = script(), Renderer(*SMALL)
    for seconds, picture in frames(world, fps=5, size=SMALL):
        assert np.array_equal(picture, renderer.frame(world, seconds))


def test_frames_come_at_exact_times() -> None:
    times = [seconds for seconds, _ in frames(script(2.0), fps=30, size=SMALL)]
    assert times == [float(Fraction(k, 30)) for k in range(60)]
    assert [s for s, _ in frames(script(9.0), fps=2, size=SMALL, start=3.25, end=5.0)] == [3.25, 3.75, 4.25, 4.75]


def test_a_frame_that_did_not_change_is_the_same_array_and_cannot_be_written() -> None:
    pictures = [picture for _, picture in frames(script(), fps=30, size=SMALL)]
    assert len({id(picture) for picture in pictures}) < len(pictures) / 2
    with pytest.raises(ValueError, match="read-only"):
        pictures[0][0, 0] = 0


def test_a_moment_of_a_day_is_shown_without_the_hours_before_it() -> None:
    world = script(24 * 3600.0)
    [(seconds, picture)] = list(itertools.islice(frames(world, fps=1, size=SMALL, start=80_000.0), 1))
    assert seconds == 80_000.0 and picture.shape == (90, 160, 3)
    assert world.chapter.cache_info().currsize == 1


def test_a_file_shows_what_its_script_says(tmp_path: Path) -> None:
    path = tmp_path / "w.mp4"
    truth_path = render_file(path, seed=3, duration=8.0, size=SMALL, fps=25)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 25)
        decoded = list(container.decode(stream))
    assert [frame.time for frame in decoded] == pytest.approx([k / 25 for k in range(200)], abs=1e-6)
    drawn = [picture for _, picture in frames(script(8.0), fps=25, size=SMALL)]
    for frame, picture in list(zip(decoded, drawn, strict=True))[::20]:
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - picture).mean() < 8
    assert len(load_truth(truth_path)) >= 12


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    for path in (first, second):
        render_file(path, seed=5, duration=4.0, size=SMALL, fps=10, needle="key")
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".json").read_text() == second.with_suffix(".json").read_text().replace("b.mp4", "a.mp4")


def test_an_interrupted_render_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "w.mp4"
    path.write_bytes(b"before")

    def stop(done: float, total: float) -> None:
        if done > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_file(path, seed=5, duration=4.0, size=SMALL, fps=10, progress=stop)
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.mp4"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": (161, 90)}, "161x90"),
        ({"duration": 0.0}, "1 second or more"),
        ({"duration": 0.2}, "1 second or more"),
        ({"fps": 0}, "frame rate"),
        ({"needle": "unicorn"}, "unicorn"),
    ],
)
def test_what_cannot_be_rendered_is_said(tmp_path: Path, change: dict, words: str) -> None:
    arguments = {"seed": 1, "duration": 2.0, "size": SMALL, **change}
    with pytest.raises(BadInput, match=words):
        render_file(tmp_path / "w.mp4", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder"):
        render_file(tmp_path / "none" / "w.mp4", seed=1, duration=2.0)


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "w.mp4").mkdir()
    with pytest.raises(StorageFull, match="could not be written"):
        render_file(tmp_path / "w.mp4", seed=1, duration=2.0, size=SMALL, fps=2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.mp4"]
