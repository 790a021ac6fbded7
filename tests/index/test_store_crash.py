"""A writer that dies, is interrupted, or meets a failing disk at any step: every committed clip stays, nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time

import pytest
import store_crash as crash
import store_world as world

from vidmem.errors import StorageFull
from vidmem.index import Store

A = world.video().video_id


@pytest.fixture(scope="module")
def processes():
    return crash.context()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A closed store of two clips."""
    path = tmp_path_factory.mktemp("crash") / "a.vidmem"
    with Store.open(path, world.IDENTITY) as store:
        store.begin_video(world.video())
        for clip in range(2):
            world.append(store, A, clip)
    return path


def copy(path, place):
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(path, place)
    return place


def run_to_death(processes, target, *arguments) -> bool:
    """Run a process that is to kill itself; False if it came to its end instead."""
    process = processes.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -9), process.exitcode
    return process.exitcode == -9


def check(path, num_clips: set[int]) -> int:
    """The store holds whole clips and nothing else, and takes the next one. Returns how many it held."""
    with Store.open(path, world.IDENTITY, read_only=True) as store:
        before = world.content(store)
    with Store.open(path, world.IDENTITY) as store:
        found = store.video(A).num_clips
        assert found in num_clips
        assert world.content(store) == before == {A: world.expected(A, found)}
        assert store.verify() == []
        assert len(world.files(path)) == found + 1 + found * world.FRAMES
        hits = store.search(world.frames(A, found - 1).embeddings[0], found * world.FRAMES + 1)
        assert len(hits) == found * world.FRAMES and hits[0].score == pytest.approx(1.0, abs=1e-3)
        world.append(store, A, found)
        assert world.content(store) == {A: world.expected(A, found + 1)}
    return found


