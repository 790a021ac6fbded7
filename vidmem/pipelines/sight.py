"""Whether a thing is there, clip by clip: pure decisions on how alike frames are to its name, and on what was said.

The encoder's scores make a suspicion, what the video-LLM says is added to it, and a change that is undone at once is
not told again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vidmem.index import Change

UNSEEN_SECONDS = 0.34
"""What is there must be out of sight for so long, at the end of a clip, before it is asked whether it went: one frame
at 2 fps, which ends where the next one is due, and that is up to a picture of the camera's too early."""
_MOST_FRAMES = 4
"""So many frames show a change to the video-LLM."""
_MAYBE = -2.0
"""Nats of the encoder from which on the video-LLM is asked whether a thing came. With the embedded models that is
asked of one thing more in each still that does not show it, of 71, than from 0 on."""
_SURE = 6.0
"""Nats of both together from which on it did, or went. On 360 stills of the world (60 scripts), shown twice, the
embedded models said so of 417 of 428 things that were there and of none that was not; from 4 on of 418, and of 2."""
_ENCODER_MOST = 3.0
"""Nats that the encoder may add to these: it alone is never sure."""
_OTHER = 0.5
"""Nats: what differs by so much is another picture. A suspicion so much stronger than what was refused is a new one."""
_LONGEST_WAIT = 31
"""Clips between two questions about a suspicion that was refused again and again."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A clip as the encoder sees it: F frames, at least one, each standing for `[starts, ends)` in seconds."""

    starts: np.ndarray
    ends: np.ndarray
    scores: np.ndarray
    """How alike each is to the name of the thing: cosine similarity."""
    odds: np.ndarray
    """What the encoder makes of that, in nats: above 0 a frame may well show it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of a thing after some clips. Every field goes into JSON."""

    is_there: bool = False
    since: float | None = None
    """When it came or went, in seconds of the stream; None if it never did."""
    last_seen: float = 0.0
    """End of the last frame that showed it, while it is there."""
    is_news: bool = False
    """It had been gone for long enough when it came."""
    odds: float = 0.0
    """Of the frame that showed it best when it came."""
    refusals: int = 0
    """How often in a row the suspicion that there is now was refused."""
    waited: int = 0
    """Clips since it was last asked."""
    refused: float = 0.0
    """The strongest suspicion that was."""


@dataclass(frozen=True, slots=True)
class Clue:
    """A suspicion that something came or went."""

    change: Change
    at: float
    """When, in seconds of the stream."""
    frames: tuple[int, ...]
    """Which frames of the clip show it to the video-LLM, in order."""
    best: int
    """The one that shows it best."""
    strength: float
    """What the encoder has for it, in nats."""

    def is_so(self, says: float) -> bool:
        """Whether both models together are sure. `says`: nats of the video-LLM for the thing being on the frames."""
        return min(self.strength, _ENCODER_MOST) + (says if self.change == "appears" else -says) >= _SURE


@dataclass(frozen=True, slots=True)
class Step:
    """The sight after a clip, and whether its change is told."""

    sight: Sight
    is_told: bool = False


def clue_of(sight: Sight, look: Look) -> Clue | None:
    """What a clip makes suspect."""
    if not sight.is_there:
        best = int(look.odds.argmax())
        if look.odds[best] < _MAYBE:
            return None
        came = float(look.starts[_like(look, float(look.odds[best]))[0]])
        # With a frame before it came the video-LLM is surer than without.
        frames = tuple(sorted(np.argsort(-look.odds, kind="stable")[:_MOST_FRAMES].tolist()))
        return Clue("appears", came, frames, best, float(look.odds[best]))
    like = _like(look, sight.odds)
    first = int(like[-1]) + 1 if len(like) else 0
    unseen_from = float(look.ends[first - 1]) if first else sight.last_seen
    if first == len(look.ends) or float(look.ends[-1]) - unseen_from < UNSEEN_SECONDS:
        return None
    frames = tuple(range(max(first, len(look.ends) - _MOST_FRAMES), len(look.ends)))
    return Clue("disappears", unseen_from, frames, frames[0], -float(look.odds[first:].max()))


def _like(look: Look, odds: float) -> np.ndarray:
    """Indexes of the frames that look as a thing does that is there, of which the best one has these odds."""
    return np.flatnonzero(look.odds >= min(0.0, odds - _OTHER))


def is_due(sight: Sight, clue: Clue) -> bool:
    """Whether the video-LLM is to be asked about a suspicion now.

    One that was refused is asked about again in the next clip, and then after 1, 3, 7 ... more: what looks like a dog
    all day long costs a question every half a minute. One that has grown is asked about at once.
    """
    if sight.refusals == 0 or clue.strength >= sight.refused + _OTHER:
        return True
    return sight.waited >= min(_LONGEST_WAIT, 2 ** (sight.refusals - 1) - 1)


def passed(sight: Sight, look: Look, clue: Clue | None) -> Sight:
    """After a clip about which nothing was asked. What was refused, and has not grown, is still so."""
    if clue is not None:
        return replace(sight, last_seen=float(look.ends[-1]), waited=sight.waited + 1)
    like = _like(look, sight.odds)
    seen = float(look.ends[like[-1]]) if len(like) else sight.last_seen
    return replace(sight, last_seen=seen, refusals=0, waited=0, refused=0.0)


def refused(sight: Sight, look: Look, clue: Clue) -> Sight:
    """After what the video-LLM said did not make it sure."""
    strongest = clue.strength if sight.refusals == 0 else max(sight.refused, clue.strength)
    seen = float(look.ends[-1]) if sight.is_there else sight.last_seen
    return replace(sight, last_seen=seen, refusals=sight.refusals + 1, waited=0, refused=strongest)


def confirmed(sight: Sight, look: Look, clue: Clue, gone_seconds: float) -> Step:
    """After both models were sure that it came or went.

    A coming is told unless the thing was there less than `gone_seconds` before. A going is told if the coming before it
    was one to be told, or the thing was there for so long: what hides for a moment and is back gives no second alert.
    """
    lasted = sight.since is None or clue.at - sight.since >= gone_seconds
    if clue.change == "appears":
        seen = float(look.ends[_like(look, clue.strength)[-1]])
        return Step(Sight(True, clue.at, seen, is_news=lasted, odds=clue.strength), is_told=lasted)
    return Step(Sight(False, clue.at), is_told=sight.is_news or lasted)
