"""What the three stores hold, element by element, and how they grew: for every policy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from scene_store import FRAMES, write_scenes

import vidmem
from vidmem.errors import NotFound
from vidmem.index import Store
from vidmem.memory import Memory, MemoryConfig, policy_names
from vidmem.pipelines import Size, open_store
from vidmem.pipelines.contents import contents_of
from vidmem.pipelines.growth import MAX_SIZES, Growth
from vidmem.pipelines.remembering import Memories
from vidmem.pipelines.timeline import Timelines

NUM = 96
CONFIG = MemoryConfig(sensory_seconds=5.0, working_max_frames=12, working_min_frames=6, max_elements=10)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_scenes(tmp_path_factory.mktemp("contents"), NUM // FRAMES, picture=lambda number: b"a picture")


@pytest.mark.parametrize("policy", policy_names())
def test_every_policys_stores_are_told_element_by_element(store: Store, policy: str) -> None:
    timelines = Timelines(store)
    (video,) = store.videos()
    memory = Memories(store, replace(CONFIG, policy=policy), timelines).of(video)
    memory.read(torch.eye(6)[:2])
    told = contents_of(memory, timelines.of(video))
    assert (told.policy, told.num_frames, told.until) == (policy, NUM, float(NUM))
    assert [one.start for one in told.sensory] == [91.0, 92.0, 93.0, 94.0, 95.0]
    assert [one.start for one in told.working] == [float(NUM - n) for n in range(len(told.working), 0, -1)]
    assert told.num_consolidated == NUM - len(told.working)
    assert len(told.long_term) == len(memory.long_term) == told.state.long_term.num_elements
    assert told.num_levels == len(memory.long_term.stores) == 1 + max((one.level for one in told.long_term), default=0)
    for one in (*told.sensory, *told.working, *told.long_term):
        assert one.start <= one.shown_at < one.end and one.thumbnail is not None and Path(one.thumbnail).is_file()
        assert one.shown_at == int(one.shown_at) and one.frames > 0
    for one in told.long_term:
        assert one.place is not None and max(map(abs, one.place)) <= 1.0
    for level in range(told.num_levels):
        starts = [one.start for one in told.long_term if one.level == level]
        assert starts == sorted(starts)
    usage = sum(one.usage for one in (*told.working, *told.long_term))
    assert usage == pytest.approx(float(memory.working.elements.usage.sum()) + _usage(memory), rel=1e-5)


def _usage(memory: Memory) -> float:
    return sum(float(level.usage.sum()) for level in memory.long_term.held)


def test_a_frame_is_shown_by_itself_and_a_stretch_by_its_middle(store: Store) -> None:
    timelines = Timelines(store)
    (video,) = store.videos()
    merged = contents_of(Memories(store, replace(CONFIG, policy="moviechat"), timelines).of(video), timelines.of(video))
    assert all(one.shown_at == one.start for one in (*merged.sensory, *merged.working))
    long = [one for one in merged.long_term if one.end - one.start >= 3]
    assert long and all(abs(one.shown_at + 0.5 - (one.start + one.end) / 2) <= 0.5 for one in long)
    assert all(one.frames == pytest.approx(one.end - one.start) for one in long)


@pytest.mark.parametrize("policy", policy_names())
def test_growth_is_what_the_memory_was_at_each_moment(store: Store, policy: str) -> None:
    config = replace(CONFIG, policy=policy)
    memories = Memories(store, config, Timelines(store))
    (video,) = store.videos()
    sizes = Growth(memories).of(video)
    memory = memories.new()
    (frames,) = memories.frames_of(video)
    for number, size in enumerate(sizes):
        memory.write(frames[number : number + 1])
        state = memory.state()
        held = state.sensory.num_elements, state.working.num_elements, state.long_term.num_elements
        assert size == Size(number + 1.0, number + 1, *held)
    assert len(sizes) == NUM


@pytest.mark.parametrize("at_most", [1, 7, 50, 1000])
def test_growth_goes_on_where_the_last_call_ended(store: Store, at_most: int) -> None:
    memories = Memories(store, CONFIG, Timelines(store))
    (video,) = store.videos()
    whole, bit_by_bit = Growth(memories).of(video), Growth(memories)
    told: list[Size] = []
    while not told or told[-1].frames < NUM:
        before, told = told, bit_by_bit.of(video, at_most=at_most)
        assert told[: len(before)] == before and told[-1].frames == min(NUM, len(before) + at_most)
    assert told == whole == bit_by_bit.of(video, at_most=at_most)


def test_of_a_long_video_so_many_sizes_are_told_and_no_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidmem.pipelines.growth.MAX_SIZES", 10)
    memories = Memories(store, CONFIG, Timelines(store))
    (video,) = store.videos()
    sizes = Growth(memories).of(video)
    assert 5 < len(sizes) <= 11 < MAX_SIZES and sizes[-1].frames == NUM
    gaps = {later.frames - one.frames for one, later in pairwise(sizes[:-1])}
    assert len(gaps) == 1, "evenly along the video"
    every = Growth(memories)
    monkeypatch.undo()
    assert set(sizes) <= set(every.of(video))


def test_a_store_tells_contents_growth_and_tiers_without_its_models(tmp_path: Path, preset: Path, video: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        video_id = memory.ingest(video, progress=False).video_id
        memory.ask("What is there at 58 seconds?")
        told, sizes = memory.contents(video_id), memory.growth(video_id)
        assert sizes[-1] == Size(60.0, 60, len(told.sensory), len(told.working), len(told.long_term))
        assert memory.contents("minute.mp4") == told and told.name == "minute.mp4"
        assert sum(one.usage for one in (*told.working, *told.long_term)) > 0
        accelerator, ram, disk = memory.tiers(video_id)
        state = memory.state()
        assert dict(ram.parts)["working"] == state.working.bytes and disk.total == state.disk.total_bytes
        assert (accelerator.name, accelerator.total) == ("accelerator", 0)
        with pytest.raises(NotFound, match="No video 'b'"):
            memory.contents("b")
    with open_store(tmp_path / "a.vidmem") as stored:
        assert stored.growth(video_id) == sizes
        assert [one.start for one in stored.contents(video_id).long_term] == [one.start for one in told.long_term]
