"""Work one step behind the caller: in order, with its errors raised where it is waited for."""

from __future__ import annotations

import threading

import pytest

from vidmem.pipelines.behind import Behind


def test_work_runs_in_another_thread_and_what_follows_it_in_the_callers() -> None:
    may_end, done = threading.Event(), []
    with Behind("work") as behind:
        behind.finish()  # nothing runs yet
        for name in "ab":
            behind.finish()

            def work(name: str = name) -> None:
                assert may_end.wait(60) and threading.current_thread() is not threading.main_thread()
                done.append(name)

            behind.start(work, then=lambda name=name: done.append((name, threading.current_thread().name)))
            assert ("a" in done) == (name == "b")  # the second began once the first was done, and is not waited for
            may_end.set() if name == "a" else None
        behind.finish()
    assert done == ["a", ("a", "MainThread"), "b", ("b", "MainThread")]


def test_an_error_is_raised_where_the_work_is_waited_for_and_nothing_follows() -> None:
    followed = []

    def fail() -> None:
        raise OSError("no")

    with Behind("work") as behind:
        behind.start(fail, then=lambda: followed.append(1))
        with pytest.raises(OSError, match="no"):
            behind.finish()
        behind.start(lambda: followed.append(2))
    assert followed == [2]  # leaving waits for what runs


def test_leaving_raises_what_failed_and_notes_it_on_an_error_that_is_on_its_way() -> None:
    def fail() -> None:
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"), Behind("work") as behind:
        behind.start(fail)
    with pytest.raises(ValueError, match="the source") as raised, Behind("work") as behind:
        behind.start(fail)
        raise ValueError("the source")
    assert "the disk" in raised.value.__notes__[0]
