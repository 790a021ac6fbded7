"""A writer that is killed, or meets a failing disk at any call: every committed block stays, to the bit."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import time

import pytest
import segment_world as world

from vidmem.errors import StorageFull
from vidmem.kv.records import BlockId
from vidmem.kv.segments import SegmentLog

NUM_KILLS = 50


@pytest.fixture(scope="module")
def processes():
    """Forked from one server that has all imported, which makes 50 of them cheap."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["numpy", "vidmem.kv.segments"])
    return made


def test_killed_at_any_time(processes, tmp_path):
    """The writer starts where the one before it died, so that damage would add up."""
    rng = random.Random(0)
    for _ in range(NUM_KILLS):
        acknowledged = processes.RawValue("i", 0)  # without a lock, which the dead would keep
        writer = processes.Process(target=world.append_for_ever, args=(tmp_path, acknowledged))
        writer.start()
        deadline = time.monotonic() + 60
        while acknowledged.value == 0 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)
        writer.kill()
        writer.join()
        said = acknowledged.value
        assert said > 0
        position = world.committed(tmp_path)
        assert position.num_blocks >= said
        log = SegmentLog(tmp_path / "kv", position, read_only=True)
        newest = range(max(0, log.num_blocks - 200), log.num_blocks)
        assert world.read(log, list(map(BlockId, newest))) == {number: world.payload(number) for number in newest}
    log = SegmentLog(tmp_path / "kv", position)
    assert world.read(log) == world.expected(position.num_blocks)
    assert log.verify() == []
    assert position.num_blocks > NUM_KILLS and position.segment > 3


class FailingDisk:
    """The operating system's calls for files, of which the n-th and all later ones find no space."""

    NAMES = ("open", "pwritev", "fsync", "mkdir")

    def __init__(self, patch: pytest.MonkeyPatch, number: int) -> None:
        self.calls = 0
        self.number = number
        for name in self.NAMES:
            patch.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, real):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            self.calls += 1
            if self.calls >= self.number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        return call


@pytest.mark.parametrize("num_committed", [0, 5])
def test_no_space_at_any_call_keeps_what_was_committed(tmp_path, num_committed):
    number, failed = 0, 0
    while failed == number:
        number += 1
        log = SegmentLog(tmp_path / str(number), segment_bytes=world.SEGMENT_BYTES)
        for block in range(num_committed):
            world.append(log, block)
        position = log.flush()
        with pytest.MonkeyPatch.context() as patch:
            FailingDisk(patch, number)
            try:
                write_clip(log, 1000)
            except StorageFull as error:
                assert "No space is left" in str(error)
                failed += 1
        if failed < number:
            break  # it came to its end before the n-th call
        assert {number: world.read(log).get(number) for number in range(num_committed)} == world.expected(num_committed)
        with pytest.raises(StorageFull, match="go on from the last commit"):
            world.append(log, 0)
        with pytest.raises(StorageFull, match="go on from the last commit"):
            log.flush()
        log.cut(position)
        write_clip(log, num_committed)
        assert world.read(SegmentLog(log.folder, log.flush())) == world.expected(num_committed + 8)
    assert number > 15


def write_clip(log, first):
    """Eight blocks, which need a new segment on the way."""
    for number in range(first, first + 8):
        world.append(log, number)
    log.flush()


def test_a_write_that_the_system_cuts_short_is_completed(tmp_path, monkeypatch):
    real_write, real_read = os.pwritev, os.preadv
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, at: real_write(fd, [bytes(parts[0])[:100]], at))
    monkeypatch.setattr(os, "preadv", lambda fd, parts, at: real_read(fd, [parts[0][:100]], at))
    log = SegmentLog(tmp_path / "kv", segment_bytes=world.SEGMENT_BYTES)
    write_clip(log, 0)
    assert world.read(SegmentLog(tmp_path / "kv", log.flush())) == world.expected(8)


def test_a_sector_that_cannot_be_read_costs_its_block_alone(tmp_path, monkeypatch):
    log = SegmentLog(tmp_path / "kv")
    write_clip(log, 0)
    bad = int(log._record(3)["offset"]) + 64
    real = os.preadv

    def read(descriptor, parts, at):
        if at <= bad < at + sum(part.nbytes for part in parts):
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, parts, at)

    monkeypatch.setattr(os, "preadv", read)
    assert world.read(log) == {**world.expected(8), 3: None}
    assert [lost.span for lost in log.lost_blocks()] == [world.span(3)]


def test_a_forbidden_folder_is_said(tmp_path, monkeypatch):
    log = SegmentLog(tmp_path / "kv")

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(StorageFull, match="can't be written"):
        world.append(log, 0)
