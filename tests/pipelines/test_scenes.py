"""Scenes of what was committed: the same however it came in, and those that have ended stay."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vidmem
from vidmem.errors import NotFound
from vidmem.index import FrameRows, Store, StoreIdentity, VideoRow
from vidmem.memory.scenes import SceneStream, scene_ranges
from vidmem.pipelines import open_store, scenes
from vidmem.pipelines.scenes import Scene, Scenes
from vidmem.pipelines.timeline import Timelines
from vidmem.types import Span, VideoId

DIM = 8
IDENTITY = StoreIdentity("tiny", "encoder", "e1", "language", "l1", DIM, 1, 2, "moviechat")
VIDEO = VideoRow(VideoId("a"), "content", "settings", "/videos/a.mp4", "a.mp4")


def embeddings(num_frames: int, seed: int = 0) -> np.ndarray:
    """Frames of scenes of three to nine, with some noise."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.standard_normal((num_frames, DIM)), rng.integers(3, 10, num_frames), axis=0)[:num_frames]
    noisy = centres + 0.2 * rng.standard_normal((num_frames, DIM))
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


def append(store: Store, video_id: str, first: int, vectors: np.ndarray) -> None:
    """The next clip of a video: a frame every two seconds from its `first` one on."""
    num = len(vectors)
    pictures = [f"{first + place}".encode() for place in range(num)]
    rows = FrameRows((first + np.arange(num)) * 2.0, vectors, torch.zeros(num, 1, 2, dtype=torch.float16), pictures)
    store.append_clip(VideoId(video_id), Span(first * 2.0, (first + num) * 2.0), rows)


def found_in(store: Store) -> list[Scene]:
    """As a process finds them that has looked at nothing before."""
    finder = Scenes(store, Timelines(store))
    return [scene for video in store.videos() for scene in finder.of(video)]


@pytest.fixture
def writer(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "a.vidmem", IDENTITY)
    store.begin_video(VIDEO)
    return store


@pytest.fixture
def reader(writer: Store) -> Store:
    return Store.open(writer.path, IDENTITY, create=False, read_only=True)


