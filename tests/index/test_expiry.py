"""Clips that leave a store: what is left is as if nothing else had ever come, for readers and after a crash."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import store_crash as crash
import store_world as world
from hypothesis import given, settings
from hypothesis import strategies as st

from vidmem.index import ClipBlocks, LandmarkRow, NewClip, Store
from vidmem.kv.segments import SegmentLog
from vidmem.types import Retention, Span, VideoId

KV = dataclasses.replace(world.IDENTITY, mode="kv")
A = world.video().video_id
SEGMENT_BYTES = 70_000
"""Room for a handful of blocks."""


def append(store: Store, clip: int) -> None:
    """The next clip of a stream, which in kv mode has a block a frame and a landmark."""
    blocks = None
    if store.identity.mode == "kv":
        before = store.blocks_position(A)
        log = SegmentLog(store.blocks_folder(A), before, begin=store.blocks_beginning(A), segment_bytes=SEGMENT_BYTES)
        for number in range(before.num_blocks, before.num_blocks + world.FRAMES):
            log.append(*block(number), num_tokens=number, span=Span(clip * 8.0, clip * 8.0 + 1))
        position = log.flush()
        log.close()
        landmark = LandmarkRow(clip * world.FRAMES, world.FRAMES, bytes([clip]))
        blocks = ClipBlocks(position, range(before.num_blocks, position.num_blocks), [landmark])
    new = NewClip(world.span(clip), world.frames(A, clip), blocks, wall_start=1e9 + clip * world.CLIP_SECONDS)
    store.append_clips(A, [new], world.memory(A, clip))


def block(number: int) -> tuple[bytes, bytes]:
    return bytes([number % 251]) * 64, bytes([number % 241]) * 640


def expire(store: Store, left: list[int], gone: list[int], until: int) -> None:
    """Let clips go by their numbers; `left` are those that the store holds."""
    held = store.held_clips(A, 0.0, 1e9, 10_000)
    assert [round(clip.span.start / world.CLIP_SECONDS) for clip in held] == left
    ids = dict(zip(left, [clip.clip_id for clip in held], strict=True))
    store.expire(A, [ids[clip] for clip in gone], until * world.CLIP_SECONDS)


def check(store: Store, left: list[int], num_clips: int) -> None:
    """The store holds just these of the clips that came."""
    clips = [world.frames(A, clip) for clip in left]
    found = world.content(store)[A]
    assert found["pts"] == [pts for clip in clips for pts in clip.pts_seconds.tolist()]
    assert found["vectors"] == b"".join(clip.embeddings.tobytes() for clip in clips)
    assert found["tokens"] == b"".join(clip.tokens.numpy().tobytes() for clip in clips)
    assert found["thumbnails"] == [jpeg for clip in clips for jpeg in clip.thumbnails]
    assert (found["clips"], found["until"]) == (len(left), num_clips * world.CLIP_SECONDS)
    assert found["memory"] == {name: one.tolist() for name, one in world.memory(A, num_clips - 1).items()}
    query = world.frames(A, num_clips + 7).embeddings[0]
    hits = store.search(query, 10_000)
    scores = {
        pts: float(row @ query) for clip in clips for pts, row in zip(clip.pts_seconds, clip.embeddings, strict=True)
    }
    assert {hit.pts_seconds: hit.score for hit in hits} == pytest.approx(scores, abs=2e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    if store.identity.mode == "kv":
        assert [clip_row.data[0] for _, clip_row in store.landmarks(A)] == left
        check_blocks(store, num_clips)
    num_files = len(left) * (1 + world.FRAMES) + 1
    assert len([name for name in world.files(store.path) if not name.endswith(".kv")]) == num_files
    assert store.verify() == []


def check_blocks(store: Store, num_clips: int) -> None:
    """The log holds all from its beginning on; no more than a segment before what was not looked at yet."""
    begin, position = store.blocks_beginning(A), store.blocks_position(A)
    log = SegmentLog(store.blocks_folder(A), position, begin=begin, read_only=True)
    assert log.num_blocks == num_clips * world.FRAMES and log.lost_blocks() == []
    numbers = range(begin.block, position.num_blocks)
    for run in log.runs(numbers):
        bodies = [bytearray(log.body_bytes(number)) for number in run]
        heads = log.read_run(run, bodies)
        assert [(head, bytes(body)) for head, body in zip(heads, bodies, strict=True)] == [block(n) for n in run]
    assert log.num_tokens() == list(numbers)
    segments = sorted(int(path.stem) for path in store.blocks_folder(A).glob("*.kv"))
    assert segments[0] == begin.segment
    passed = round(store.expired(A).until / world.CLIP_SECONDS) * world.FRAMES
    assert passed - begin.block <= SEGMENT_BYTES // 700 or begin.block == 0


steps = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**16 - 1), st.booleans()), max_size=6)


@settings(max_examples=20, deadline=None)
@given(steps, st.sampled_from([world.IDENTITY, KV]))
def test_after_any_writes_and_expiries_a_store_is_as_if_nothing_else_had_come(steps, identity) -> None:
    """Each step appends clips, looks at some more of the oldest, lets any of those passed go, and may reopen."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.vidmem"
        store = Store.open(path, identity)
        store.begin_video(world.video(), is_stream=True)
        left: list[int] = []
        num_clips = until = 0
        with Store.open(path, identity, read_only=True) as reader:
            for num_new, num_passed, choice, reopens in steps:
                for _ in range(num_new):
                    append(store, num_clips)
                    left.append(num_clips)
                    num_clips += 1
                until = min(until + num_passed, num_clips - 1)
                gone = [clip for clip in left if clip < until and choice >> clip % 16 & 1]
                expire(store, left, gone, until)
                left = [clip for clip in left if clip not in gone]
                assert store.expired(A).num_clips == num_clips - len(left)
                check(reader, left, num_clips)
                if reopens:
                    store.close()
                    store = Store.open(path, identity)
                    assert store.notices == []
                check(store, left, num_clips)
        store.close()


