"""One suite that every kind of source passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidmem.errors import BadInput, SourceLost
from vidmem.ingest import Source, open_source
from vidmem.ingest.sampling import Ticks, Timed, on_display
from vidmem.types import View

KINDS = ["file", "transport stream", "decord", "folder", "list"]
NUM_PICTURES = 12


def _picture(index: int) -> np.ndarray:
    picture = np.full((48, 64, 3), index * 20, np.uint8)
    picture[:, : index * 5] = (255, 0, 0)
    return picture


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, video: Callable[[str], Path], tmp_path: Path) -> Iterator[Source]:
    kind = request.param
    if kind == "folder":
        for index in range(NUM_PICTURES):
            Image.fromarray(_picture(index)).save(tmp_path / f"picture{index}.png")
        opened = open_source(tmp_path, images_fps=4.0)
    elif kind == "list":
        opened = open_source([(3.0 + index**1.5 / 4, _picture(index)) for index in range(NUM_PICTURES)])
    elif kind == "transport stream":
        opened = open_source(video("late.ts"))
    else:
        if kind == "decord":
            pytest.importorskip("decord")
        opened = open_source(video("short-gop.mkv"), decoder="decord" if kind == "decord" else "auto")
    with opened:
        yield opened


def test_a_source_says_what_it_is(source: Source) -> None:
    assert isinstance(source, Source)
    info = source.info
    assert info.name
    assert info.width > 0 < info.height
    assert info.content_id is None or (len(info.content_id) == 16 and int(info.content_id, 16) >= 0)
    assert info == source.info


def test_times_rise_from_zero_and_views_have_their_size(source: Source) -> None:
    views = [View(32, 20), View(24, 24, keep_aspect=True), View(4000, 4000, keep_aspect=True)]
    frames = list(source.frames(fps=None, views=views))
    times = [frame.pts_seconds for frame in frames]
    assert times[0] == 0.0
    assert all(a < b for a, b in zip(times, times[1:], strict=False))
    width, height = source.info.width, source.info.height
    for frame in frames:
        squashed, fitted, whole = frame.views
        assert squashed.shape == (20, 32, 3)
        assert fitted.shape == (round(24 * height / width), 24, 3)
        assert whole.shape == (height, width, 3)
        assert all(view.dtype == np.uint8 and view.flags.c_contiguous for view in frame.views)
    assert source.decoded_until > times[-1]
    assert source.num_decoded >= len(frames)
    assert source.num_skipped == 0


@pytest.mark.parametrize(("fps", "start"), [(1.0, 0.0), (3.0, 0.7)])
def test_sampling_shows_what_is_on_display_at_each_tick(source: Source, fps: float, start: float) -> None:
    every = list(source.frames(fps=None, views=[View(32, 20)]))
    ends = [*(frame.pts_seconds for frame in every[1:]), source.decoded_until]
    timed = [Timed(frame.pts_seconds, end, frame) for frame, end in zip(every, ends, strict=True)]
    expected = [t.item for t in on_display(timed, Ticks(start, fps))]
    taken = list(source.frames(fps=fps, views=[View(32, 20)], start=start))
    assert [frame.pts_seconds for frame in taken] == [frame.pts_seconds for frame in expected]
    for ours, theirs in zip(taken, expected, strict=True):
        assert np.array_equal(ours.views[0], theirs.views[0])


def test_a_pass_can_be_left_and_begun_anew(source: Source) -> None:
    left = source.frames(fps=2.0, views=[])
    next(left)
    first = [frame.pts_seconds for frame in source.frames(fps=2.0, views=[])]
    second = [frame.pts_seconds for frame in source.frames(fps=2.0, views=[])]
    assert first == second
    assert first[0] == 0.0


def test_nothing_is_on_display_after_the_end(source: Source) -> None:
    assert list(source.frames(fps=1.0, views=[], start=1000.0)) == []


@pytest.mark.parametrize(
    "request_",
    [{"fps": 0.0, "views": []}, {"fps": 1.0, "views": [], "start": -1.0}, {"fps": 1.0, "views": [View(0, 9)]}],
    ids=["rate", "start", "view"],
)
def test_a_request_without_sense_is_refused(source: Source, request_: dict) -> None:
    with pytest.raises(BadInput, match="can't be"):
        source.frames(**request_)


def test_a_pass_that_was_ended_says_so(video: Callable[[str], Path]) -> None:
    with open_source(video("short-gop.mkv")) as source:
        left = source.frames(fps=5.0, views=[])
        next(left)
        list(source.frames(fps=5.0, views=[]))
        with pytest.raises(SourceLost, match="read anew"):
            list(left)
