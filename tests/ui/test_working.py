"""Threads for what takes long have less priority than those that answer the page."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import Future

import pytest

from vidmem.ui.working import workers


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own here")
def test_workers_and_the_threads_that_they_begin_step_back_and_nobody_else() -> None:
    def of_another() -> int:
        found: Future[int] = Future()
        threading.Thread(target=lambda: found.set_result(niceness())).start()
        return found.result()

    if (before := niceness()) >= 19:
        pytest.skip("nothing steps back from here")
    with workers("test") as pool:
        assert pool.submit(niceness).result() == pool.submit(of_another).result() == min(19, before + 10)
    assert niceness() == of_another() == before


def test_where_no_thread_may_step_back_they_work_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "setpriority", refuse)
    with workers("test") as pool:
        assert pool.submit(str, 7).result() == "7"
