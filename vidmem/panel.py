"""What `vidmem watch` shows while it runs: a panel on a terminal, lines of text, or lines of JSON."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vidmem import console

if TYPE_CHECKING:
    from rich.table import Table

    from vidmem.pipelines import AlertsState, Told, Watch, WatchState

Show = Callable[[Mapping[Path, "WatchState"]], None]

_STOP_SECONDS = 1.5
"""For the clips in hand when a watch is to end; with what closing the stores takes, less than 2."""
_LINE_SECONDS = 10.0
_TOLD_SHOWN = 4
_BEHIND_SECONDS = 5.0
"""From here on it is said that alerts are late."""


@contextmanager
def panel() -> Iterator[tuple[Show, float]]:
    """A table that stays in its place, and how often to show it, in seconds."""
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield lambda states: live.update(_table(states), refresh=True), 0.5


@contextmanager
def lines() -> Iterator[tuple[Show, float]]:
    """One line of text a camera."""

    news = _News()

    def show(states: Mapping[Path, WatchState]) -> None:
        for store, told in news.of(states):
            console.say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {store.name} {told.message}")
        for store, state in states.items():
            cells = ", ".join(f"{name} {cell}" for name, cell in _cells(state).items() if cell)
            console.say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {store.name} {state.address}: {cells}")

    yield show, _LINE_SECONDS


@contextmanager
def json_lines() -> Iterator[tuple[Show, float]]:
    """One line of JSON a camera, each second; and one for each alert, as "alert"."""
    news = _News()

    def show(states: Mapping[Path, WatchState]) -> None:
        for store, told in news.of(states):
            _print_line({"time": time.time(), "store": str(store), "alert": console.plain(told)})
        for store, state in states.items():
            document = {"time": time.time(), "store": str(store), **console.plain(state)}
            del document["alerts"]["told"]  # each has a line of its own
            _print_line(document)
        sys.stdout.flush()

    yield show, 1.0


def follow(watches: Mapping[Path, Watch], show: Show, every: float, stop: threading.Event) -> bool:
    """Show watches, by their stores, until `stop` is set or all are over; then have them end.

    Returns:
        Whether all have ended. One that has not, a second and a half after it was told to, looks at a clip for long.

    Raises:
        VidmemError: what ended one of them. The others are told to end, too.
    """
    try:
        while True:
            show({store: watch.state() for store, watch in watches.items()})
            ended = [watch.wait(0) for watch in watches.values()]  # of all: each may have an error to raise
            if all(ended) or _waited(stop, every, watches.values()):
                break
    finally:
        have_ended = _end(list(watches.values()))
    show({store: watch.state() for store, watch in watches.items()})
    return have_ended


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """Is set by SIGINT and SIGTERM. Only for the main thread."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _News:
    """Tells what standing questions were told since it was last asked."""

    def __init__(self) -> None:
        self._last: dict[Path, int] = {}

    def of(self, states: Mapping[Path, WatchState]) -> list[tuple[Path, Told]]:
        new = []
        for store, state in states.items():
            new += [(store, told) for told in state.alerts.told if told.told_id > self._last.get(store, 0)]
            if state.alerts.told:
                self._last[store] = state.alerts.told[-1].told_id
        return new


def _print_line(document: object) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")


def _waited(stop: threading.Event, seconds: float, watches: Iterable[Watch]) -> bool:
    """Wait, but no longer than until one of the watches has ended or has an alert to tell; whether to stop."""
    deadline = time.monotonic() + seconds
    running = [watch for watch in watches if watch.is_running]
    num_told = sum(watch.num_told for watch in running)
    while (left := deadline - time.monotonic()) > 0:
        if stop.wait(min(left, 0.25)):
            return True
        if not all(watch.is_running for watch in running) or sum(watch.num_told for watch in running) > num_told:
            return False
    return False


def _end(watches: Sequence[Watch]) -> bool:
    stopping = [threading.Thread(target=watch.stop, daemon=True) for watch in watches]
    for thread in stopping:
        thread.start()
    deadline = time.monotonic() + _STOP_SECONDS
    ended = [watch.wait(max(0.0, deadline - time.monotonic())) for watch in watches]
    return all(ended)


def _cells(state: WatchState) -> dict[str, str]:
    source = state.source
    age, away = source.last_frame_age_seconds, source.outage_seconds
    missed = "" if away is None else f"for {away:.0f} s ({source.reason})"
    return {
        "state": " ".join(filter(None, [source.state.value, missed])),
        "last frame": "" if age is None else f"{age:.1f} s ago",
        "fps in": f"{source.fps_in:.1f}",
        "fps kept": f"{state.fps_kept:.1f}",
        "lag": "" if state.lag_seconds is None else f"{state.lag_seconds:.1f} s",
        "frames": str(state.committed),
        "dropped": str(source.dropped),
        "passed over": str(state.thinned) if state.thinned else "",
        "gaps": str(state.gaps),
        "reconnects": str(source.reconnects),
        "alerts": _alerts_cell(state.alerts),
    }


def _alerts_cell(alerts: AlertsState) -> str:
    """`2 told of 3 asked (1 failed: ...)`; nothing if nothing was asked."""
    if not alerts.asked and not alerts.num_told:
        return ""
    telling = alerts.telling
    troubles = [
        f"{telling.failed} failed: {telling.failure}" if telling.failed else "",
        f"{telling.missed} not told to who is too slow" if telling.missed else "",
        f"{alerts.unchecked} clips not checked: {alerts.failure}" if alerts.unchecked else "",
        f"{alerts.behind_seconds:.0f} s behind" if alerts.behind_seconds >= _BEHIND_SECONDS else "",
    ]
    said = "; ".join(filter(None, troubles))
    return f"{alerts.num_told} told, {len(alerts.asked)} asked" + (f" ({said})" if said else "")


def _table(states: Mapping[Path, WatchState]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    rows = {store: {"camera": state.address, **_cells(state)} for store, state in states.items()}
    table = Table()
    for name in next(iter(rows.values())):
        table.add_column(name)
    for cells in rows.values():
        table.add_row(*map(escape, cells.values()))
    told = [told.message for state in states.values() for told in state.alerts.told]
    table.caption = escape("\n".join(told[-_TOLD_SHOWN:])) if told else None
    return table
