"""Objects of what never was a file: followed through the pictures that the store has of a stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from follow_world import ANYTHING, MASK, add_tracker, write_moving, write_tracker
from lively_sam import moving_clip

import vidmem
from vidmem import Retention
from vidmem.errors import BadInput
from vidmem.index import Expired, FrameId, StoredVideo, StreamClock
from vidmem.pipelines import VideoMemory, object_watch, open_store, retention, stored_tracking
from vidmem.pipelines.stored_tracking import gaps_of
from vidmem.pipelines.timeline import Timeline
from vidmem.types import Gap, Span, VideoId

SECONDS = 12


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving(tmp_path_factory.mktemp("moving") / "moving.mp4", SECONDS * 5)


@pytest.fixture(scope="module")
def tracking_preset(preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_tracker(preset, write_tracker(tmp_path_factory.mktemp("sam") / "sam"), "streams")


@pytest.fixture
def memory(tracking_preset: Path, tmp_path: Path) -> Iterator[VideoMemory]:
    with vidmem.open(tmp_path / "stream.vidmem", tracking_preset) as opened:
        yield opened


def watch(memory: VideoMemory, moving: Path) -> VideoId:
    """The whole of it, two frames a second, in a moment."""
    with memory.watch(str(moving), fps=2.0, policy="block", speed=50.0) as watched:
        assert watched.wait(200)
    return watched.video_id


def looking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "vidmem-objects"]


def times(memory: VideoMemory, video: VideoId) -> np.ndarray:
    return memory._store.embeddings(video)[0]


def test_what_is_pointed_at_is_followed_through_the_frames_that_were_kept(memory: VideoMemory, moving: Path) -> None:
    video = watch(memory, moving)
    done = memory.track(video, 2.0, mask=MASK, label="red box", selection="sam2", progress=False)
    pts = times(memory, video)
    track = memory.track_of(done.object_id)
    assert track.seconds.tolist() == pts[pts >= 2.0].tolist() and done.notes == ()
    assert done.spans and done.spans[0].start == 2.0 and done.spans[-1].end <= SECONDS
    found = memory.where("the red box")
    assert found is not None and found.from_track and found.last_seen == done.spans[-1].end
    assert found.thumbnail is not None and Path(found.thumbnail).is_file()


def test_a_box_is_in_the_pixels_of_the_stream(memory: VideoMemory, moving: Path) -> None:
    video = watch(memory, moving)
    rows, columns = np.nonzero(MASK)
    box = columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()
    height, width = MASK.shape
    shares = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    one = memory.track(video, 0.0, box=box, label="one", selection="sam2", progress=False)
    other = memory.track(video, 0.0, box=shares, in_fractions=True, label="other", selection="sam2", progress=False)
    tracks = [memory.track_of(done.object_id) for done in (one, other)]
    assert np.array_equal(tracks[0].boxes, tracks[1].boxes, equal_nan=True)


def test_objects_are_found_in_what_came_since_the_last_time(memory: VideoMemory, moving: Path) -> None:
    video = watch(memory, moving)
    (begun,) = memory.find_objects(video, config=ANYTHING, selection="sam2", until=5.0, progress=False)
    reached = times(memory, video)[times(memory, video) < 5.0][-1]
    assert begun.object_ids and begun.tracked_until == reached
    video = watch(memory, moving)  # the same stream again, behind a gap
    (done,) = memory.find_objects(config=ANYTHING, selection="sam2", progress=False)
    pts = times(memory, video)
    assert (done.resumed_from, done.tracked_until) == (reached, pts[-1]) and pts[-1] > SECONDS
    assert set(begun.object_ids) <= set(done.object_ids)
    for known in memory.objects():
        assert np.isin(memory.track_of(known.object_id).seconds, pts).all()


def test_objects_are_found_while_it_is_watched(
    memory: VideoMemory, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_watch, "LOOK_SECONDS", 2.0)
    monkeypatch.setattr(object_watch, "NoticeConfig", lambda: ANYTHING)
    with memory.watch(str(moving), fps=2.0, loop=True, speed=2.0, objects=True) as watched, memory.reader() as reader:
        deadline = time.monotonic() + 250
        while not (known := reader.objects()) or max(one.tracked_until or 0.0 for one in known) < 5.0:
            assert time.monotonic() < deadline, "no objects were found, or not for long"
            time.sleep(0.2)
        assert watched.is_running and all(one.origin == "found" for one in known)
    memory.close()
    assert not looking()
    with open_store(memory.path) as stored:
        assert {one.object_id for one in known} <= {one.object_id for one in stored.objects()}


def test_it_ends_with_its_watch_and_what_nobody_foresaw_is_raised(
    memory: VideoMemory, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_watch, "LOOK_SECONDS", 0.1)
    looked = threading.Event()

    def look(self: object, *args: object, behind: float) -> None:
        looked.set()
        raise RuntimeError(f"no pass from {behind:.0f}")

    monkeypatch.setattr(object_watch.StoredTracking, "find", look)
    with memory.watch(str(moving), fps=2.0, loop=True, objects=True):
        assert looked.wait(200)
    with pytest.raises(RuntimeError, match="no pass from 0"):
        memory.close()
    assert not looking()


def test_a_pass_ends_with_its_watch(memory: VideoMemory, moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_watch, "LOOK_SECONDS", 0.1)
    begun = threading.Event()

    def follow(*args: object, progress: Callable[[float, float | None], None], **options: object) -> None:
        begun.set()
        while True:
            progress(0.0, None)
            time.sleep(0.01)

    monkeypatch.setattr(stored_tracking, "follow", follow)
    with memory.watch(str(moving), fps=2.0, loop=True, objects=True):
        assert begun.wait(200)
    for thread in looking():
        thread.join(200)
    assert not looking()


def test_what_has_left_between_two_clips_is_a_gap_too() -> None:
    def line(until: float) -> Timeline:
        clock = StreamClock(np.zeros(1), np.zeros(1), (Gap(20.0, 30.0, 20.0, 30.0, "it was lost"),))
        pts, ends = np.array([0.0, 1.0, 8.0, 30.0]), np.array([1.0, 2.0, 20.0, 31.0])
        ids = tuple(FrameId(number) for number in range(4))
        video = StoredVideo(
            VideoId("0" * 16),
            content_id="0",
            settings_hash="0",
            source="rtsp://camera/",
            name="c",
            committed_until=31.0,
        )
        blocks = np.arange(4)
        return Timeline(
            video, pts, ends, ids, (1, 2, 3, 4), (None,) * 4, blocks, (1, 2, 3, 4), clock, blocks, Expired(until=until)
        )

    assert gaps_of(line(8.0)) == [Span(2.0, 8.0), Span(20.0, 30.0)]
    assert gaps_of(line(0.0)) == [Span(20.0, 30.0)], "frames that were dropped leave no hole"


def test_nobody_knows_where_an_object_was_in_a_gap(memory: VideoMemory, moving: Path) -> None:
    video = watch(memory, moving)
    assert watch(memory, moving) == video
    (gap,) = memory.gaps(video)
    done = memory.track(video, SECONDS - 4.0, mask=MASK, selection="sam2", progress=False)
    track = memory.track_of(done.object_id)
    assert track.seconds[0] < gap.start < gap.end <= track.seconds[-1]
    assert any(span.end == gap.start for span in done.spans) and all(
        span.end <= gap.start or gap.end <= span.start for span in done.spans
    )
    with pytest.raises(BadInput, match="nothing was seen of .* the stream was lost then"):
        memory.track(video, (gap.start + gap.end) / 2, mask=MASK, progress=False)
    with pytest.raises(BadInput, match="give a time within that"):
        memory.track(video, 1000.0, mask=MASK, progress=False)


def test_what_has_left_the_store_can_not_be_pointed_at(
    memory: VideoMemory, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "NEWEST_CLIPS", 4)
    video = watch(memory, moving)
    memory.prune(Retention(days=1e-4))
    first = times(memory, video)[0]
    assert first > 1.0
    with pytest.raises(BadInput, match="has left the store: give a later time"):
        memory.track(video, 1.0, mask=MASK, progress=False)
    done = memory.track(video, first, mask=MASK, selection="sam2", progress=False)
    assert done.tracked_from == first


def test_pictures_that_were_handed_over_are_followed_too(memory: VideoMemory) -> None:
    pictures = [(index / 2, picture) for index, picture in enumerate(moving_clip(20))]
    report = memory.ingest(pictures, fps=2.0, progress=False)
    done = memory.track(report.video_id, 0.0, mask=MASK, selection="sam2", progress=False)
    assert memory.track_of(done.object_id).seconds.tolist() == [seconds for seconds, _ in pictures]
