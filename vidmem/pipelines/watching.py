"""A stream that is watched: received, cut, looked at, remembered and committed, until somebody ends it."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Self

import numpy as np

from vidmem.errors import BadInput
from vidmem.index import AlertId, StoredAlert
from vidmem.ingest import Gap, Health, LiveConfig, LiveFrame, LiveSource
from vidmem.pipelines.alerts import GONE_SECONDS, AlertsState, Checker
from vidmem.pipelines.stream_clips import Cutter, Pace, StreamClip
from vidmem.pipelines.telling import Then
from vidmem.pipelines.writing import ClipToWrite, ClipWriter
from vidmem.types import VideoId

WatchPolicy = Literal["drop-oldest", "adaptive-fps", "block"]
"""What happens while frames come faster than they can be looked at: the oldest that wait are dropped; of several only
one is kept, evenly; or the stream waits."""

CLIP_SECONDS = 1.0
"""A frame is committed with its clip, as soon as no more can come to that: a long clip would be long in coming."""
_RATE_SECONDS = 10.0
_FRAMES_TOGETHER = 8
"""While frames wait, clips are looked at together until they have so many: the models take much less time for them than
one by one. No more clips, for what is begun is ended when a watch is stopped."""


@dataclass(frozen=True, slots=True)
class WatchState:
    """A moment of a watch. Counts are of the whole time since it began.

    Of the `source.frames` that were wanted and came, `source.dropped` and `thinned` are not kept, `source.waiting` wait
    in the queue, and all others were taken into clips: `taken`.
    """

    video_id: VideoId
    address: str
    """Without its secrets."""
    is_running: bool
    source: Health
    taken: int
    """Frames that were taken into clips."""
    thinned: int
    """Frames passed over by `adaptive-fps`."""
    committed: int
    """Frames that are in the store."""
    clips: int
    """Clips that are in the store."""
    gaps: int
    """Outages that ended, and times in which all frames were dropped."""
    stride: int
    """Of so many frames that come one is kept; above 1 only with `adaptive-fps`."""
    fps_kept: float
    """Frames committed in a second, over the latest ten at most."""
    lag_seconds: float | None
    """From the arrival of the newest committed frame until it was committed; None before the first."""
    waited_seconds: float | None
    """For how long the oldest frame that is not yet committed has been here; None if there is none."""
    alerts: AlertsState = AlertsState()
    """The standing questions about it."""


class _Counts:
    """Numbers that the threads of a watch keep and any thread reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque()
        self._under_way: deque[float] = deque()
        self.taken = self.thinned = self.committed = self.clips = self.gaps = 0
        self.lag_seconds: float | None = None

    def take(self, arrived: float) -> None:
        with self._lock:
            self.taken += 1
            self._under_way.append(arrived)

    def commit(self, clip: StreamClip) -> None:
        now = time.monotonic()
        with self._lock:
            for _ in clip.arrived:
                self._under_way.popleft()
            self.committed += len(clip.arrived)
            self.clips += 1
            self.lag_seconds = now - clip.arrived[-1]
            self._recent.append((now, len(clip.arrived)))
            self._forget(now)

    def waited(self, now: float) -> float | None:
        with self._lock:
            return now - self._under_way[0] if self._under_way else None

    def fps_kept(self, now: float) -> float:
        with self._lock:
            self._forget(now)
            since = min(_RATE_SECONDS, max(1.0, now - self._begun))
            return sum(count for _, count in self._recent) / since

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - _RATE_SECONDS:
            self._recent.popleft()