@settings(max_examples=20)  # each makes a store, and forces it to the disk
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5), at_once=st.integers(1, 12))
def test_scenes_are_those_of_one_stream_over_all_frames_whatever_the_clips(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], at_once: int
) -> None:
    vectors, num_committed = embeddings(sum(sizes)), 0
    with (
        Store.open(tmp_path_factory.mktemp("store") / "a.vidmem", IDENTITY) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(scenes, "_FRAMES_AT_ONCE", at_once)
        store.begin_video(VIDEO)
        following = Scenes(store, Timelines(store))
        ended: list[Scene] = []
        for size in sizes:
            append(store, "a", num_committed, vectors[num_committed : num_committed + size])
            num_committed += size
            so_far = following.of(*store.videos())
            assert so_far == found_in(store)
            assert [scene.is_open for scene in so_far] == [False] * (len(so_far) - 1) + [True]
            assert so_far[: len(ended)] == ended
            ended = so_far[:-1]
        cuts = SceneStream().push(torch.from_numpy(vectors))
        ranges = scene_ranges(cuts, num_committed)
        assert [(scene.start, scene.end) for scene in so_far] == [(first * 2, last * 2) for first, last in ranges]
        stream = following.stream_of(*store.videos())
        assert (stream.num_frames, stream.scene_start) == (num_committed, ranges[-1][0])
        store.finish_video(VIDEO.video_id, num_committed * 2.0)
        assert not any(scene.is_open for scene in following.of(*store.videos()))


def test_a_scene_is_shown_by_the_frame_in_its_middle(writer: Store) -> None:
    axes = np.eye(DIM, dtype=np.float32)
    append(writer, "a", 0, axes[[0] * 5 + [1] + [2] * 4])
    assert [(scene.start, scene.end, scene.frames, scene.shown_at) for scene in found_in(writer)] == [
        (0.0, 10.0, 5, 4.0),
        (10.0, 20.0, 5, 14.0),
    ]
    for scene in found_in(writer):
        assert (scene.video_id, scene.source) == ("a", "/videos/a.mp4")
        assert scene.thumbnail is not None
        assert Path(scene.thumbnail).read_bytes() == f"{scene.shown_at / 2:.0f}".encode()


def test_a_video_without_frames_has_no_scenes(writer: Store) -> None:
    assert found_in(writer) == []
    append(writer, "a", 0, np.empty((0, DIM), np.float32))
    assert found_in(writer) == []


def test_a_video_that_is_removed_and_ingested_again_is_another(writer: Store, reader: Store) -> None:
    finder = Scenes(reader, Timelines(reader))
    append(writer, "a", 0, embeddings(40))
    before = finder.of(*reader.videos())
    writer.remove_video(VIDEO.video_id)
    writer.begin_video(VIDEO)
    append(writer, "a", 0, embeddings(40, seed=1))
    after = finder.of(*reader.videos())
    assert after == found_in(reader) != before
    finder.keep_only([])
    assert not finder._known


def test_what_is_committed_or_removed_while_scenes_are_made_waits_for_the_next_use(
    writer: Store, reader: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = embeddings(60)
    append(writer, "a", 0, vectors[:30])
    finder, read = Scenes(reader, Timelines(reader)), Store.embeddings

    def meanwhile(self: Store, video_id: VideoId, **which: float) -> tuple[np.ndarray, np.ndarray]:
        monkeypatch.undo()
        append(writer, "a", 30, vectors[30:])
        return read(self, video_id, **which)

    monkeypatch.setattr(Store, "embeddings", meanwhile)
    assert finder.of(*reader.videos())[-1].end == 60.0
    assert finder.of(*reader.videos()) == found_in(writer)

    def gone(self: Store, video_id: VideoId, **which: float) -> tuple[np.ndarray, np.ndarray]:
        writer.remove_video(video_id)
        writer.begin_video(VIDEO)
        return read(self, video_id, **which)

    monkeypatch.setattr(Store, "embeddings", gone)
    assert Scenes(reader, Timelines(reader)).of(*reader.videos()) == []


@pytest.mark.usefixtures("one_by_one")
def test_an_ingest_that_broke_off_finds_the_scenes_of_one_that_did_not(
    tmp_path: Path, preset: Path, video: Path
) -> None:
    def interrupt(done: float, total: float | None) -> None:
        if done >= 24:
            raise KeyboardInterrupt

    with vidmem.open(tmp_path / "whole.vidmem", preset) as memory:
        whole = memory.ingest(video, progress=False)
        wanted = memory.scenes(whole.video_id)
        assert whole.scenes == len(wanted) > 2
        assert [scene.start for scene in wanted] == [0.0, *(scene.end for scene in wanted[:-1])]
        assert memory.ingest(video, progress=False).scenes == 0
    with vidmem.open(tmp_path / "cut.vidmem", preset) as memory:
        with pytest.raises(KeyboardInterrupt):
            memory.ingest(video, progress=interrupt)
        begun = memory.scenes()
        assert begun[-1].end == 24.0 and [scene.is_open for scene in begun].count(True) == 1
    with vidmem.open(tmp_path / "cut.vidmem", preset) as memory:
        report = memory.ingest(video, progress=False)
        scenes_now = memory.scenes("minute.mp4")
        assert [(scene.start, scene.end) for scene in scenes_now] == [(scene.start, scene.end) for scene in wanted]
        assert len(begun) + report.scenes == len(wanted)


def test_scenes_are_listed_without_models_for_one_video_or_all(
    tmp_path: Path, preset: Path, video: Path, short_video: Path
) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        assert memory.scenes() == []
        for one in (video, short_video):
            memory.ingest(one, progress=False)
        every = memory.scenes()
    with open_store(tmp_path / "a.vidmem") as store:
        assert store.scenes() == every
        assert [scene for name in ("minute.mp4", "short.mp4") for scene in store.scenes(name)] == every
        assert all(first.end == second.start for first, second in pairwise(store.scenes("minute.mp4")))
        with pytest.raises(NotFound, match=r"No video 'none\.mp4'"):
            store.scenes("none.mp4")
