"""Streams into a store: what comes is there, and is told in its time of day."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vidmem
from vidmem.bench.live_camera import Camera, held
from vidmem.errors import BadInput
from vidmem.pipelines import VideoMemory, Watch
from vidmem.pipelines.stream_clips import UNWATCHED
from vidmem.world.counted import FPS


def until(is_true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def is_accounted_for(watch: Watch) -> bool:
    """Whether every frame that came is told of. Only for a watch that ended by itself."""
    state = watch.state()
    return state.source.frames == state.source.dropped + state.source.waiting + state.thinned + state.taken


def test_a_played_file_is_all_there_and_knows_its_time_of_day(tmp_path: Path, preset: Path, video: Path) -> None:
    before = held()
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        begun = time.time()
        watch = memory.watch(str(video), fps=2.0, policy="block", speed=50.0)
        assert [state.address for state in memory.state().watching] == [str(video)]
        assert watch.wait(300)
        state = watch.state()
        assert (state.taken, state.committed, state.thinned, state.gaps, state.clips) == (120, 120, 0, 0, 60)
        assert is_accounted_for(watch) and state.lag_seconds is not None and state.waited_seconds is None
        pts, _ = memory._store.embeddings(watch.video_id)
        assert pts.tolist() == pytest.approx([k / 2 for k in range(120)])
        (stored,) = memory.videos()
        assert not stored.is_finished and stored.committed_until == pytest.approx(60.0, abs=0.2)
        clock = memory._store.stream_clock(watch.video_id)
        assert clock is not None and len(clock.starts) == 1 and not clock.gaps
        assert begun - 1 < clock.wall_at(0.0) < time.time()
        assert clock.wall_at(30.0) - clock.wall_at(0.0) == pytest.approx(30.0)
        assert memory.state().watching == ()
        assert memory.ask("What is there at 10 seconds?").evidence
        assert memory.verify() == []
    assert held() == before


def test_watched_again_it_goes_on_behind_a_gap(tmp_path: Path, preset: Path, video: Path) -> None:
    for _ in range(2):
        with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
            watch = memory.watch(str(video), fps=1.0, policy="block")
            until(lambda watch=watch: watch.state().clips >= 2)  # type: ignore[misc]
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        (stored,) = memory.videos()
        clock = memory._store.stream_clock(stored.video_id)
        assert clock is not None
        (gap,) = clock.gaps
        assert gap.reason == UNWATCHED
        assert gap.end - gap.start == pytest.approx(gap.wall_end - gap.wall_start)
        pts, _ = memory._store.embeddings(stored.video_id)
        assert not any(gap.start <= one < gap.end for one in pts.tolist())
        assert clock.wall_at(gap.end) == pytest.approx(gap.wall_end, abs=0.2)
        assert clock.place_of(gap.wall_end) == pytest.approx(gap.end, abs=0.2)
        # At another rate it is another video.
        with memory.watch(str(video), fps=4.0) as other:
            until(lambda: other.state().clips >= 1)
        assert len(memory.videos()) == 2
        memory.remove(stored.video_id)
        assert memory._store.stream_clock(other.video_id) is not None
        assert memory.verify() == []


class Slow:
    """Makes a memory's encoder wait before each clip: an overloaded machine."""

    def __init__(self, memory: VideoMemory, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.num_running = threading.Event(), 0
        self.sizes: list[int] = []
        """Frames in each call."""
        encode = memory._models.encoder.encode_frames

        def slowly(*args: object) -> object:
            self.num_running += 1
            self.sizes.append(len(args[0]))  # type: ignore[arg-type]
            self.gate.wait(120)
            return encode(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(memory._models.encoder, "encode_frames", slowly)


@pytest.mark.parametrize("mode", ["tokens", "kv"])
def test_clips_that_wait_are_looked_at_together_and_are_the_same_in_memory(
    tmp_path: Path, preset: Path, video: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    wanted = preset.with_name(f"{mode}.toml")
    wanted.write_text(preset.read_text().replace('mode = "tokens"', f'mode = "{mode}"'))

    def watched(name: str, *, behind: bool) -> tuple[list[int], list[np.ndarray]]:
        with vidmem.open(tmp_path / name, wanted) as memory:
            slow = Slow(memory, monkeypatch)
            watch = memory.watch(str(video), fps=2.0, policy="block", speed=50.0)
            if behind:
                until(lambda: watch.state().source.waiting == 16)
            slow.gate.set()
            assert watch.wait(300)
            state, store = watch.state(), memory._store
            assert (state.committed, state.clips) == (120, 60) and is_accounted_for(watch)
            pts, embeddings = store.embeddings(watch.video_id)
            clock = store.stream_clock(watch.video_id)
            assert clock is not None and memory.verify() == []
            walls = [clock.wall_at(second) - clock.wall_at(0.0) for second in pts.tolist()]
            evidence = [(hit.start, hit.end) for hit in memory.ask("What is there at 10 seconds?").evidence]
            return slow.sizes, [pts, embeddings, np.array(walls), np.array(evidence)]

    monkeypatch.setattr("vidmem.pipelines.watching._FRAMES_TOGETHER", 1)
    sizes, alone = watched("alone.vidmem", behind=False)
    monkeypatch.undo()
    together_sizes, together = watched("together.vidmem", behind=True)
    assert set(sizes) == {2} and max(together_sizes) == 8 and sum(together_sizes) == sum(sizes) == 120
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_an_overload_drops_what_it_counts_and_holds_no_more_than_its_queue(
    tmp_path: Path, preset: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        slow = Slow(memory, monkeypatch)
        watch = memory.watch(str(video), fps=10.0, speed=20.0)
        until(lambda: watch.state().source.frames == 600)
        state = watch.state()
        assert state.committed == 0 and state.taken <= 30 and state.source.waiting <= 16
        assert state.source.dropped >= 600 - 30 - 16
        assert state.waited_seconds is not None and state.waited_seconds > 0
        slow.gate.set()
        assert watch.wait(120)
        assert is_accounted_for(watch)
        assert watch.state().committed == watch.state().taken == memory.videos()[0].num_frames
        clock = memory._store.stream_clock(watch.video_id)
        assert clock is not None and [gap.end - gap.start > 10 for gap in clock.gaps] == [True]


def test_an_overload_lowers_the_rate(
    tmp_path: Path, preset: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        slow = Slow(memory, monkeypatch)
        watch = memory.watch(str(video), fps=10.0, policy="adaptive-fps", speed=2.0)
        until(lambda: watch.state().source.waiting >= 16)
        slow.gate.set()
        until(lambda: watch.state().stride > 1)
        assert watch.wait(120)
        state = watch.state()
        assert state.thinned > 0 and is_accounted_for(watch)
        assert state.committed == state.taken


def test_stopping_waits_for_nothing_but_the_clip_in_hand(tmp_path: Path, preset: Path, video: Path) -> None:
    before = held()
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        watch = memory.watch(str(video), fps=1.0, speed=1e-4)
        with pytest.raises(BadInput, match="being watched"):
            memory.watch(str(video), fps=1.0)
        watch.close()
        assert not watch.is_running and watch.state().committed == 0
        assert memory.videos() == []
        memory.discard_if_unused()
    assert not (tmp_path / "a.vidmem").exists()
    assert held() == before


def test_a_full_disk_ends_the_watch_and_is_told(
    tmp_path: Path, preset: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidmem.errors import StorageFull

    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        append = memory._store.append_clips
        num_done = 0

        def full(*args: object) -> None:
            nonlocal num_done
            if num_done == 3:
                raise StorageFull("no space is left")
            num_done += 1
            append(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(memory._store, "append_clips", full)
        watch = memory.watch(str(video), fps=1.0, policy="block", speed=20.0)
        with pytest.raises(StorageFull):
            watch.wait(120)
        assert watch.has_failed
        assert memory.videos()[0].num_clips == watch.state().clips > 0


def test_readers_ask_while_a_camera_is_watched(tmp_path: Path, preset: Path, camera: Camera) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        watch = memory.watch(camera.url, fps=5.0, policy="block")
        until(lambda: watch.state().clips >= 2)
        answers: list[int] = []
        failures: list[BaseException] = []

        def ask() -> None:
            try:
                with memory.reader() as reader:
                    for _ in range(3):
                        answers.append(len(reader.ask("When did the dog appear?").evidence))
            except BaseException as error:
                failures.append(error)

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join(120)
        assert failures == [] and len(answers) == 9 and min(answers) > 0
        seen = watch.state().clips
        until(lambda: watch.state().clips > seen)
        watch.close()
        assert watch.state().source.decode_errors == 0
        assert memory.verify() == []


def test_a_camera_that_went_away_leaves_a_gap_in_the_store(tmp_path: Path, preset: Path, camera: Camera) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        watch = memory.watch(camera.url, fps=float(FPS), policy="block")
        until(lambda: watch.state().clips >= 2)
        killed = time.time()
        camera.kill()
        until(lambda: watch.state().source.outage_seconds is not None)
        time.sleep(1.0)
        camera.start()
        back = time.time()
        until(lambda: watch.state().gaps == 1)
        clips = watch.state().clips
        until(lambda: watch.state().clips > clips)
        watch.close()
        clock = memory._store.stream_clock(watch.video_id)
        assert clock is not None
        (gap,) = clock.gaps
        # Whoever runs the tests may be busy with others.
        assert abs(gap.wall_start - killed) < 3 and -1 < gap.wall_end - back < 30
        assert gap.end - gap.start == pytest.approx(gap.wall_end - gap.wall_start, abs=0.2)
        assert clock.place_of(gap.wall_end) == pytest.approx(gap.end, abs=0.3)


def test_pictures_that_are_handed_over_are_watched_like_a_camera(tmp_path: Path, preset: Path) -> None:
    def shaded(shade: int) -> np.ndarray:
        return np.full((90, 160, 3), shade, np.uint8)

    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        watch = memory.watch_pushed("desk", shaded(0), fps=None, policy="block")
        with pytest.raises(BadInput, match="pushed:desk is being watched"):
            memory.watch_pushed("desk", shaded(0))
        begun = time.monotonic()
        while time.monotonic() - begun < 2.5:
            watch.push(shaded(round(50 * (time.monotonic() - begun))))
            time.sleep(0.1)
        until(lambda: watch.state().clips >= 2)
        watch.close()
        (stored,) = memory.videos()
        assert (stored.source, stored.name) == ("pushed:desk", "desk") and stored.num_frames >= 10
        assert memory.ask("What is there at 1 second?").evidence
        with pytest.raises(BadInput, match="desk was stopped"):
            watch.push(shaded(1))
        with memory.watch_pushed("desk", shaded(9), fps=None, policy="block") as again:
            assert again.video_id == watch.video_id
        assert memory.verify() == []
