"""A store in kv mode: logs of blocks that are durable as far as the catalogue says, and go with their video."""

from __future__ import annotations

import dataclasses
import sqlite3
import tempfile
from pathlib import Path

import pytest
import store_world as world
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vidmem.errors import ModelMismatch, StoreCorrupt, StoreVersion
from vidmem.index import ClipBlocks, Store
from vidmem.kv.records import Position
from vidmem.kv.segments import SegmentLog
from vidmem.types import Span, VideoId

KV = dataclasses.replace(world.IDENTITY, mode="kv")
A, B = world.video(0).video_id, world.video(1).video_id


def block(number: int) -> tuple[bytes, bytes]:
    return bytes([number % 251]) * 64, bytes([number % 241]) * 640


def append(store: Store, video_id: VideoId, clip: int) -> Position:
    """The next clip with one block a frame; its log's position, as it was committed."""
    before = store.blocks_position(video_id)
    position = grown(store, video_id, world.FRAMES)
    blocks = ClipBlocks(position, range(before.num_blocks, position.num_blocks))
    store.append_clip(video_id, world.span(clip), world.frames(video_id, clip), blocks=blocks)
    return position


def grown(store: Store, video_id: VideoId, num_blocks: int) -> Position:
    """Put blocks behind those that are committed, and say how far the log is durable then."""
    log = SegmentLog(store.blocks_folder(video_id), store.blocks_position(video_id))
    for number in range(log.num_blocks, log.num_blocks + num_blocks):
        clip, row = divmod(number, world.FRAMES)
        head, body = block(number)
        log.append(head, body, num_tokens=5, span=Span(clip * 8 + row, clip * 8 + row + 1))
    position = log.flush()
    log.close()
    return position


def named(store: Store, video_id: VideoId) -> list[int | None]:
    """What the catalogue says of each frame of a video: its block."""
    return [frame.block_id for frame in store.frames_between(video_id, 0.0, 1e9)]


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


clips_of_blocks = st.lists(st.lists(st.integers(1, 3), max_size=4), min_size=1, max_size=5)
"""Clips of a video: how many frames each of its blocks holds. A clip may be without frames."""


@settings(max_examples=25, deadline=None)
@given(clips_of_blocks)
def test_every_frame_is_held_by_the_block_it_was_written_with(clips):
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "a.vidmem", KV) as store:
        store.begin_video(world.video())
        expected_ids: list[int] = []
        for clip, sizes in enumerate(clips):
            first = store.blocks_position(A).num_blocks
            ids = [first + index for index, size in enumerate(sizes) for _ in range(size)]
            position = grown(store, A, len(sizes))
            rows = world.frames(A, clip, len(ids))
            store.append_clip(A, world.span(clip), rows, blocks=ClipBlocks(position, ids))
            expected_ids += ids
        assert named(store, A) == expected_ids
        found = {frame.frame_id: frame.block_id for frame in store.frames_between(A, 0.0, 1e9)}
        assert store.blocks_state().num_blocks == len(set(expected_ids)) and store.verify() == []
        if expected_ids:
            changed = max(found)
            with sqlite3.connect(store.path / "catalogue.sqlite") as catalogue:
                catalogue.execute("UPDATE kv_frames SET block_id = block_id + 1 WHERE frame_id = ?", (changed,))
            (problem,) = store.verify()
            assert "out of order" in problem and "0.mp4" in problem


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 8), max_size=4), st.integers(0, 4), st.integers(0, 4))
@example([3, 3, 4], 3, 2)
@example([2, 3, 4], 3, 2)  # the first frame would share a block with the clip before
@example([3, 3, 5], 3, 3)
@example([3, 4, 3], 3, 2)
@example([3, 3, 4], 3, 3)
def test_a_clip_whose_blocks_do_not_follow_is_refused(ids, num_frames, num_new):
    """Against the law said slowly: one id a frame, from the first new block on, by 0 or 1, to the last new block."""
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "a.vidmem", KV) as store:
        store.begin_video(world.video())
        append(store, A, 0)
        blocks = ClipBlocks(grown(store, A, num_new), ids)
        steps = [later - earlier for earlier, later in zip([world.FRAMES - 1, *ids], ids, strict=False)]
        is_right = (
            len(ids) == num_frames
            and set(steps) <= {0, 1}
            and steps[:1] in ([], [1])
            and [world.FRAMES - 1, *ids][-1] == world.FRAMES + num_new - 1
        )
        rows = world.frames(A, 1, num_frames)
        if is_right:
            store.append_clip(A, world.span(1), rows, blocks=blocks)
        else:
            with pytest.raises(ValueError, match=f"{num_frames} frames behind"):
                store.append_clip(A, world.span(1), rows, blocks=blocks)
        assert named(store, A) == [0, 1, 2, *(ids if is_right else [])]
        assert store.verify() == []


def test_a_clip_needs_blocks(path):
    with Store.open(path, KV) as store, pytest.raises(ValueError, match="can't have the blocks of None"):
        store.append_clip(B, world.span(1), world.frames(B, 1))


def test_a_removed_video_takes_what_is_said_of_its_blocks_with_it(path):
    with Store.open(path, KV) as store:
        store.remove_video(A)
        with sqlite3.connect(path / "catalogue.sqlite") as catalogue:
            assert catalogue.execute("SELECT block_id FROM kv_frames").fetchall() == [(0,), (1,), (2,)]
        assert named(store, B) == [0, 1, 2]


def test_a_store_of_the_format_that_was_never_released_is_refused(path):
    manifest = path / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("format = 3", "format = 2"))
    with pytest.raises(StoreVersion, match="format 2, which was never released: ingest its videos anew"):
        Store.open(path, KV)


def test_a_store_of_tokens_takes_no_blocks(tmp_path):
    with Store.open(tmp_path / "t.vidmem", world.IDENTITY) as store:
        store.begin_video(world.video())
        with pytest.raises(ValueError, match="takes no blocks"):
            store.append_clip(
                A,
                world.span(0),
                world.frames(A, 0),
                blocks=ClipBlocks(Position(0, 70_000, world.FRAMES), range(world.FRAMES)),
            )


def test_a_store_of_the_other_mode_is_refused_in_one_sentence(path):
    with pytest.raises(ModelMismatch, match=r"was made with mode 'kv', not 'tokens': open it without --preset"):
        Store.open(path, world.IDENTITY)


def test_only_stores_with_blocks_need_a_program_that_knows_them(path, tmp_path):
    Store.open(tmp_path / "t.vidmem", world.IDENTITY).close()
    assert Store.peek(path).format == 3 and Store.peek(tmp_path / "t.vidmem").format == 1


def test_a_store_from_before_there_were_modes_is_one_of_tokens(tmp_path):
    path = tmp_path / "old.vidmem"
    with Store.open(path, world.IDENTITY) as store:
        store.begin_video(world.video())
        world.append(store, A, 0)
    manifest = path / "manifest.toml"
    manifest.write_text("".join(line for line in manifest.read_text().splitlines(True) if not line.startswith("mode")))
    with sqlite3.connect(path / "catalogue.sqlite") as catalogue:
        catalogue.executescript("DROP TABLE kv_frames; DROP TABLE kv_clips")
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
