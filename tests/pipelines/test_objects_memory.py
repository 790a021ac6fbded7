"""`VideoMemory` and objects, with models of random weights: tracks, their errors, going on, finding by words."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from follow_world import ANYTHING, MASK, add_tracker, write_changing, write_moving, write_tracker
from lively_sam import HEIGHT, WIDTH
from safetensors.torch import save_model

import vidmem
from vidmem.errors import BadInput, MissingModel, NotFound, StorageFull, VidmemError
from vidmem.index import Store
from vidmem.models.preset import load_preset
from vidmem.models.sam import build_sam
from vidmem.models.sam_config import EDGE_SIZED
from vidmem.models.tracker import FrameResult
from vidmem.pipelines import VideoMemory, open_store
from vidmem.pipelines.loading import Models
from vidmem.types import Frame, View

SECONDS = 24.0


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving(tmp_path_factory.mktemp("moving") / "moving.mp4", int(SECONDS * 5))


@pytest.fixture(scope="session")
def tracking_preset(preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_tracker(preset, write_tracker(tmp_path_factory.mktemp("sam") / "sam", absent_below=0.15), "tracking")


@pytest.fixture(scope="session")
def ingested(moving: Path, tracking_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ingested") / "moving.vidmem"
    with vidmem.open(path, preset=tracking_preset) as memory:
        memory.ingest(moving, progress=False)
    return path


@pytest.fixture
def memory(ingested: Path, tmp_path: Path) -> Iterator[VideoMemory]:
    shutil.copytree(ingested, tmp_path / "moving.vidmem")
    with vidmem.open(tmp_path / "moving.vidmem") as opened:
        yield opened


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


def stop_at(seconds: float) -> Callable[[float, float | None], None]:
    def progress(done: float, total: float | None) -> None:
        if done >= seconds:
            raise Stopped

    return progress


def track_in(memory: VideoMemory, object_id: int) -> Any:
    return memory._store.track_of(object_id)


def test_an_object_is_followed_to_the_end_and_remembered(memory: VideoMemory) -> None:
    done = memory.track("moving.mp4", 2.0, mask=MASK, label="red  box", selection="sam2", progress=False)
    assert (done.label, done.tracked_from, done.frames) == ("red box", 2.0, 110)
    assert done.tracked_until == pytest.approx(23.8)
    (known,) = memory.objects()
    assert (known.object_id, known.label, known.label_score, known.origin) == (done.object_id, "red box", 1.0, "asked")
    assert known.spans == done.spans and known.spans[0].start == 2.0 and known.spans[-1].end <= SECONDS
    assert known.thumbnail is not None and Path(known.thumbnail).is_file()
    with open_store(memory.path) as stored:
        assert stored.objects(video="moving.mp4") == [known], "without any model"
    assert memory.objects("a red box")[0].why == "called 'red box'"
    assert memory.verify() == []


def test_what_is_pointed_at_in_fractions_of_the_frame_is_what_is_in_its_pixels(memory: VideoMemory) -> None:
    box = (20.0, 10.0, 25.0, 20.0)
    parts = (20.0 / WIDTH, 10.0 / HEIGHT, 25.0 / WIDTH, 20.0 / HEIGHT)
    point = (32.0 / WIDTH, 20.0 / HEIGHT)
    tracks = []
    for given in ({"box": box}, {"box": parts, "in_fractions": True}, {"point": point, "in_fractions": True}):
        done = memory.track("moving.mp4", 0.0, until=3.0, selection="sam2", progress=False, **given)  # type: ignore[arg-type]
        tracks.append(memory.track_of(done.object_id))
    np.testing.assert_array_equal(tracks[0].boxes, tracks[1].boxes)
    assert len(tracks[2]) == len(tracks[0]) == 15
    with pytest.raises(BadInput, match="inside|outside|frame"):
        memory.track("moving.mp4", 0.0, point=(1.5, 0.5), in_fractions=True, progress=False)
    with pytest.raises(NotFound, match="object"):
        memory.track_of(99)


def test_where_is_the_box_of_the_last_frame_on_which_it_was_seen(memory: VideoMemory) -> None:
    done = memory.track("moving.mp4", 0.0, mask=MASK, label="key", selection="sam2", until=9.0, progress=False)
    found = memory.where("the key")
    assert found is not None and found.object is not None and found.from_track
    track = track_in(memory, done.object_id)
    assert found.box == pytest.approx(track.boxes[track.is_seen][-1])
    assert (found.what, found.last_seen) == ("key", done.spans[-1].end)
    assert found.still_there == bool(track.is_seen[-1])
    assert found.place is not None and found.thumbnail == found.object.thumbnail
    assert memory.where("the key", video="moving.mp4") == found


def test_what_nobody_followed_is_where_frames_look_like_it(memory: VideoMemory) -> None:
    """The random encoder's floor is -1: all frames are like anything."""
    found = memory.where("the key")
    assert found is not None and not found.from_track
    assert (found.place, found.box, found.object, found.still_there) == (None, None, None, found.last_seen == SECONDS)
    assert found.thumbnail is not None and Path(found.thumbnail).is_file()


