"""Pictures that a caller hands over as they come."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from vidmem.bench.live_camera import held
from vidmem.errors import BadInput
from vidmem.ingest.live import Gap, LiveConfig, LiveFrame, Patience, Phase, open_live, open_pushed
from vidmem.types import View

VIEW = View(32, 32)


def picture(shade: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), shade, np.uint8)


def shade_of(frame: LiveFrame) -> int:
    return round(float(frame.views[0].mean()))


def test_pictures_come_in_order_with_the_times_at_which_they_were_handed_over() -> None:
    before = held()
    with open_pushed("desk", picture(0), views=[VIEW], config=LiveConfig(policy="block")) as source:
        assert (source.info.uri, source.info.name, source.info.width, source.info.height) == (
            "pushed:desk",
            "desk",
            64,
            48,
        )
        pushed = [time.monotonic()]
        for shade in range(10, 100, 10):
            time.sleep(0.02)
            pushed.append(time.monotonic())
            source.push(picture(shade))
        iterator = iter(source)
        frames = [next(iterator) for _ in range(10)]
        assert source.health().state is Phase.LIVE and source.health().pictures == 10
    assert all(isinstance(frame, LiveFrame) for frame in frames)
    assert [shade_of(frame) for frame in frames] == list(range(0, 100, 10))  # type: ignore[arg-type]
    assert all(frame.views[0].shape == (32, 32, 3) for frame in frames)  # type: ignore[union-attr]
    times = [frame.pts_seconds for frame in frames]  # type: ignore[union-attr]
    assert times[0] == 0.0 and times == sorted(set(times))
    for frame, at in zip(frames[1:], pushed[1:], strict=True):
        # It was taken after it was handed over, and its place tells when.
        assert frame.arrived >= at  # type: ignore[union-attr]
        assert frame.pts_seconds == pytest.approx(frame.arrived - frames[0].arrived, abs=1e-6)  # type: ignore[union-attr]
    assert source.health().state is Phase.ENDED and held() == before


def test_only_so_many_a_second_are_taken_and_the_others_are_seen_all_the_same() -> None:
    with open_pushed("desk", picture(0), fps=5.0, views=[VIEW], config=LiveConfig(queue_frames=100)) as source:
        begun = time.monotonic()
        while time.monotonic() - begun < 1.0:
            source.push(picture(9))
            time.sleep(0.01)
        health = source.health()
        assert health.frames <= (time.monotonic() - begun) * 5 + 2 and health.pictures > 2 * health.frames


def test_silence_is_a_gap_that_the_next_picture_ends() -> None:
    config = LiveConfig(patience=Patience(stall_seconds=0.3))
    with open_pushed("desk", picture(0), views=[VIEW], config=config) as source:
        items = iter(source)
        first = next(items)
        while source.health().state is not Phase.WAITING:
            time.sleep(0.02)
        assert (source.health().outage_seconds or 0) > 0 and source.health().reason == "the stream froze"
        source.push(picture(50))
        gap, frame = next(items), next(items)
        assert isinstance(gap, Gap) and isinstance(frame, LiveFrame) and isinstance(first, LiveFrame)
        assert gap.start == first.pts_seconds and gap.end == frame.pts_seconds and gap.end - gap.start >= 0.3
        assert gap.wall_end - gap.wall_start == pytest.approx(gap.end - gap.start, abs=0.05)
        assert source.health().state is Phase.LIVE and source.health().reconnects == 1 and frame.epoch == 2


def test_who_is_slow_drops_the_oldest_and_that_is_counted() -> None:
    with open_pushed("desk", picture(0), views=[VIEW], config=LiveConfig(queue_frames=4)) as source:
        for shade in range(1, 20):
            source.push(picture(shade))
        health = source.health()
        assert (health.waiting, health.frames, health.dropped) == (4, 20, 16)
        kept = [next(iter(source)) for _ in range(4)]
        assert [shade_of(frame) for frame in kept] == [16, 17, 18, 19]  # type: ignore[arg-type]


def test_the_size_may_change() -> None:
    with open_pushed("desk", picture(0), views=[View(100, 100, keep_aspect=True)]) as source:
        source.push(picture(5, width=40, height=80))
        items = iter(source)
        assert [next(items).views[0].shape for _ in range(2)] == [(48, 64, 3), (80, 40, 3)]  # type: ignore[union-attr]
        assert (source.health().width, source.health().height) == (40, 80)


def test_many_threads_may_hand_over_at_once() -> None:
    with open_pushed("desk", picture(0), views=[VIEW], config=LiveConfig(queue_frames=1000)) as source:
        threads = [threading.Thread(target=lambda: [source.push(picture(7)) for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        items = iter(source)
        times = [next(items).pts_seconds for _ in range(201)]  # type: ignore[union-attr]
        assert times == sorted(set(times))


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused_in_one_sentence(wrong: np.ndarray) -> None:
    with pytest.raises(BadInput, match=r"give uint8 \(H, W, 3\)"):
        open_pushed("desk", wrong)
    with open_pushed("desk", picture(0)) as source, pytest.raises(BadInput, match="desk was given"):
        source.push(wrong)


def test_after_the_end_nothing_is_taken() -> None:
    source = open_pushed("desk", picture(0))
    source.close()
    with pytest.raises(BadInput, match="desk was stopped"):
        source.push(picture(1))
    with pytest.raises(BadInput, match="needs a name"):
        open_pushed("  ", picture(0))


def test_nothing_can_be_handed_to_a_stream_with_an_address(video: object) -> None:
    with open_live(str(video)) as source, pytest.raises(BadInput, match="pictures of its own"):
        source.push(picture(1))