@pytest.mark.parametrize("clips", [range(2, 3), range(2, 5)])
def test_killed_at_any_line_of_a_commit(processes, filled, tmp_path, clips):
    with Store.open(copy(filled, tmp_path / "count"), world.IDENTITY) as store:
        num_lines = crash.count_lines(lambda: world.append_together(store, A, clips))
    assert num_lines > 150
    held = []
    for line in range(1, num_lines + 1, max(1, num_lines // 24)):
        path = copy(filled, tmp_path / "a.vidmem")
        assert run_to_death(processes, crash.append_and_die, str(path), A, clips, line)
        held.append(check(path, {2, clips.stop}))
    assert held == sorted(held) and {2, clips.stop} == set(held)  # one instant parts before from after


def test_killed_at_any_line_of_a_removal(processes, filled, tmp_path):
    with Store.open(copy(filled, tmp_path / "count"), world.IDENTITY) as store:
        num_lines = crash.count_lines(lambda: store.remove_video(A))
    held = []
    for line in range(1, num_lines + 1, max(1, num_lines // 12)):
        path = copy(filled, tmp_path / "a.vidmem")
        assert run_to_death(processes, crash.remove_and_die, str(path), A, line)
        with Store.open(path, world.IDENTITY) as store:
            held.append(len(store.videos()))
            assert store.verify() == []
            assert world.content(store) == ({A: world.expected(A, 2)} if held[-1] else {})
            assert bool(world.files(path)) == bool(held[-1])
    assert held == sorted(held, reverse=True) and {0, 1} == set(held)


def test_killed_at_any_line_of_a_creation(processes, tmp_path):
    opened: list[Store] = []
    num_lines = crash.count_lines(lambda: opened.append(Store.open(tmp_path / "count.vidmem", world.IDENTITY)))
    opened[0].close()
    for line in range(1, num_lines - 5, max(1, num_lines // 12)):
        path = tmp_path / f"{line}.vidmem"
        assert run_to_death(processes, crash.create_and_die, str(path), line)
        with Store.open(path, world.IDENTITY) as store:
            store.begin_video(world.video())
            world.append(store, A, 0)
            assert world.content(store) == {A: world.expected(A, 1)} and store.verify() == []


def test_killed_at_any_time(processes, tmp_path):
    path = tmp_path / "a.vidmem"
    for attempt in range(6):
        acknowledged = processes.Value("i", 0)
        process = processes.Process(target=crash.append_for_ever, args=(str(path), A, acknowledged))
        process.start()
        deadline = time.monotonic() + 60
        while acknowledged.value == 0 and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.0057 * attempt)  # another place in a clip each time
        process.kill()
        process.join()
        said = acknowledged.value
        assert said > 0
        check(path, {said, said + 1})


class FailingDisk:
    """The operating system's calls for files, of which the n-th and all later ones find no space."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int) -> None:
        self.calls = 0
        self.number = number
        for name in ("open", "write", "fsync", "replace", "mkdir"):
            patch.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, real):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            self.calls += 1
            if self.calls >= self.number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        return call


def test_no_space_at_any_call_leaves_the_store_as_it_was(filled, tmp_path):
    number, failed = 0, 0
    while failed == number:
        number += 1
        path = copy(filled, tmp_path / "a.vidmem")
        with Store.open(path, world.IDENTITY) as store:
            before = world.files(path)
            with pytest.MonkeyPatch.context() as patch:
                FailingDisk(patch, number)
                try:
                    world.append(store, A, 2)
                except StorageFull:
                    failed += 1
            if failed == number:
                assert world.content(store) == {A: world.expected(A, 2)}
                assert world.files(path) == before and store.verify() == []
                world.append(store, A, 2)
            assert world.content(store) == {A: world.expected(A, 3)}
    assert number > 10


@pytest.mark.parametrize("happened", [False, True])
def test_a_commit_of_unknown_outcome_is_settled_by_the_next_opening(filled, tmp_path, happened):
    path = copy(filled, tmp_path / "a.vidmem")
    store = Store.open(path, world.IDENTITY)
    catalogue = store._catalogue
    assert catalogue is not None
    real, before = catalogue._run, catalogue._connection.total_changes

    def fail(query, *values):  # type: ignore[no-untyped-def]
        if query != "COMMIT" or catalogue._connection.total_changes == before:
            return real(query, *values)
        if happened:
            real(query)
        raise KeyboardInterrupt

    catalogue._run = fail
    with pytest.raises(KeyboardInterrupt):
        world.append(store, A, 2)
    catalogue._run = real
    with pytest.raises(StorageFull, match="open it again"):
        world.append(store, A, 3)
    assert len(store.videos()) == 1
    store.close()
    assert check(path, {2, 3}) == 2 + happened


def test_interrupted_at_any_line_of_a_commit(filled, tmp_path):
    def interrupt() -> None:
        raise KeyboardInterrupt

    with Store.open(copy(filled, tmp_path / "count"), world.IDENTITY) as store:
        num_lines = crash.count_lines(lambda: world.append(store, A, 2))
    held = []
    for line in range(1, num_lines + 1, max(1, num_lines // 30)):
        path = copy(filled, tmp_path / "a.vidmem")
        store = Store.open(path, world.IDENTITY)
        sys.settrace(crash.at_line(line, interrupt))
        try:
            world.append(store, A, 2)
            pytest.fail("the interrupt did not come through")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        found = store.video(A).num_clips
        assert world.content(store) == {A: world.expected(A, found)}
        store.close()
        held.append(check(path, {2, 3}))
        assert held[-1] == found
    assert held == sorted(held)


def test_a_reader_opens_what_a_killed_writer_left(processes, tmp_path):
    path = tmp_path / "a.vidmem"
    with Store.open(path, world.IDENTITY) as store:
        store.begin_video(world.video())
        world.append(store, A, 0)
        crashed = copy(path, tmp_path / "crashed.vidmem")  # as a crash leaves it: journal and all, nothing closed
    assert os.path.getsize(crashed / "catalogue.sqlite-wal") > 0
    (crashed / "catalogue.sqlite-shm").unlink()
    with Store.open(crashed, world.IDENTITY, read_only=True) as reader:
        assert world.content(reader) == {A: world.expected(A, 1)}
    check(crashed, {1})
