"""What can be done with a store whose preset and models are not at hand any more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import write_preset

import vidmem
from vidmem.errors import BadInput, ModelMismatch, NotFound
from vidmem.pipelines import State, open_store

MEMORY = "\n[memory]\nworking_max_frames = 40\nworking_min_frames = 20\nsensory_seconds = 3\n"


@pytest.fixture(scope="module")
def own_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset file of one's own, with memory settings that are not the default ones."""
    preset = write_preset(tmp_path_factory.mktemp("models"))
    preset.write_text(preset.read_text() + MEMORY)
    return preset


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, own_preset: Path, video: Path) -> tuple[Path, State]:
    """A store of a finished video, and its state as it was when its models were still loaded."""
    path = tmp_path_factory.mktemp("store") / "a.vidmem"
    with vidmem.open(path, own_preset) as memory:
        memory.ingest(video, progress=False)
        return path, memory.state()


def levels(state: State) -> tuple[object, ...]:
    return state.sensory, state.working, state.long_term, state.disk.num_frames


def test_a_store_is_looked_at_with_other_weights_in_its_presets_place(
    tmp_path: Path, own_preset: Path, left: tuple[Path, State]
) -> None:
    path, before = left
    weights = own_preset.parent / "clip" / "extra.json"
    weights.write_text("{}")
    try:
        with pytest.raises(ModelMismatch, match="preset file"):
            vidmem.open(path, None, read_only=True)
        with open_store(path) as store:
            assert levels(store.state()) == levels(before)
            assert store.state().videos == before.videos
            assert store.verify() == []
    finally:
        weights.unlink()


def test_a_store_is_looked_at_without_its_preset(
    tmp_path: Path, own_preset: Path, left: tuple[Path, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = left
    gone = own_preset.rename(own_preset.with_name("gone.toml"))
    try:
        with pytest.raises(BadInput, match="made with"):
            vidmem.open(path, None, read_only=True)
        with open_store(path) as store:
            assert levels(store.state()) == levels(before)
            assert store.verify() == []
    finally:
        gone.rename(own_preset)


def test_a_store_of_a_policy_that_is_no_more_is_looked_at(tmp_path: Path, left: tuple[Path, State]) -> None:
    path, before = left
    older = Path(shutil.copytree(path, tmp_path / "older.vidmem"))
    manifest = older / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("moviechat", "of-old"))
    with open_store(older) as store:
        assert levels(store.state()) == levels(before)


def test_what_is_removed_is_held_no_more_by_its_writer_or_a_reader(
    tmp_path: Path, preset: Path, short_video: Path
) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as writer:
        writer.ingest(short_video, progress=False)
        with vidmem.open(tmp_path / "a.vidmem", preset, read_only=True) as reader:
            for memory in (writer, reader):
                assert memory.ask("Was there a dog?").evidence
                assert memory._memories._held and memory._timelines._known
            with pytest.raises(BadInput, match="read-only"):
                reader.remove("short.mp4")
            removed = writer.remove("short.mp4")
            assert (removed.name, removed.num_frames) == ("short.mp4", 12)
            for memory in (writer, reader):
                with pytest.raises(NotFound):
                    memory.ask("Was there a dog?")
                assert not memory._memories._held and not memory._timelines._known
                assert memory.state().working.elements == 0
        again = writer.ingest(short_video, progress=False)
        assert not again.already_there and again.frames == 12
