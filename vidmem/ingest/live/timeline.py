"""One timeline for a stream that comes in pieces: pure decisions on times, no pictures and no clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

_LATE_SECONDS = 1.0
"""A picture this little behind the newest is a late or a doubled one; one further behind has another clock."""
_JUMP_SECONDS = 10.0
"""A stream's clock that runs ahead of ours by more than this from one picture to the next was set anew."""
_STEP_SECONDS = 0.001
"""Between two pictures whose distance is not known."""
_HEAD_SECONDS = 2.0
"""How long a server may take to send what it had kept for whoever connects."""
_WINDOW_SECONDS = 15.0
"""The least delay of so long, and up to twice as long, is taken for no delay."""
_EARLY_SECONDS = 0.02
"""By so much a picture may come before it is wanted: times of a steady stream jitter."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where the pictures of a stream lie, over all its connections, in seconds from the first one on.

    Within a connection the distances are the stream's own. After an outage our clock says where it goes on. What
    arrives sooner after connecting than the stream's own clock says (a server sends what it had kept) had been waiting,
    and the same is expected of the next connection. Nothing ever lies at or before what came earlier.

    All times are seconds; `arrival` is monotonic. Every field is a number or None, so that JSON carries it.
    """

    zero: float | None = None
    """Arrival of the first picture of all."""
    latest: float = 0.0
    """The newest picture, on the timeline."""
    latest_arrival: float = 0.0
    anchor: float | None = None
    """What turns this connection's times into ours by addition; None until a picture with a time came."""
    begun_at: float | None = None
    """Arrival of this connection's first picture; None before it."""
    begun: float = 0.0
    """That picture on the timeline."""
    head: float = 0.0
    """Seconds by which the pictures ran ahead of our clock when this, or the last, connection began."""
    step: float = 0.0
    """Seconds between the latest two pictures with times, for pictures without."""
    window_at: float = 0.0
    least: float | None = None
    """The least of arrival less place on the timeline (counted from `zero`), in the window since `window_at`."""
    least_before: float | None = None
    """The same for the window before."""

    def reconnected(self) -> Timeline:
        """Before the first picture of a new connection."""
        return replace(self, anchor=None, begun_at=None)

    @property
    def delay(self) -> float:
        """The least that lay of late between a picture's place, counted from `zero`, and its arrival. Below 0 if
        pictures came sooner than the first one made expect."""
        known = [least for least in (self.least, self.least_before) if least is not None]
        return min(known, default=0.0)

    @property
    def captured(self) -> float:
        """When the newest picture would have arrived without delay, monotonic: as near to when it was taken as
        arrival can tell. Never later than its arrival, and it never runs backwards."""
        return (self.zero or 0.0) + self.latest + self.delay

    def expected(self, pts: float) -> float | None:
        """Where a picture of this time would lie if the stream's clock just goes on; None if that is not known."""
        return None if self.anchor is None else self.anchor + pts

    def placed(self, pts: float | None, arrival: float) -> Timeline | None:
        """The timeline with a picture more, the newest; None if the picture is late or was there before.

        Args:
            pts: its time by the stream's clock, None if it carries none.
        """
        if self.zero is None:
            return replace(self, zero=arrival)._moved(0.0, pts, arrival)._begun(arrival)
        if self.begun_at is None:
            place = arrival - self.zero - self.delay - self.head
            return self._moved(max(place, self.latest + _STEP_SECONDS), pts, arrival)._begun(arrival)
        passed = max(_STEP_SECONDS, arrival - self.latest_arrival)
        if pts is None:
            return self._moved(self.latest + (passed if self.anchor is None else self._step), None, arrival)
        place_or_none = self.expected(pts)
        if place_or_none is None:
            return self._moved(self.latest + max(passed, self._step), pts, arrival)
        place = place_or_none
        if place <= self.latest and self.latest - place < _LATE_SECONDS and passed < _LATE_SECONDS:
            return None
        if place <= self.latest or place - self.latest > passed + _JUMP_SECONDS:
            return self._moved(self.latest + passed, pts, arrival)
        return replace(self, step=min(1.0, place - self.latest))._moved(place, pts, arrival)

    @property
    def _step(self) -> float:
        return max(_STEP_SECONDS, self.step)

    def _begun(self, arrival: float) -> Timeline:
        return replace(self, begun_at=arrival, begun=self.latest, head=0.0)

    def _moved(self, place: float, pts: float | None, arrival: float) -> Timeline:
        assert self.zero is not None
        least, before, window_at = self.least, self.least_before, self.window_at
        delay = arrival - self.zero - place
        if least is None or arrival - window_at > _WINDOW_SECONDS:
            least, before, window_at = delay, least, arrival
        head = self.head
        if self.begun_at is not None and arrival - self.begun_at <= _HEAD_SECONDS:
            head = max(head, place - self.begun - (arrival - self.begun_at))
        return replace(
            self,
            latest=place,
            latest_arrival=arrival,
            anchor=self.anchor if pts is None else place - pts,
            head=head,
            window_at=window_at,
            least=min(least, delay),
            least_before=before,
        )


def next_due(due: float | None, taken: float, fps: float) -> float:
    """From when on the next picture is wanted, after one that was taken at `taken` and wanted from `due` on.

    The first picture at or after each of these times is taken; they are `1 / fps` apart, and begin anew with a picture
    that comes more than that too late, as after an outage. `due` None: no picture was taken before.

    Not the picture on display at a tick, as of a file: that would have to wait for the one after it. And not the first
    at or after `k / fps`: of a stream with just that rate, whose times jitter about the ticks, every second one would
    be passed over.
    """
    following = None if due is None else due + 1 / fps
    if following is None or taken - following >= 1 / fps:
        return taken + 1 / fps - min(_EARLY_SECONDS, 0.25 / fps)
    return following