def test_an_interrupted_track_keeps_what_was_committed_and_goes_on(memory: VideoMemory) -> None:
    with pytest.raises(Stopped):
        memory.track("moving.mp4", 0.0, mask=MASK, selection="sam2", progress=stop_at(12.0))
    (known,) = memory.objects()
    assert known.tracked_until == 8.0, "a commit every eight seconds"
    first = track_in(memory, known.object_id)
    done = memory.follow(known.object_id, selection="sam2", progress=False)
    track = track_in(memory, known.object_id)
    assert done.tracked_until == pytest.approx(23.8) and len(memory.objects()) == 1
    assert np.array_equal(track.seconds, np.arange(120) / 5), "no frame twice, none left out"
    assert np.array_equal(track.boxes[: len(first)], first.boxes, equal_nan=True)
    for span in done.spans:
        inside = track.is_seen[(track.seconds >= span.start) & (track.seconds < span.end)]
        assert inside[0] and (inside[1:] | inside[:-1]).all()
    (named,), looks = memory.objects(), memory._store.looks_of(known.object_id)
    assert len(looks) > 1
    label, score = memory._models.eye.label(np.sum([look.embedding for look in looks], axis=0))
    assert (named.label, named.label_score) == (label, pytest.approx(score, abs=1e-6)), "it is named by all of them"
    again = memory.follow(known.object_id, selection="sam2", progress=False)
    assert (again.spans, again.tracked_until) == (done.spans, done.tracked_until)


def test_what_is_committed_of_an_interrupted_track_is_that_of_a_whole_one(memory: VideoMemory) -> None:
    whole = memory.track("moving.mp4", 0.0, mask=MASK, selection="sam2", progress=False)
    with pytest.raises(Stopped):
        memory.track("moving.mp4", 0.0, mask=MASK, selection="sam2", progress=stop_at(18.0))
    part = memory.objects()[-1]
    assert part.object_id != whole.object_id
    long, short = track_in(memory, whole.object_id), track_in(memory, part.object_id)
    assert len(short) == 81
    for name in ("seconds", "boxes", "scores"):
        assert np.array_equal(getattr(short, name), getattr(long, name)[: len(short)], equal_nan=True)


def test_found_objects_are_remembered_and_a_pass_goes_on_where_it_was_cut_off(memory: VideoMemory) -> None:
    with pytest.raises(Stopped):
        memory.find_objects("moving.mp4", config=ANYTHING, selection="sam2", progress=stop_at(13.0))
    before = {known.object_id: track_in(memory, known.object_id) for known in memory.objects()}
    assert before and max(known.tracked_until or 0.0 for known in memory.objects()) == 8.0
    (done,) = memory.find_objects("moving.mp4", config=ANYTHING, selection="sam2", progress=False)
    assert done.resumed_from == 8.0 and done.tracked_until == pytest.approx(23.8)
    assert set(before) <= set(done.object_ids)
    for known in memory.objects():
        track = track_in(memory, known.object_id)
        assert known.origin == "found" and known.thumbnail is not None
        assert np.isin(track.seconds, np.arange(120) / 5).all() and (np.diff(track.seconds) > 0).all()
        if known.object_id in before:
            first = before[known.object_id]
            assert np.array_equal(track.boxes[: len(first)], first.boxes, equal_nan=True)
    assert any(len(track_in(memory, object_id)) > len(before[object_id]) for object_id in before)
    (again,) = memory.find_objects("moving.mp4", config=ANYTHING, selection="sam2", progress=False)
    assert (again.frames, again.object_ids) == (0, done.object_ids), "there is nothing left to be looked at"


