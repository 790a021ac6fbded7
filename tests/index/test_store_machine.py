"""Any sequence of beginnings, clips, endings, removals, closings and crashes, against a plain dict."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import store_world as world
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from vidmem.index import Store
from vidmem.index.clipfiles import ClipFiles
from vidmem.types import VideoId


class StoreMachine(RuleBasedStateMachine):
    """The model holds, for each video, how many clips were committed and whether it is finished."""

    videos = Bundle("videos")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, tuple[int, bool]] = {}
        self.num_crashes = 0

    @initialize()
    def open_store(self) -> None:
        self.path = self.folder / "a.vidmem"
        self.store = Store.open(self.path, world.IDENTITY)
        self.reader = Store.open(self.path, world.IDENTITY, read_only=True)

    @rule(target=videos, number=st.integers(0, 3))
    def begin(self, number: int) -> str:
        row = self.store.begin_video(world.video(number))
        num_clips, is_finished = self.model.setdefault(row.video_id, (0, False))
        assert (row.num_clips, row.is_finished) == (num_clips, is_finished)
        return row.video_id

    @rule(video_id=videos)
    def append(self, video_id: str) -> None:
        num_clips, is_finished = self.model.get(video_id, (0, True))
        if not is_finished:
            world.append(self.store, video_id, num_clips)
            self.model[video_id] = (num_clips + 1, False)

    @rule(video_id=videos)
    def finish(self, video_id: str) -> None:
        if video_id in self.model:
            self.store.finish_video(VideoId(video_id), 99.0)
            self.model[video_id] = (self.model[video_id][0], True)

    @rule(video_id=consumes(videos))
    def remove(self, video_id: str) -> None:
        if self.model.pop(video_id, None) is not None:
            self.store.remove_video(VideoId(video_id))

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.path, world.IDENTITY)
        assert self.store.notices == []

    @rule(video_id=videos)
    def crash_before_commit(self, video_id: str) -> None:
        """The machine stops while a clip's files are written: what lies on the disk then is what we reopen."""
        num_clips, is_finished = self.model.get(video_id, (0, True))
        if not is_finished:
            lost = ClipFiles(self.path, video_id, 1_000_000)
            lost.write(world.frames(video_id, num_clips), world.memory(video_id, num_clips), None)
            lost.close()
        self.crash()

    @rule()
    def crash(self) -> None:
        self.num_crashes += 1
        after = self.folder / f"{self.num_crashes}.vidmem"
        shutil.copytree(self.path, after)
        self.reader.close()
        self.store.close()
        shutil.rmtree(self.path)
        (after / "catalogue.sqlite-shm").unlink(missing_ok=True)
        self.path = after
        self.store = Store.open(self.path, world.IDENTITY)
        self.reader = Store.open(self.path, world.IDENTITY, read_only=True)

    @rule(number=st.integers(0, 3), clip=st.integers(0, 5))
    def search(self, number: int, clip: int) -> None:
        video_id = world.video(number).video_id
        num_clips = self.model.get(video_id, (0, False))[0]
        num_frames = world.FRAMES * sum(clips for clips, _ in self.model.values())
        for store in (self.store, self.reader):
            hits = store.search(world.frames(video_id, clip).embeddings[1], 1000)
            assert len(hits) == num_frames
            if clip < num_clips:
                assert (hits[0].video_id, hits[0].score > 0.999) == (video_id, True)

    @precondition(lambda self: self.model)
    @rule()
    def verify(self) -> None:
        assert self.store.verify() == []

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if hasattr(self, "store"):
            wanted = {i: world.expected(i, clips, finished=done) for i, (clips, done) in self.model.items()}
            assert world.content(self.store) == wanted
            assert world.content(self.reader) == wanted
            num_files = sum(clips * (1 + world.FRAMES) + (clips > 0) for clips, _ in self.model.values())
            assert len(world.files(self.path)) == num_files

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.reader.close()
            self.store.close()
        shutil.rmtree(self.folder)


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestStore = StoreMachine.TestCase