class Watch:
    """A stream that is being remembered, by a thread of its own; a context manager. Made by `VideoMemory.watch`.

    It goes on for ever, over every loss of the stream, until it is stopped, a file or recording is over, or the disk is
    full. What is committed stays, whatever ends it.
    """

    def __init__(
        self,
        source: LiveSource,
        video_id: VideoId,
        cutter: Cutter,
        open_writer: Callable[[ExitStack], ClipWriter],
        checker: Checker,
        *,
        policy: WatchPolicy,
        room: int,
    ) -> None:
        """
        Args:
            source: closed by this.
            open_writer: called with the first clip, in the thread; what the writer needs is closed with the stack.
            checker: of the standing questions; closed by this.
            room: frames that the source's queue holds.
        """
        self._source, self._cutter, self._open_writer = source, cutter, open_writer
        self._room, self._video_id, self._checker = room, video_id, checker
        self._writer: ClipWriter | None = None
        self._cut: list[StreamClip] = []
        """Not yet looked at."""
        self._pace = Pace() if policy == "adaptive-fps" else None
        self._counts, self._stopped = _Counts(), threading.Event()
        self._failure: BaseException | None = None
        self._is_told = False
        self._thread = threading.Thread(target=self._run, name="vidmem-watch", daemon=True)
        self._thread.start()

    @property
    def video_id(self) -> VideoId:
        """The video that the stream is in the store."""
        return self._video_id

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    @property
    def has_failed(self) -> bool:
        """Whether it has ended by an error, which `wait` raises."""
        return self._failure is not None

    def state(self) -> WatchState:
        """How it is now. For any thread."""
        counts, now = self._counts, time.monotonic()
        return WatchState(
            video_id=self._video_id,
            address=self._source.info.uri,
            is_running=self.is_running,
            source=self._source.health(),
            taken=counts.taken,
            thinned=counts.thinned,
            committed=counts.committed,
            clips=counts.clips,
            gaps=counts.gaps,
            stride=self._pace.stride if self._pace else 1,
            fps_kept=counts.fps_kept(now),
            lag_seconds=counts.lag_seconds,
            waited_seconds=counts.waited(now),
            alerts=self._checker.state(),
        )

    def push(self, picture: np.ndarray) -> None:
        """Hand over the next picture of a stream that `VideoMemory.watch_pushed` began, uint8 RGB (H, W, 3), of this
        moment. For any thread. Raises BadInput if it is none, the watch has ended, or its stream has an address."""
        self._source.push(picture)

    def alert(self, text: str, then: Then | None = None, *, gone_seconds: float = GONE_SECONDS) -> StoredAlert:
        """Ask something that is told when it happens: `a dog appears`, `tell me when the cup is gone`.

        Every clip that is committed from now on is looked at, by the encoder first; what that makes suspect, the
        video-LLM confirms. The question stays in the store and goes on with the next watch of this stream, until it is
        removed, or answered if it is one of `tell me when ...` or `when does ...?`. For any thread.

        Args:
            then: called with each `Told`, in a thread of its own: what it takes, or raises, stops nothing. A
                `Command` or a `Webhook` is one, too. It is not kept in the store.
            gone_seconds: what is gone for less was hidden, and its return is not told again.

        Returns:
            The question; the one that is there, if it was put in the same words before and is still open.

        Raises:
            BadInput: it names nothing that could be looked for.
        """
        return self._checker.ask(text, then, gone_seconds=gone_seconds)

    def listen(self, then: Then) -> None:
        """Have `then` called with whatever any standing question about this stream is told. See `alert`."""
        self._checker.listen(then)

    @property
    def num_told(self) -> int:
        """How much standing questions were told since it began."""
        return self._checker.num_told

    def put_alert(self, alert: StoredAlert) -> None:
        """Check a question that is in the store, from now on."""
        self._checker.put(alert)

    def drop_alert(self, alert_id: int) -> None:
        """Check a question no more. It stays in the store."""
        self._checker.drop(AlertId(alert_id))

    def stop(self) -> None:
        """Have it end: what is being looked at is still committed, the rest is dropped. For any thread; returns at once
        but for closing the source."""
        self._stopped.set()
        self._checker.cut()
        self._source.close()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended, at most so long; whether it has.

        Raises:
            StorageFull, StoreCorrupt: this ended it.
        """
        self._thread.join(seconds)
        if self._failure is not None:
            self._is_told = True
            raise self._failure
        return not self.is_running

    def close(self) -> None:
        """Stop, and wait. Raises as `wait`, but only what `wait` has not raised yet."""
        self.stop()
        self._thread.join()
        if self._failure is not None and not self._is_told:
            self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                stack.callback(self._source.close)
                for item in self._source:
                    if isinstance(item, Gap) or self._is_kept(item):
                        self._gather(self._cutter.push(self._foretold(item)))
                    if sum(len(cut.arrived) for cut in self._cut) >= _FRAMES_TOGETHER or not self._source.num_waiting:
                        self._write(stack)
                self._gather(self._cutter.finish())
                self._write(stack)
                if self._writer is not None:
                    self._writer.finish()
        except BaseException as error:
            self._failure = error  # raised by whoever waits
        self._checker.close(finish=self._failure is None)

    def _is_kept(self, frame: LiveFrame) -> bool:
        if self._pace is not None:
            seen = self._pace.seen(waiting=self._source.num_waiting, room=self._room, now=time.monotonic())
            is_kept, self._pace = seen.taken()
            if not is_kept:
                self._counts.thinned += 1
                return False
        self._counts.take(frame.arrived)
        return True

    def _foretold(self, item: LiveFrame | Gap) -> LiveFrame | Gap:
        """As it came, but that nothing is known of the next frame where some are passed over: this one stands for
        them."""
        is_thinned = self._pace is not None and self._pace.stride > 1
        return replace(item, next_from=None) if is_thinned and isinstance(item, LiveFrame) else item

    def _gather(self, cut: StreamClip | None) -> None:
        if cut is not None:
            self._cut.append(cut)

    def _write(self, stack: ExitStack) -> None:
        if not self._cut or self._stopped.is_set():
            return
        if self._writer is None:
            self._writer = self._open_writer(stack)
        self._counts.gaps += sum(cut.gap is not None for cut in self._cut)
        self._writer.write([self._to_write(cut) for cut in self._cut])
        self._cut = []

    def _to_write(self, cut: StreamClip) -> ClipToWrite:
        committed = functools.partial(self._committed, cut)
        return ClipToWrite(cut.clip, wall_start=cut.wall_start, gap=cut.gap, at_commit=committed)

    def _committed(self, cut: StreamClip) -> None:
        self._counts.commit(cut)
        self._checker.committed(cut.clip.span.end)


def live_config(
    policy: WatchPolicy, *, transport: str, speed: float, loop: bool, allow_private: bool = True
) -> LiveConfig:
    """How the stream is received. Raises BadInput."""
    if policy not in ("drop-oldest", "adaptive-fps", "block"):
        raise BadInput(f"There is no policy {policy!r}: give drop-oldest, adaptive-fps or block.")
    return LiveConfig(
        transport=transport,  # type: ignore[arg-type]
        policy="block" if policy == "block" else "drop-oldest",
        speed=speed,
        loop=loop,
        allow_private=allow_private,
    )
