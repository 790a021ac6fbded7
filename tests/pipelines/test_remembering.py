"""What is remembered of a store's videos, while another process adds to them or takes them away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vidmem.errors import ModelMismatch
from vidmem.index import FrameRows, Store, StoreIdentity, VideoRow
from vidmem.memory import MemoryConfig
from vidmem.pipelines.remembering import Memories
from vidmem.pipelines.timeline import Timelines
from vidmem.types import Span, VideoId

IDENTITY = StoreIdentity("tiny", "encoder", "e1", "language", "l1", 4, 2, 3, "moviechat")
VIDEO = VideoRow(VideoId("a"), "content", "settings", "/videos/a.mp4", "a.mp4")


def append(store: Store, clip: int, shade: float = 0.0) -> None:
    """A clip of 8 frames, one a second, whose tokens all are `shade`."""
    pts = clip * 8 + np.arange(8.0)
    tokens = torch.full((8, 2, 3), shade, dtype=torch.float16)
    store.append_clip(VIDEO.video_id, Span(clip * 8, clip * 8 + 8), FrameRows(pts, np.eye(4)[[0] * 8], tokens))


@pytest.fixture
def writer(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "a.vidmem", IDENTITY)
    store.begin_video(VIDEO)
    append(store, 0)
    return store


@pytest.fixture
def reader(writer: Store) -> Store:
    return Store.open(writer.path, IDENTITY, create=False, read_only=True)


def test_a_clip_that_is_committed_while_a_memory_is_made_waits_for_the_next_use(
    writer: Store, reader: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    memories = Memories(reader, MemoryConfig(), Timelines(reader))
    (video,) = reader.videos()
    embeddings = Store.embeddings

    def meanwhile(self: Store, video_id: VideoId, **which: float) -> tuple[np.ndarray, np.ndarray]:
        monkeypatch.undo()
        append(writer, 1)
        return embeddings(self, video_id, **which)

    monkeypatch.setattr(Store, "embeddings", meanwhile)
    assert len(memories.of(video)) == 8
    assert len(memories.of(*reader.videos())) == 16


def test_a_video_that_is_removed_and_ingested_again_is_another(writer: Store, reader: Store) -> None:
    timelines = Timelines(reader)
    memories = Memories(reader, MemoryConfig(), timelines)
    before = timelines.of(*reader.videos())
    assert memories.of(*reader.videos()).working.elements.value.max() == 0
    writer.remove_video(VIDEO.video_id)
    writer.begin_video(VIDEO)
    append(writer, 0, shade=1.0)
    after = timelines.of(*reader.videos())
    assert set(before.frame_ids).isdisjoint(after.frame_ids)
    assert (reader.load_tokens(after.frame_ids) == 1).all()
    assert memories.of(*reader.videos()).working.elements.value.min() == 1


def test_a_saved_memory_larger_than_the_settings_allow_is_a_mismatch(writer: Store) -> None:
    timelines = Timelines(writer)
    (video,) = writer.videos()
    state = Memories(writer, MemoryConfig(), timelines).of(video).state_dict()
    tokens = torch.zeros(0, 2, 3, dtype=torch.float16)
    empty = FrameRows(np.empty(0), np.empty((0, 4)), tokens)
    writer.append_clip(VIDEO.video_id, Span(8, 9), empty, state)
    smaller = MemoryConfig(working_max_frames=4, working_min_frames=2)
    with pytest.raises(ModelMismatch, match=r"a\.mp4.*settings it was made with"):
        Memories(writer, smaller, timelines).of(*writer.videos())