def test_a_store_gives_its_room_back(tmp_path) -> None:
    with Store.open(tmp_path / "a.vidmem", world.IDENTITY) as store:
        store.begin_video(world.video(), is_stream=True)
        for clip in range(400):
            append(store, clip)
        before = store.state()
        held = store.held_clips(A, 0.0, 390 * world.CLIP_SECONDS, 1000)
        for first in range(0, len(held), 64):
            group = held[first : first + 64]
            store.expire(A, [clip.clip_id for clip in group], group[-1].span.end)
            while store.give_back():
                pass
        store.shrink()
        after = store.state()
        assert store.free_bytes() == 0 and after.num_frames == 10 * world.FRAMES
        for part in ("catalogue_bytes", "kv_bytes", "thumbs_bytes"):
            assert getattr(after, part) < 0.3 * getattr(before, part)
    with Store.open(tmp_path / "a.vidmem", world.IDENTITY) as store:
        assert store.notices == [] and store.state().index_bytes < 0.3 * before.total_bytes


def filled(path: Path, clips: int = 6) -> Path:
    with Store.open(path, KV) as store:
        store.begin_video(world.video(), is_stream=True)
        for clip in range(clips):
            append(store, clip)
    return path


def expire_four(store: Store) -> None:
    expire(store, list(range(6)), [0, 1, 3], 4)


def expire_and_die(path: str, line: int) -> None:
    crash.act_and_die(path, expire_four, line, KV)


def test_killed_at_any_line_of_an_expiry(tmp_path) -> None:
    processes, source = crash.context(), filled(tmp_path / "filled")
    shutil.copytree(source, tmp_path / "count")
    with Store.open(tmp_path / "count", KV) as store:
        num_lines = crash.count_lines(lambda: expire_four(store))
    assert num_lines > 100
    held = []
    for line in range(1, num_lines + 1, max(1, num_lines // 16)):
        path = tmp_path / "a.vidmem"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(source, path)
        process = processes.Process(target=expire_and_die, args=(str(path), line))
        process.start()
        process.join(60)
        assert process.exitcode == -9
        with Store.open(path, KV, read_only=True) as reader:
            left = [0, 1, 2, 3, 4, 5] if reader.expired(A).num_clips == 0 else [2, 4, 5]
            assert len(reader.held_clips(A, 0.0, 1e9, 99)) == len(left)
        with Store.open(path, KV) as store:
            check(store, left, 6)
            append(store, 6)
            check(store, [*left, 6], 7)
        held.append(len(left))
    assert held == sorted(held, reverse=True) and set(held) == {6, 3}  # one instant parts before from after


def test_a_reader_that_reads_on_hears_that_frames_have_left(tmp_path) -> None:
    from vidmem.errors import NotFound

    path = filled(tmp_path / "a.vidmem")
    with Store.open(path, KV, read_only=True) as reader, Store.open(path, KV) as store:
        rows = reader.frames_between(A, 0.0, 1e9)
        expire_four(store)
        with pytest.raises(NotFound):
            reader.load_tokens([rows[0].frame_id])
        kept = [row.frame_id for row in rows if 16 <= row.pts_seconds < 24]
        assert np.array_equal(reader.load_tokens(kept), world.frames(A, 2).tokens)


@pytest.mark.parametrize(
    ("gone", "until", "message"),
    [([5], 48.0, "newest"), ([4], 32.0, "begin at"), ([0], 12.0, "within a clip"), ([99], 48.0, "not of video")],
)
def test_what_may_not_leave_stays(tmp_path, gone, until, message) -> None:
    with Store.open(filled(tmp_path / "a.vidmem"), KV) as store:
        ids = {number: clip.clip_id for number, clip in enumerate(store.held_clips(A, 0.0, 1e9, 99))}
        with pytest.raises(ValueError, match=message):
            store.expire(A, [ids.get(clip, 12345) for clip in gone], until)
        check(store, list(range(6)), 6)
        expire_four(store)
        with pytest.raises(ValueError, match="lies before"):
            store.expire(A, [], 8.0)
        store.begin_video(world.video(1))
        with pytest.raises(ValueError, match="no stream"):
            store.expire(VideoId(world.video(1).video_id), [], 0.0)


def test_what_is_to_be_kept_is_noted(tmp_path) -> None:
    with Store.open(filled(tmp_path / "a.vidmem"), KV) as store:
        assert not store.retention().is_bounded
        store.set_retention(Retention(days=7, num_bytes=10**9))
    with Store.open(tmp_path / "a.vidmem", KV, read_only=True) as store:
        assert store.retention() == Retention(days=7, num_bytes=10**9)
