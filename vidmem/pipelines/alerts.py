"""Standing questions about a stream: checked on what is committed of it, behind the ingest and never in its way."""

from __future__ import annotations

import dataclasses
import getpass
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vidmem.errors import BadInput, StorageFull
from vidmem.index import AlertId, AlertRow, Store, StoredAlert, Told
from vidmem.pipelines.alert_checks import Asked, Change, Checks, CommittedClip, Said
from vidmem.pipelines.alert_words import read_alert
from vidmem.pipelines.behind import start_alone
from vidmem.pipelines.sight import Sight
from vidmem.pipelines.telling import Teller, Telling, Then, together
from vidmem.types import VideoId

if TYPE_CHECKING:
    from vidmem.pipelines.loading import Models

GONE_SECONDS = 2.0
"""What is gone for less, by default, was hidden, and is not told again."""
_SAVED_SECONDS = 60.0
"""Of a stream, between two notes of how far it is checked: so much is looked at again after a crash."""
_LAST_TOLD = 16
_STOP_SECONDS = 0.7
"""For the clip in hand when the checks are to stop; and half of it for what is to be told."""
_LAST_TELLING_SECONDS = 40.0
"""For what is still to be told when a stream is over: longer than a command may take."""
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class AskedState:
    """A standing question and what is known of its thing."""

    alert_id: AlertId
    text: str
    is_there: bool
    told: int
    """Times, since the watch began."""


@dataclass(frozen=True, slots=True)
class AlertsState:
    """A moment of the checks of one stream. Counts are since the watch began."""

    asked: tuple[AskedState, ...] = ()
    told: tuple[Told, ...] = ()
    """The latest, oldest first, 16 at most."""
    num_told: int = 0
    behind_seconds: float = 0.0
    """Of the stream: what is committed and not yet checked."""
    unchecked: int = 0
    """Clips that could not be checked."""
    failure: str = ""
    """Why one was last not checked."""
    telling: Telling = Telling()
    """Of all who are told, together."""


