"""An answer while it is being said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from vidmem.pipelines.time_of_day import gap_sentence
from vidmem.types import Answer, Gap, Hit, Reading


class AnswerStream:
    """Pieces of an answer's text as they come, then the whole `Answer` as `result`.

    Recall is done when this is made, so `evidence` is there before the first piece. Closing stops the model. What the
    model raises comes out of the iteration.
    """

    def __init__(
        self,
        question: str,
        pieces: Iterator[str],
        evidence: Sequence[Hit],
        timings: dict[str, float],
        *,
        begun: float,
        on_end: Callable[[Answer], object],
        reading: Reading | None = None,
    ) -> None:
        self.question, self.evidence, self.reading = question, evidence, reading
        self._pieces, self._timings, self._begun, self._on_end = pieces, timings, begun, on_end
        self._told: list[str] = []
        self._error: Exception | None = None
        self._result: Answer | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self._error is not None:
            raise self._error
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._end()
            raise
        except Exception as error:
            self._error = error  # half an answer is no result: whoever asks for one hears of this again
            raise
        if not self._told:
            self._timings["first_token"] = time.perf_counter() - self._begun
        self._told.append(piece)
        return piece

    @property
    def result(self) -> Answer:
        """The whole answer; what was not yet said of it is generated now. After `close`, what was said until then."""
        for _ in self:
            pass
        assert self._result is not None, "an iteration that ends leaves a result"
        return self._result

    def close(self) -> None:
        """Stop the model. The answer ends with what was said."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self) -> None:
        if self._result is not None:
            return
        total = time.perf_counter() - self._begun
        timings = {**self._timings, "total": total}
        timings.setdefault("first_token", total)
        self._result = Answer(self.question, "".join(self._told).strip(), self.evidence, timings, self.reading)
        self._on_end(self._result)


def with_gaps(pieces: Iterator[str], gaps: Sequence[Gap], notes: Sequence[str] = ()) -> Iterator[str]:
    """What a model says, and behind it what was not seen of the times that it is about, and what else is to be said."""
    with ExitStack() as stack:
        close = getattr(pieces, "close", None)
        if close is not None:
            stack.callback(close)
        yield from pieces
    for gap in gaps:
        yield f" {gap_sentence(gap)}"
    for note in notes:
        yield f" {note}"
