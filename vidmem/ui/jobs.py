"""Long work that belongs to the app and not to a page: it is queued, tells how far it is, and can be cancelled.

A page that is reloaded or closed interrupts nothing: it only looks at the states of jobs.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any, Generic, Literal, TypeVar

from vidmem.errors import VidmemError

_log = logging.getLogger(__name__)
_KEPT = 2000
"""Jobs that are over and still told of; the oldest go first."""

Phase = Literal["waiting", "running", "done", "failed", "cancelled"]
T = TypeVar("T")


class Cancelled(VidmemError):
    """Somebody ended the job. What it had committed stays."""


@dataclass(frozen=True, slots=True)
class JobState:
    """A moment of a job."""

    job_id: int
    kind: str
    """What it does, in one word, such as `ingest`."""
    store: str
    """Key of the store that it works on; "" for none."""
    subject: str
    """What it works on, such as a video's file."""
    group: str = ""
    """What it is a part of, such as a folder; "" for nothing."""
    phase: Phase = "waiting"
    message: str = "Waiting for what was begun before"
    """One sentence for a person; why it failed, if it did."""
    fraction: float | None = None
    """In [0, 1]; None while nobody knows."""
    is_news: bool = False
    """Whether the message is to be read even after all went well."""

    @property
    def is_over(self) -> bool:
        return self.phase not in ("waiting", "running")


Tell = Callable[..., None]
"""`tell(message, fraction=None, is_news=False)` says how far a job is. Raises Cancelled once somebody cancelled it."""


class Job(Generic[T]):
    """One piece of work. For any thread."""

    def __init__(self, state: JobState, executor: Executor, work: Callable[[Tell], T]) -> None:
        self._state, self._lock = state, Lock()
        self._executor, self._work = executor, work
        self._cancelled = Event()
        self._future: Future[T]

    def state(self) -> JobState:
        with self._lock:
            return self._state

    def cancel(self) -> None:
        """Have it end as soon as it next tells how far it is."""
        self._cancelled.set()
        if self._future.cancel():
            self._now(phase="cancelled", message="Cancelled before it began")

    def result(self, timeout: float | None = None) -> T:
        """What the work returned, waiting for it; raises what it raised, Cancelled if it was cancelled."""
        if self.state().phase == "cancelled":
            raise Cancelled(self.state().message)
        return self._future.result(timeout)

    def tell(self, message: str, fraction: float | None = None, *, is_news: bool = False) -> None:
        if self._cancelled.is_set():
            raise Cancelled("Cancelled; what was committed stays")
        self._now(message=message, fraction=fraction, is_news=is_news)

    def start(self) -> None:
        """Queue it behind what its executor does already."""
        self._future = self._executor.submit(self._run)

    def anew(self, job_id: int) -> Job[T]:
        """The same work as another job."""
        state = self.state()
        return Job(JobState(job_id, state.kind, state.store, state.subject, state.group), self._executor, self._work)

    def _run(self) -> T:
        """Do the work in this thread and tell how it ended."""
        try:
            self._now(phase="running", message="Beginning")
            self.tell("Beginning")
            done = self._work(self.tell)
        except Cancelled as error:
            self._now(phase="cancelled", message=str(error))
            raise
        except Exception as error:
            self._now(phase="failed", message=sentence(error))
            raise
        self._now(phase="done", fraction=1.0)
        return done

    def _now(self, **changes: Any) -> None:
        with self._lock:
            self._state = replace(self._state, **changes)


class Jobs:
    """All jobs of the app, the newest last."""

    def __init__(self) -> None:
        self._numbers, self._lock = itertools.count(1), Lock()
        self._jobs: dict[int, Job[Any]] = {}

    def start(
        self,
        executor: Executor,
        kind: str,
        store: str,
        subject: str,
        work: Callable[[Tell], T],
        *,
        group: str = "",
    ) -> Job[T]:
        """Queue work behind what the executor does already."""
        return self._add(Job(JobState(next(self._numbers), kind, store, subject, group), executor, work))

    def again(self, job_id: int) -> None:
        """Begin anew what failed or was cancelled, in the place of that job. One that goes on, or is done, stays."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or job.state().phase not in ("failed", "cancelled"):
                return
            del self._jobs[job_id]
        self._add(job.anew(next(self._numbers)))

    def _add(self, job: Job[T]) -> Job[T]:
        with self._lock:
            over = [number for number, one in self._jobs.items() if one.state().is_over]
            for number in over[: max(0, len(self._jobs) - _KEPT)]:
                del self._jobs[number]
            self._jobs[job.state().job_id] = job
            job.start()
        return job

    def states(self, *, store: str | None = None) -> list[JobState]:
        """Of all jobs, or those of a store, in the order they were begun."""
        with self._lock:
            states = [job.state() for job in self._jobs.values()]
        return [state for state in states if store is None or state.store == store]

    def cancel(self, job_id: int) -> None:
        """Cancel a job. One that is over, or that nobody knows any more, stays as it is."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is not None and not job.state().is_over:
            job.cancel()

    def dismiss(self, job_id: int) -> None:
        """Tell of a job that is over no more."""
        with self._lock:
            if job_id in self._jobs and self._jobs[job_id].state().is_over:
                del self._jobs[job_id]

    def cancel_all(self) -> None:
        for state in self.states():
            self.cancel(state.job_id)


def sentence(error: BaseException) -> str:
    """What went wrong, as a person should read it. What nobody foresaw goes into the log, whole."""
    if isinstance(error, VidmemError):
        return str(error)
    _log.error("this should not have happened", exc_info=error)
    return f"This did not work ({type(error).__name__}): the log of vidmem says more."
