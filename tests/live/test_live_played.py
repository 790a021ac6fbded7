"""A file that is played as if it were a camera."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vidmem.bench.live_camera import held
from vidmem.errors import CorruptMedia
from vidmem.ingest.live import LiveConfig, LiveFrame, Phase, open_live
from vidmem.world.counted import FPS, VIEW, counted_video, number_of


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counted_video(tmp_path_factory.mktemp("played") / "short.mp4", seconds=3)


def test_a_file_comes_whole_at_its_own_pace_and_ends(short: Path) -> None:
    before = held()
    begun = time.monotonic()
    with open_live(str(short), views=[VIEW], config=LiveConfig(policy="block")) as source:
        frames = [item for item in source if isinstance(item, LiveFrame)]
        assert source.health().state is Phase.ENDED
        assert (source.info.name, source.info.codec) == ("short.mp4", "h264")
    assert [number_of(frame.views[0]) for frame in frames] == list(range(30))
    assert [frame.pts_seconds for frame in frames] == pytest.approx([index / FPS for index in range(30)])
    # Nothing comes before its time.
    assert all(frame.arrived - begun >= frame.pts_seconds for frame in frames)
    assert [frame.wall_seconds - frames[0].wall_seconds for frame in frames] == pytest.approx(
        [frame.pts_seconds for frame in frames]
    )
    assert held() == before


def test_round_and_round_is_one_stream(short: Path) -> None:
    config = LiveConfig(policy="block", speed=100.0, loop=True)
    with open_live(str(short), fps=2.0, views=[VIEW], config=config) as source:
        frames = []
        for item in source:
            assert isinstance(item, LiveFrame)
            frames.append(item)
            if len(frames) == 15:
                break
    assert [number_of(frame.views[0]) for frame in frames] == [0, 5, 10, 15, 20, 25] * 2 + [0, 5, 10]
    assert [frame.pts_seconds for frame in frames] == pytest.approx([index / 2 for index in range(15)])


def test_played_too_fast_for_its_consumer_it_drops_and_counts(short: Path) -> None:
    with open_live(str(short), views=[VIEW], config=LiveConfig(speed=1e5, queue_frames=4)) as source:
        while source.health().state is not Phase.ENDED:
            time.sleep(0.01)
        left = [number_of(item.views[0]) for item in source if isinstance(item, LiveFrame)]
        assert left == [26, 27, 28, 29]
        assert (source.health().frames, source.health().dropped) == (30, 26)


def test_a_file_that_waits_hours_for_its_next_frame_closes_at_once(short: Path) -> None:
    before = held()
    source = open_live(str(short), config=LiveConfig(speed=1e-5))
    next(iter(source))
    source.close()
    assert held() == before


def test_a_damaged_file_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    with pytest.raises(CorruptMedia, match=r"bad\.mp4"):
        open_live(str(tmp_path / "bad.mp4"))
