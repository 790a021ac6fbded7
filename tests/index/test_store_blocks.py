"""A store in kv mode: logs of blocks that are durable as far as the catalogue says, and go with their video."""

from __future__ import annotations

import dataclasses
import sqlite3

import pytest
import store_world as world

from vidmem.errors import ModelMismatch, StoreCorrupt
from vidmem.index import Store
from vidmem.kv.records import Position
from vidmem.kv.segments import SegmentLog
from vidmem.types import Span, VideoId

KV = dataclasses.replace(world.IDENTITY, mode="kv")
A, B = world.video(0).video_id, world.video(1).video_id


def block(number: int) -> tuple[bytes, bytes]:
    return bytes([number % 251]) * 64, bytes([number % 241]) * 640


def append(store: Store, video_id: VideoId, clip: int) -> Position:
    """The next clip with one block a frame; its log's position, as it was committed."""
    log = SegmentLog(store.blocks_folder(video_id), store.blocks_position(video_id))
    for row in range(world.FRAMES):
        head, body = block(clip * world.FRAMES + row)
        log.append(head, body, num_tokens=5, span=Span(clip * 8 + row, clip * 8 + row + 1))
    position = log.flush()
    log.close()
    store.append_clip(video_id, world.span(clip), world.frames(video_id, clip), blocks=position)
    return position


def content(store: Store, video_id: VideoId) -> list[tuple[bytes, bytes]]:
    position = store.blocks_position(video_id)
    log = SegmentLog(store.blocks_folder(video_id), position, read_only=True)
    (run,) = log.runs(range(position.num_blocks))
    bodies = [bytearray(log.body_bytes(number)) for number in run]
    return [(head, bytes(body)) for head, body in zip(log.read_run(run, bodies), bodies, strict=True)]


def expected(clips: int) -> list[tuple[bytes, bytes]]:
    return [block(number) for number in range(clips * world.FRAMES)]


@pytest.fixture
def path(tmp_path):
    """A closed store of two videos, of 3 clips and of 1."""
    path = tmp_path / "a.vidmem"
    with Store.open(path, KV) as store:
        for number, clips in ((0, 3), (1, 1)):
            store.begin_video(world.video(number))
            for clip in range(clips):
                append(store, world.video(number).video_id, clip)
    return path


def test_blocks_come_back_from_a_store_that_was_reopened(path):
    for read_only in (True, False):
        with Store.open(path, KV, read_only=read_only) as store:
            assert content(store, A) == expected(3) and content(store, B) == expected(1)
            assert store.verify() == []
            state = store.blocks_state()
            assert (state.num_blocks, state.num_bytes) == (
                4 * world.FRAMES,
                sum(file.stat().st_size for file in path.glob("kv/*/*")),
            )


def test_what_was_written_beyond_the_last_commit_is_cut_on_opening(path):
    with Store.open(path, KV) as store:
        committed = store.blocks_position(A)
        log = SegmentLog(store.blocks_folder(A), committed)
        for number in range(50):
            log.append(*block(number), num_tokens=1, span=Span(24.0, 25.0))
        log.flush()
        log.close()
        (segment,) = store.blocks_folder(A).iterdir()
        assert segment.stat().st_size > committed.offset
    with Store.open(path, KV, read_only=True) as reader:
        assert content(reader, A) == expected(3)
    with Store.open(path, KV) as store:
        assert segment.stat().st_size == committed.offset
        assert store.verify() == []
        append(store, A, 3)
        assert content(store, A) == expected(4)


def test_a_log_without_a_committed_clip_is_emptied(path):
    with Store.open(path, KV) as store:
        store.begin_video(world.video(2))
        folder = store.blocks_folder(world.video(2).video_id)
        log = SegmentLog(folder)
        log.append(*block(0), num_tokens=1, span=Span(0.0, 1.0))
        log.flush()
        log.close()
        assert list(folder.iterdir())
    with Store.open(path, KV):
        assert not list(folder.iterdir())


def test_a_removed_video_frees_its_folder(path):
    with Store.open(path, KV) as store:
        store.remove_video(A)
        assert not store.blocks_folder(A).exists()
        assert content(store, B) == expected(1) and store.verify() == []


def test_the_folder_of_a_video_that_is_gone_is_a_leftover(path):
    (path / "kv" / "gone").mkdir()
    (path / "kv" / "gone" / "000000.kv").write_bytes(b"x" * 100)
    with Store.open(path, KV, read_only=True) as reader:
        assert reader.verify() == [
            "kv/gone/000000.kv belongs to no committed clip: opening the store for writing removes it."
        ]
    with Store.open(path, KV) as store:
        assert not (path / "kv" / "gone").exists() and content(store, A) == expected(3)


def test_verify_names_the_time_of_damaged_blocks(path):
    segment = path / "kv" / A / "000000.kv"
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    with Store.open(path, KV, read_only=True) as store:
        (problem,) = store.verify()
    assert "00:18-00:19" in problem and str(segment.parent) in problem


@pytest.mark.parametrize("blocks", [None, Position(0, 70_000, 2 * world.FRAMES - 1)])
def test_a_clip_needs_one_block_a_frame(path, blocks):
    with Store.open(path, KV) as store, pytest.raises(ValueError, match="not one each"):
        store.append_clip(B, world.span(1), world.frames(B, 1), blocks=blocks)


def test_a_store_of_tokens_takes_no_blocks(tmp_path):
    with Store.open(tmp_path / "t.vidmem", world.IDENTITY) as store:
        store.begin_video(world.video())
        with pytest.raises(ValueError, match="takes no blocks"):
            store.append_clip(A, world.span(0), world.frames(A, 0), blocks=Position(0, 70_000, world.FRAMES))


def test_a_store_of_the_other_mode_is_refused_in_one_sentence(path):
    with pytest.raises(ModelMismatch, match=r"was made with mode 'kv', not 'tokens': open it without --preset"):
        Store.open(path, world.IDENTITY)


def test_only_stores_with_blocks_need_a_program_that_knows_them(path, tmp_path):
    Store.open(tmp_path / "t.vidmem", world.IDENTITY).close()
    assert Store.peek(path).format == 2 and Store.peek(tmp_path / "t.vidmem").format == 1


def test_a_store_from_before_there_were_modes_is_one_of_tokens(tmp_path):
    path = tmp_path / "old.vidmem"
    with Store.open(path, world.IDENTITY) as store:
        store.begin_video(world.video())
        world.append(store, A, 0)
    manifest = path / "manifest.toml"
    manifest.write_text("".join(line for line in manifest.read_text().splitlines(True) if not line.startswith("mode")))
    with sqlite3.connect(path / "catalogue.sqlite") as catalogue:
        catalogue.execute("DROP TABLE kv_clips")
    with Store.open(path, world.IDENTITY) as store:
        assert store.identity.mode == "tokens" and store.blocks_state() is None
        world.append(store, A, 1)
        assert store.verify() == [] and store.state().num_clips == 2
        store.remove_video(A)


def test_a_mode_that_there_is_not_is_damage(path):
    manifest = path / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('mode = "kv"', 'mode = "both"'))
    with pytest.raises(StoreCorrupt, match="mode"):
        Store.peek(path)
