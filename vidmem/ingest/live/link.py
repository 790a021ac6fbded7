"""Whether a stream is alive, and what to do if it is not: a state machine that is told the time and the chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from vidmem.ingest.live.loss import Loss


class Phase(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what is waited for. All in seconds.

    With these, a server that comes back is found within 5 s: 3 for the longest pause, the rest to connect and for the
    first picture that can be decoded by itself.
    """

    connect_seconds: float = 10.0
    """For an answer, and then for a first packet."""
    stall_seconds: float = 5.0
    """For the next packet of a stream that is alive."""
    first_pause_seconds: float = 0.25
    """Before the second attempt; doubled with each that fails."""
    longest_pause_seconds: float = 3.0
    refused_pause_seconds: float = 60.0
    """After a refused password: cameras lock out who tries too often."""
    settled_seconds: float = 5.0
    """A connection that has lived so long makes the pauses start over."""


@dataclass(frozen=True, slots=True)
class Link:
    """One moment of a stream's life. `now` is monotonic seconds throughout."""

    patience: Patience
    phase: Phase
    since: float
    """When this phase began."""
    deadline: float
    """When something must have happened: a sign of life, or the next attempt."""
    epoch: int = 0
    """Connections so far that gave a picture."""
    failures: int = 0
    """Attempts in a row that failed, or did not live long."""
    lost_since: float | None = None
    """When the outage that lasts began; None while alive, and before the first picture."""
    why: Loss | None = None
    """The latest loss."""

    @classmethod
    def begun(cls, now: float, patience: Patience) -> Link:
        return cls(patience, Phase.CONNECTING, now, now + patience.connect_seconds)

    def heard(self, now: float) -> Link:
        """A packet came."""
        settled = self.phase is Phase.LIVE and now - self.since >= self.patience.settled_seconds
        allowed = self.patience.stall_seconds if self.phase is Phase.LIVE else self.patience.connect_seconds
        return replace(self, deadline=now + allowed, failures=0 if settled else self.failures)

    def shown(self, now: float) -> Link:
        """A connection's first picture came."""
        return replace(
            self,
            phase=Phase.LIVE,
            since=now,
            deadline=now + self.patience.stall_seconds,
            epoch=self.epoch + 1,
            lost_since=None,
        )

    def lost(self, now: float, why: Loss, *, luck: float) -> Link:
        """The connection, or the attempt at one, came to nothing. `luck` is uniform in [0, 1).

        The pause is between half of what its number says and all of it, so that many watchers of one server that was
        away do not come back in step.
        """
        pause = self.patience.refused_pause_seconds
        if why not in (Loss.UNAUTHORIZED, Loss.FORBIDDEN):
            doubled = self.patience.first_pause_seconds * 2.0 ** min(self.failures, 30)
            pause = min(self.patience.longest_pause_seconds, doubled)
        return replace(
            self,
            phase=Phase.WAITING,
            since=now,
            deadline=now + pause * (0.5 + 0.5 * luck),
            failures=self.failures + 1,
            lost_since=now if self.phase is Phase.LIVE else self.lost_since,
            why=why,
        )

    def retried(self, now: float) -> Link:
        """The pause is over."""
        return replace(self, phase=Phase.CONNECTING, since=now, deadline=now + self.patience.connect_seconds)

    def ended(self, now: float) -> Link:
        return replace(self, phase=Phase.ENDED, since=now, deadline=float("inf"))

    @property
    def silence(self) -> Loss:
        """What it means that the deadline passed."""
        return Loss.FROZEN if self.phase is Phase.LIVE else Loss.SILENT