class Checker:
    """Checks the standing questions of one stream, in a thread of its own that follows what the store has of it.

    It reads the store and is given nothing but word that there is more: however long an answer takes, nothing piles up
    and the ingest does not wait. What was committed and not checked when a watch ended is checked by the next one.
    """

    def __init__(self, store: Store, models: Models, video_id: VideoId, source: str, *, until: float) -> None:
        """
        Args:
            source: the stream's shown address.
            until: how far it is committed.
        """
        self._store, self._video_id, self._source = store, video_id, source
        self._checks = Checks(store, models, video_id, source)
        self._bell = threading.Condition()
        self._is_over = self._is_finishing = False
        self._asked: dict[AlertId, Asked] = {}
        self._tellers: list[tuple[AlertId | None, Teller]] = []
        self._told: deque[Told] = deque(maxlen=_LAST_TOLD)
        self._num_told = self._unchecked = 0
        self._failure = ""
        self._committed = self._until = self._saved = until
        self._tried = float("-inf")
        """What could not be checked is tried again when there is more than this."""
        self._thread: threading.Thread | None = None
        known = [alert for alert in store.alerts() if not alert.is_done and alert.source in (None, source)]
        if known:
            progress = store.alert_progress(video_id)
            sights = progress.sights if progress is not None else {}
            # Nobody notes how far it is checked while nothing is asked: new questions don't look back so far.
            if progress is not None and any(alert.alert_id in sights for alert in known):
                self._until = self._saved = progress.until
            for alert in known:
                sight = sights.get(alert.alert_id)
                self._put(alert, Sight(**json.loads(sight)) if sight is not None else _first(alert, self._until))

    # -- for any thread --

    def ask(self, text: str, then: Then | None, *, gone_seconds: float) -> StoredAlert:
        """Put a standing question about this stream, from now on. Raises BadInput."""
        alert = self._store.add_alert(asked(text, gone_seconds=gone_seconds, source=self._source))
        self.put(alert)
        if then is not None:
            self.listen(then, alert.alert_id)
        return alert

    def put(self, alert: StoredAlert) -> None:
        """Check a question of the store, from now on."""
        with self._bell:
            if not self._asked:
                self._until = self._saved = self._committed
            if alert.alert_id not in self._asked:
                self._put(alert, _first(alert, self._until))

    def listen(self, then: Then, alert_id: AlertId | None = None) -> None:
        """Have somebody told of one question, or of all."""
        with self._bell:
            self._tellers.append((alert_id, Teller(then)))

    def drop(self, alert_id: AlertId) -> None:
        """Check a question no more."""
        with self._bell:
            self._asked.pop(alert_id, None)

    def committed(self, until: float) -> None:
        """There is more in the store, up to a time."""
        with self._bell:
            self._committed = until
            self._bell.notify_all()

    def state(self) -> AlertsState:
        with self._bell:
            states = [
                AskedState(one.alert.alert_id, one.alert.text, one.sight.is_there, one.num_told)
                for one in self._asked.values()
            ]
            return AlertsState(
                asked=tuple(states),
                told=tuple(self._told),
                num_told=self._num_told,
                behind_seconds=max(0.0, self._committed - self._until) if states else 0.0,
                unchecked=self._unchecked,
                failure=self._failure,
                telling=together([teller.state() for _, teller in self._tellers]),
            )

    @property
    def num_told(self) -> int:
        return self._num_told

    def close(self, *, finish: bool) -> None:
        """End the checks: with `finish` once all that is committed is checked and told, else soon."""
        with self._bell:
            self._is_finishing = finish and not self._is_over
            self._is_over = True
            self._bell.notify_all()
        self._wait(lambda: self._thread is None or not self._thread.is_alive(), float("inf"), _STOP_SECONDS)
        for _, teller in self._tellers:
            teller.end()
        is_told: Callable[[], bool] = lambda: all(teller.is_done for _, teller in self._tellers)  # noqa: E731
        self._wait(is_told, _LAST_TELLING_SECONDS, _STOP_SECONDS / 2)

    def cut(self) -> None:
        """Have `close`, now or later, end soon."""
        with self._bell:
            self._is_over, self._is_finishing = True, False
            self._bell.notify_all()

    def _wait(self, is_done: Callable[[], bool], seconds: float, seconds_if_cut: float) -> None:
        begun, cut_at = time.monotonic(), float("inf")
        while not is_done():
            now = time.monotonic()
            if self._is_cut():
                cut_at = min(cut_at, now)
            if now >= min(begun + seconds, cut_at + seconds_if_cut):
                return
            time.sleep(_POLL_SECONDS)

    # -- in the thread --

    def _put(self, alert: StoredAlert, sight: Sight) -> None:
        self._asked[alert.alert_id] = Asked(alert, sight)
        if self._thread is None:
            self._thread = start_alone("vidmem-alerts", self._run)

    def _is_cut(self) -> bool:
        return self._is_over and not self._is_finishing

    def _run(self) -> None:
        while self._has_more():
            seen = self._committed
            try:
                self._follow()
            except Exception as error:
                if self._is_cut():
                    return  # the store may be closed
                self._failure = _sentence(error)
            self._tried = seen
        self._save()

    def _has_more(self) -> bool:
        """Wait until there is something to be checked; False when it is not to be."""
        with self._bell:
            is_more = lambda: self._committed > max(self._until, self._tried)  # noqa: E731
            self._bell.wait_for(lambda: self._is_over or (bool(self._asked) and is_more()))
            return not self._is_cut() and bool(self._asked) and is_more()

    def _follow(self) -> None:
        """Check all that is committed and is not checked."""
        while not self._is_cut() and self._asked and (clips := self._checks.clips(self._until)):
            for clip in clips:
                if self._is_cut():
                    return
                self._check(clip)
            if self._until - self._saved >= _SAVED_SECONDS:
                self._save()

    def _check(self, clip: CommittedClip) -> None:
        """Look at a clip for every question, and tell what changed."""
        with self._bell:
            present = list(self._asked.values())
        said: Said = {}
        changes: list[Change] = []
        try:
            changes = [self._checks.change(one, clip, said) for one in present]
        except StorageFull:
            raise
        except Exception as error:  # such as a damaged segment: the next clip may be sound
            if self._is_cut():
                raise
            self._unchecked, self._failure = self._unchecked + 1, _sentence(error)
        new = [change.new for change in changes if change.new is not None]
        told: Sequence[Told] = ()
        if new:
            sights = {change.asked.alert.alert_id: _json(change.step.sight) for change in changes}
            told = self._store.note_checked(self._video_id, clip.end, sights, new)
            self._saved = clip.end
        with self._bell:
            for change in changes:
                change.asked.sight = change.step.sight
            self._until = max(self._until, clip.end)
            self._tell(told)

    def _tell(self, told: Sequence[Told]) -> None:
        """Pass on what is in the store. Called with the lock held."""
        for one in told:
            there = self._asked.get(one.alert_id)
            if there is not None:
                there.num_told += 1
                if there.alert.once:
                    del self._asked[one.alert_id]
            self._told.append(one)
            self._num_told += 1
            for alert_id, teller in self._tellers:
                if alert_id in (None, one.alert_id):
                    teller.give(one)

    def _save(self) -> None:
        """Note how far it is checked."""
        if self._until <= self._saved:
            return
        with self._bell:
            sights = {alert_id: _json(one.sight) for alert_id, one in self._asked.items()}
        try:
            self._store.note_checked(self._video_id, self._until, sights)
            self._saved = self._until
        except Exception as error:  # it is checked again, which tells nothing anew
            self._failure = _sentence(error)


def asked(text: str, *, gone_seconds: float, source: str | None) -> AlertRow:
    """A standing question as it goes into the store. Raises BadInput."""
    if not 0.0 <= gone_seconds < float("inf"):
        raise BadInput(f"Nothing can be gone for {gone_seconds} s: give gone_seconds of 0 or more.")
    wanted = read_alert(text)
    return AlertRow(
        text=" ".join(text.split()),
        phrase=wanted.phrase,
        change=wanted.change,
        comes_back=wanted.comes_back,
        once=wanted.once,
        gone_seconds=gone_seconds,
        source=source,
        asked_by=_login(),
    )


def _first(alert: StoredAlert, until: float) -> Sight:
    """Before anything was seen: what is to come back has to go first, if it is there."""
    return Sight(is_there=alert.comes_back, last_seen=until)


def _json(sight: Sight) -> str:
    return json.dumps(dataclasses.asdict(sight))


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__


def _login() -> str:
    """Whose program asks; "" where nobody has logged in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