def test_a_watcher_sees_every_frame_at_the_videos_own_size(memory: VideoMemory) -> None:
    seen: list[tuple[float, tuple[int, ...], int]] = []

    def watch(frame: Frame, result: FrameResult) -> None:
        seen.append((frame.pts_seconds, frame.views[1].shape, result.objects[0].mask.shape[0]))

    memory.track("moving.mp4", 1.0, mask=MASK, until=2.0, fps=None, watch=watch, progress=False)
    assert seen == [(second, (HEIGHT, WIDTH, 3), HEIGHT) for second in (1.0, 1.2, 1.4, 1.6, 1.8)]


def test_frames_that_change_their_size_are_followed_on_and_it_is_said(tracking_preset: Path, tmp_path: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset=tracking_preset) as memory:
        memory.ingest(write_changing(tmp_path / "changing.ts"), progress=False)
        done = memory.track("changing.ts", 0.0, mask=MASK, progress=False)
        assert (done.frames, len(track_in(memory, done.object_id))) == (10, 10)
        (said,) = done.notes
        assert "another size or shape from 00:01.000 on" in said
        (found,) = memory.find_objects("changing.ts", config=ANYTHING, progress=False)
        assert (found.frames, found.notes) == (10, done.notes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"at": 1, "box": (10, 10, 0, 5)}, "no area"),
        ({"at": 1, "box": (80, 10, 20, 5)}, "not inside the frame of 90 x 60"),
        ({"at": 1, "point": (91, 5)}, "outside the frame of 90 x 60"),
        ({"at": 1, "mask": np.zeros((HEIGHT, WIDTH))}, "mask is empty"),
        ({"at": 1, "mask": np.ones((10, 10))}, "the mask is 10 x 10, the frame 90 x 60"),
        ({"at": 1}, "Give one of box, point and mask, not none"),
        ({"at": 1, "point": (5, 5), "mask": MASK}, "not point and mask"),
        ({"at": SECONDS, "mask": MASK}, "it lasts 00:24.000"),
        ({"at": -1, "mask": MASK}, "nothing at -1 s"),
        ({"at": float("nan"), "mask": MASK}, "nothing at nan s"),
        ({"at": 5, "mask": MASK, "until": 5}, "an end behind the beginning"),
        ({"at": 1, "mask": MASK, "selection": "best"}, "no memory selection 'best'"),
        ({"at": 1, "mask": MASK, "fps": 0}, "sampled at 0"),
    ],
)
def test_a_prompt_that_does_not_fit_is_one_sentence_and_leaves_nothing(
    memory: VideoMemory, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        memory.track("moving.mp4", progress=False, **given)
    assert memory.objects() == []


def test_nothing_found_where_the_prompt_points_is_said(preset: Path, moving: Path, tmp_path: Path) -> None:
    blind = add_tracker(preset, write_tracker(tmp_path / "sam", absent_below=0.9), "blind")
    with vidmem.open(tmp_path / "a.vidmem", preset=blind) as memory:
        memory.ingest(moving, progress=False)
        with pytest.raises(BadInput, match="nothing is found at 1 s"):
            memory.track("moving.mp4", 1.0, box=(20, 10, 25, 20), progress=False)
        assert memory.objects() == []


def test_a_tracker_that_is_not_here_is_named(preset: Path, moving: Path, tmp_path: Path) -> None:
    lacking = add_tracker(preset, tmp_path / "gone", "lacking")
    with vidmem.open(tmp_path / "a.vidmem", preset=lacking) as memory:
        memory.ingest(moving, progress=False)  # needs none
        with pytest.raises(MissingModel, match="gone.*put the model there"):
            memory.track("moving.mp4", 1.0, mask=MASK, progress=False)
    with vidmem.open(tmp_path / "b.vidmem", preset=preset) as memory:
        memory.ingest(moving, progress=False)
        with pytest.raises(BadInput, match=r"names no model in \[tracker\]"):
            memory.track("moving.mp4", 1.0, mask=MASK, progress=False)


def test_what_was_followed_in_a_video_without_a_committed_frame_is_told(
    moving: Path, tracking_preset: Path, tmp_path: Path
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise StorageFull("the disk is full")

    with vidmem.open(tmp_path / "a.vidmem", preset=tracking_preset) as memory:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(StorageFull):
            patch.setattr(Store, "append_clips", full)
            memory.ingest(moving, progress=False)
        (video,) = memory.videos()
        assert video.num_frames == 0
        assert memory.where("the key") is None
        known = memory.track(moving, 1.0, mask=MASK, until=3.0, label="key", progress=False)
        found = memory.where("the key", video=video.video_id)
        assert found is not None and found.from_track
        assert found.last_seen == known.spans[-1].end


def test_a_preset_names_a_size_of_sam_and_its_folder_needs_nothing_but_weights(preset: Path, tmp_path: Path) -> None:
    sam = tmp_path / "sam"
    sam.mkdir()
    sized = add_tracker(preset, sam, "sized")
    sized.write_text(sized.read_text().replace("[tracker]", '[tracker]\nsize = "edge"'))
    with pytest.raises(MissingModel, match=r"sam lacks model\.safetensors: put"):
        Models(load_preset(sized)).tracker_for("samurai")
    save_model(build_sam(EDGE_SIZED), str(sam / "model.safetensors"))
    assert Models(load_preset(sized)).tracker_for("samurai").view == View(1024, 1024)
    sized.write_text(sized.read_text().replace('"edge"', '"tiny"'))
    with pytest.raises(MissingModel, match="put the weights there that belong to it"):
        Models(load_preset(sized)).tracker_for("samurai")


def test_a_file_that_is_gone_or_another_is_said(moving: Path, tracking_preset: Path, tmp_path: Path) -> None:
    own = Path(shutil.copy(moving, tmp_path / "own.mp4"))
    with vidmem.open(tmp_path / "a.vidmem", preset=tracking_preset) as memory:
        memory.ingest(own, progress=False)
        own.unlink()
        with pytest.raises(NotFound, match=r"own\.mp4 is not at .* any more"):
            memory.track("own.mp4", 1.0, mask=MASK, progress=False)
        known = memory.track(moving, 1.0, mask=MASK, until=3.0, progress=False)
        assert known.frames == 10, "a file with the same content does as well"
        write_moving(own, 10)
        with pytest.raises(BadInput, match="is not what was ingested as own.mp4"):
            memory.track("own.mp4", 1.0, mask=MASK, progress=False)
        with pytest.raises(NotFound, match="No video 'other.mp4'"):
            memory.track("other.mp4", 1.0, mask=MASK, progress=False)
        with pytest.raises(VidmemError, match="99"):
            memory.follow(99)


def test_a_read_only_store_is_not_written_to(ingested: Path) -> None:
    with vidmem.open(ingested, read_only=True) as memory:
        calls: list[Callable[[], object]] = [
            lambda: memory.track("moving.mp4", 1.0, mask=MASK),
            lambda: memory.follow(1),
            lambda: memory.find_objects(),
            lambda: memory.remove_object(1),
            lambda: memory.label_object(1, "key"),
        ]
        for call in calls:
            with pytest.raises(BadInput, match="was opened read-only"):
                call()


def test_an_object_is_named_and_removed(memory: VideoMemory) -> None:
    object_id = memory.track("moving.mp4", 0.0, mask=MASK, until=1.0, progress=False).object_id
    memory.label_object(object_id, " red  key ")
    assert [known.label for known in memory.objects("some red keys")] == ["red key"]
    memory.remove_object(object_id)
    assert memory.objects() == [] and memory.objects("red key") == []
    with pytest.raises(NotFound):
        memory.remove_object(object_id)
    with pytest.raises(BadInput, match="is empty"):
        memory.objects(" ")


def test_ingest_finds_objects_if_asked(moving: Path, tracking_preset: Path, tmp_path: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset=tracking_preset) as memory:
        with pytest.raises(BadInput, match="files only"):
            memory.ingest([(0.0, np.zeros((60, 90, 3), np.uint8))], objects=True)
        done: list[float] = []
        memory.ingest(moving, objects=True, progress=lambda now, total: done.append(now))
        assert len([now for now in done if now < 1.0]) >= 4, "the file was read once more, five times a second"
