"""Work in a thread of its own, behind the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

T = TypeVar("T")


def start_alone(name: str, run: Callable[[], None]) -> threading.Thread:
    """Start a thread on which torch's operators run alone: a second team of threads would take the cores from the
    caller's."""
    has_begun = threading.Event()

    def run_alone() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # makes it this thread's own number: that is set when it is first asked for
        has_begun.set()
        run()

    thread = threading.Thread(target=run_alone, name=name, daemon=True)
    num_threads = torch.get_num_threads()
    thread.start()
    has_begun.wait()
    torch.set_num_threads(num_threads)  # what the thread has set for itself, torch would give new threads, too
    return thread


class Behind(Generic[T]):
    """Works at what the caller hands over, several pieces at a time and in order; a context manager.

    Pieces gather until there are `together` of them, or `most_bytes`, or the first has waited for `patience_seconds`:
    the thread then takes them all. Leaving waits until all that was handed over is done, also with an error on its way.

    Torch's operators run on this thread alone there, see `start_alone`.

    What the work raises ends it: pieces that wait by then are not worked on. The error is raised where the caller next
    hands over or waits; on leaving it is raised, or noted on the error that is on its way.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[T]], None],
        *,
        together: int,
        most_bytes: int,
        patience_seconds: float,
    ) -> None:
        self._work, self._together, self._most_bytes = work, together, most_bytes
        self._patience_seconds = patience_seconds
        self._bell = threading.Condition()
        self._waiting: list[tuple[T, Callable[[], None] | None]] = []
        self._waiting_bytes = 0
        self._is_busy = self._is_awaited = self._is_over = False
        self._done: list[Callable[[], None]] = []
        self._failure: BaseException | None = None
        self._is_told = False
        self._thread = start_alone(name, self._run)

    def give(self, piece: T, *, num_bytes: int = 0, then: Callable[[], None] | None = None) -> None:
        """Hand over a piece. One that fills a group waits until the group before is done, and is then worked on.

        Args:
            num_bytes: what the piece holds until it is done.
            then: called in the caller's thread, once the piece is done, by a later `give` or by `finish`.
        """
        with self._bell:
            if self._is_full(1, num_bytes):
                self._bell.wait_for(lambda: not self._is_busy and not self._is_full())
        self._follow()
        with self._bell:
            if self._failure is None:
                self._waiting.append((piece, then))
                self._waiting_bytes += num_bytes
                self._bell.notify_all()

    def finish(self) -> None:
        """Wait until all is done, without further patience."""
        self._await()
        self._follow()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._await()
        with self._bell:
            self._is_over = True
            self._bell.notify_all()
        self._thread.join()
        if self._failure is not None and not self._is_told:
            if error is None:
                raise self._failure
            error.add_note(f"And what ran beside it failed: {self._failure}")

    def _is_full(self, more: int = 0, more_bytes: int = 0) -> bool:
        """Whether as much waits as is done together, or would with so much more."""
        is_long = len(self._waiting) + more >= self._together
        return is_long or self._waiting_bytes + more_bytes >= self._most_bytes

    def _await(self) -> None:
        with self._bell:
            self._is_awaited = True
            self._bell.notify_all()
            self._bell.wait_for(lambda: not self._waiting and not self._is_busy)
            self._is_awaited = False

    def _follow(self) -> None:
        """Raise what failed; else call what was to follow what is done."""
        with self._bell:
            done, self._done = self._done, []
            failure = self._failure
        for then in done:
            then()
        if failure is not None:
            self._is_told = True
            raise failure

    def _run(self) -> None:
        while (group := self._taken()) is not None:
            failure: BaseException | None = None
            try:
                self._work([piece for piece, _ in group])
            except BaseException as error:
                failure = error
            with self._bell:
                self._is_busy = False
                self._done += [then for _, then in group if then is not None and failure is None]
                if failure is not None:
                    self._failure = failure
                    self._waiting.clear()
                self._bell.notify_all()
            if failure is not None:
                return

    def _taken(self) -> list[tuple[T, Callable[[], None] | None]] | None:
        """What is to be done next, once there is something; None when all is over."""
        with self._bell:
            self._bell.wait_for(lambda: self._waiting or self._is_over)
            if not self._waiting:
                return None
            self._bell.wait_for(lambda: self._is_full() or self._is_awaited, self._patience_seconds)
            group, self._waiting = self._waiting, []
            self._waiting_bytes, self._is_busy = 0, True
            self._bell.notify_all()
            return group
