"""Any sequence of objects that come, grow, are named and go, with or before their videos, against a plain dict."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import object_world as things
import store_world as world
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from vidmem.index import ObjectId, Store
from vidmem.index.object_writing import CropFiles
from vidmem.types import VideoId


class ObjectsMachine(RuleBasedStateMachine):
    """The model holds, for each object, its video, how many pieces were committed, and its label."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[int, tuple[str, int, tuple]] = {}
        self.given: set[int] = set()
        self.num_crashes = 0

    @initialize()
    def open_store(self) -> None:
        self.path = self.folder / "a.vidmem"
        self.store = Store.open(self.path, world.IDENTITY)
        self.reader = Store.open(self.path, world.IDENTITY, read_only=True)

    @rule(target=ids, number=st.integers(0, 1), label=st.sampled_from(["", "key"]))
    def add(self, number: int, label: str) -> ObjectId:
        video_id = self.store.begin_video(world.video(number)).video_id
        object_id = self.store.add_object(video_id, label=label, label_score=0.25, origin="found")
        assert object_id not in self.given
        self.given.add(object_id)
        self.model[object_id] = (video_id, 0, (label, 0.25, "found"))
        return object_id

    @rule(object_id=ids, num_pieces=st.integers(1, 3))
    def extend(self, object_id: ObjectId, num_pieces: int) -> None:
        if object_id in self.model:
            video_id, before, label = self.model[object_id]
            pieces = range(before, before + num_pieces)
            self.store.extend_objects(
                VideoId(video_id), [things.update(object_id, object_id, piece) for piece in pieces]
            )
            self.model[object_id] = (video_id, before + num_pieces, label)

    @rule(object_id=ids, label=st.sampled_from(["mug", "car"]))
    def name(self, object_id: ObjectId, label: str) -> None:
        if object_id in self.model:
            self.store.label_object(object_id, label, 0.5)
            video_id, num_pieces, _ = self.model[object_id]
            self.model[object_id] = (video_id, num_pieces, (label, 0.5, "found"))

    @rule(object_id=consumes(ids))
    def remove(self, object_id: ObjectId) -> None:
        if self.model.pop(object_id, None) is not None:
            self.store.remove_object(object_id)

    @rule(number=st.integers(0, 1))
    def remove_video(self, number: int) -> None:
        video_id = world.video(number).video_id
        if video_id in {video.video_id for video in self.store.videos()}:
            self.store.remove_video(video_id)
            self.model = {key: value for key, value in self.model.items() if value[0] != video_id}

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.path, world.IDENTITY)
        assert self.store.notices == []

    @rule(is_writing=st.booleans())
    def crash(self, is_writing: bool) -> None:
        """The machine stops, perhaps while crops are written: what lies on the disk then is what we reopen."""
        if is_writing:
            lost = CropFiles(self.path, world.video(0).video_id, 1_000_000)
            lost.write([things.look(0, 0)])
            lost.close()
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

    @rule(seed=st.integers(1, 6), piece=st.integers(0, 3))
    def search(self, seed: int, piece: int) -> None:
        seen = {object_id for object_id, (_, num_pieces, _) in self.model.items() if num_pieces}
        for store in (self.store, self.reader):
            hits = store.search_objects(things.vector(seed, piece), 100)
            assert {hit.object_id for hit in hits} == seen and len(hits) == len(seen)
            if piece < self.model.get(seed, ("", 0, ()))[1]:
                assert (hits[0].object_id, hits[0].seconds) == (seed, piece + 0.5)

    @rule()
    def verify(self) -> None:
        assert self.store.verify() == []

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if hasattr(self, "store"):
            wanted = {
                object_id: things.expected(video_id, object_id, num_pieces, label)
                for object_id, (video_id, num_pieces, label) in self.model.items()
            }
            assert things.content(self.store) == wanted and things.content(self.reader) == wanted
            assert self.reader.state().num_objects == len(wanted)
            assert len(things.crop_files(self.path)) == sum(pieces for _, pieces, _ in self.model.values())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.reader.close()
            self.store.close()
        shutil.rmtree(self.folder)


ObjectsMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestObjects = ObjectsMachine.TestCase
