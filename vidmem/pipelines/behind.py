"""Work in a thread of its own, one step behind the caller."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Behind:
    """Runs one piece of work at a time; a context manager, left once nothing runs any more.

    Work that failed and was not waited for is raised on leaving, or noted on the error that is on its way.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._running: Future[None] | None = None
        self._then: Callable[[], None] | None = None

    def start(self, work: Callable[[], None], *, then: Callable[[], None] | None = None) -> None:
        """Begin a piece of work, once the one before was finished. `then` is called by `finish`."""
        assert self._running is None, "finish what runs first"
        self._running, self._then = self._thread.submit(work), then

    def finish(self) -> None:
        """Wait for what runs, and raise what it raised; then call, in this thread, what was to come behind it."""
        if self._running is not None:
            running, self._running = self._running, None
            running.result()
            if self._then is not None:
                self._then()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if self._running is not None and (failed := self._running.exception()) is not None:
            if error is None:
                raise failed
            error.add_note(f"And what ran beside it failed: {failed}")
