"""Long work: it waits its turn, tells how far it is, is cancelled, fails with one sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from vidmem.errors import BadInput
from vidmem.ui.jobs import Cancelled, Jobs, Tell


@pytest.fixture
def one_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def phases(jobs: Jobs) -> list[str]:
    return [state.phase for state in jobs.states()]


def test_jobs_run_in_their_order_and_tell_how_far_they_are(one_thread: ThreadPoolExecutor) -> None:
    jobs, told, go_on = Jobs(), Event(), Event()

    def work(tell: Tell) -> int:
        tell("Half of it", 0.5)
        told.set()
        go_on.wait(60)
        return 7

    first = jobs.start(one_thread, "ingest", "a", "x.mp4", work)
    jobs.start(one_thread, "ingest", "b", "y.mp4", lambda tell: None)
    told.wait(60)
    assert [(state.phase, state.message, state.fraction) for state in jobs.states(store="a")] == [
        ("running", "Half of it", 0.5)
    ]
    assert phases(jobs) == ["running", "waiting"]
    go_on.set()
    assert first.result(60) == 7
    one_thread.shutdown(wait=True)
    assert phases(jobs) == ["done", "done"]


def test_what_runs_ends_when_it_next_tells_and_what_waits_never_begins(one_thread: ThreadPoolExecutor) -> None:
    jobs, running, cancelled = Jobs(), Event(), Event()

    def work(tell: Tell) -> None:
        running.set()
        cancelled.wait(60)
        tell("More")

    first = jobs.start(one_thread, "ingest", "", "x.mp4", work)
    second = jobs.start(one_thread, "ingest", "", "y.mp4", lambda tell: None)
    running.wait(60)
    jobs.cancel_all()
    cancelled.set()
    for job in (first, second):
        with pytest.raises(Cancelled):
            job.result(60)
    assert phases(jobs) == ["cancelled", "cancelled"]


def test_a_failure_is_one_sentence_and_takes_nothing_down(
    one_thread: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = Jobs()

    def known(tell: Tell) -> None:
        raise BadInput("x.mp4 is no video: give another")

    def unforeseen(tell: Tell) -> None:
        raise ZeroDivisionError("a secret path")

    with caplog.at_level(logging.ERROR):
        for work in (known, unforeseen):
            jobs.start(one_thread, "ingest", "", "x.mp4", work)
        assert jobs.start(one_thread, "ingest", "", "y.mp4", lambda tell: 1).result(60) == 1
    one, other, _ = jobs.states()
    assert one.phase == other.phase == "failed" and one.message == "x.mp4 is no video: give another"
    assert "secret" not in other.message and "ZeroDivisionError" in other.message
    assert "a secret path" in caplog.text and "x.mp4 is no video" not in caplog.text


def test_only_what_is_over_can_be_dismissed(one_thread: ThreadPoolExecutor) -> None:
    jobs, go_on = Jobs(), Event()
    job = jobs.start(one_thread, "ingest", "", "x.mp4", lambda tell: go_on.wait(60))
    number = job.state().job_id
    jobs.dismiss(number)
    assert len(jobs.states()) == 1
    go_on.set()
    job.result(60)
    one_thread.shutdown(wait=True)
    jobs.dismiss(number)
    jobs.cancel(number)
    assert jobs.states() == []


def test_what_failed_is_tried_again_in_its_place_and_what_is_done_is_not(one_thread: ThreadPoolExecutor) -> None:
    jobs, tries = Jobs(), iter([BadInput("not yet"), 7])

    def work(tell: Tell) -> int:
        if isinstance(found := next(tries), BadInput):
            raise found
        return found

    first = jobs.start(one_thread, "fetch", "a", "x.mp4", work, group="trip")
    with pytest.raises(BadInput):
        first.result(60)
    jobs.again(first.state().job_id)
    one_thread.shutdown(wait=True)
    (state,) = jobs.states()
    assert (state.kind, state.store, state.subject, state.group) == ("fetch", "a", "x.mp4", "trip")
    assert state.phase == "done" and state.job_id != first.state().job_id
    jobs.again(state.job_id)
    jobs.again(first.state().job_id)
    assert jobs.states() == [state]
