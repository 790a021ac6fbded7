"""What one tab of a browser has open, and what was said there: no other tab and no other person sees it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Event, Lock

from vidmem.ui.session import Opened
from vidmem.ui.talk import Turn

_KEPT = 1000
"""Visits that a page which is loaded again may go on with; those that were left the longest go first."""


@dataclass(eq=False)
class Visit:
    """Changed by the events of one tab alone, several of which may run at once: an answer is said while another video
    is opened."""

    opened: Opened | None = None
    """The video that is shown."""
    is_everywhere: bool = False
    """Whether all videos of its store are asked about."""
    _said: dict[str, tuple[Turn, ...]] = field(default_factory=dict)
    _answering: dict[str, Event] = field(default_factory=dict)
    """Set to end the answer that is being said in a conversation."""

    @property
    def conversation(self) -> str:
        """Names the conversation that is shown; "" while no video is open."""
        if self.opened is None:
            return ""
        return self.opened.store if self.is_everywhere else self.opened.key

    @property
    def is_answering(self) -> bool:
        """Whether an answer is being said in the conversation that is shown."""
        return self.conversation in self._answering

    def said(self, conversation: str) -> tuple[Turn, ...]:
        """What was said, the newest last."""
        return self._said.get(conversation, ())

    def add(self, conversation: str, turn: Turn) -> None:
        self._said[conversation] = (*self.said(conversation), turn)

    def clear(self) -> None:
        """Forget the conversation that is shown."""
        self._said.pop(self.conversation, None)

    def begin(self, conversation: str) -> Event | None:
        """What `stop` sets while an answer is being said, until `end`; None where one is being said already."""
        stop = Event()
        return stop if self._answering.setdefault(conversation, stop) is stop else None

    def end(self, conversation: str) -> None:
        self._answering.pop(conversation).set()

    def stop(self) -> None:
        """End the answer that is being said in the conversation that is shown."""
        if (stop := self._answering.get(self.conversation)) is not None:
            stop.set()

    def leave(self) -> None:
        """End all answers: the page that waited for them went away."""
        for stop in list(self._answering.values()):
            stop.set()


class Visits:
    """Those that went on lately, so that a tab which is reloaded goes on with its own. For any thread."""

    def __init__(self) -> None:
        self._visits: OrderedDict[tuple[str, str], Visit] = OrderedDict()
        self._lock = Lock()

    def go_on(self, name: str, here: Visit, person: str = "") -> Visit:
        """The visit of a tab that was loaded: the one that it had before, or else `here`.

        Args:
            name: what only this tab knows (`scripts/page.js`).
            person: who logged in; the same tab, used by somebody else, is another visit.
        """
        with self._lock:
            visit = self._visits.setdefault((person, name), here)
            self._visits.move_to_end((person, name))
            if len(self._visits) > _KEPT:
                self._visits.popitem(last=False)
        if visit is not here:
            visit.leave()
        return visit
