"""Memory as SAM 2 itself chooses it: the prompted frames and the latest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from vidmem.memory.tracking.selection import Candidates, Choice, Kept, Limits, Reading


@dataclass(frozen=True, slots=True)
class PlainState:
    """Frames of one object, in time order. A frame is in one of the two."""

    prompted: tuple[int, ...]
    tracked: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plain:
    """Attend to the prompted frames closest in time and to the latest frames; take the mask of the best predicted IoU.

    Source: SAM 2 (Ravi et al., 2024), section 4, as the `sam2` package's video predictor has it.
    """

    name: ClassVar[str] = "sam2"
    reads_boxes: ClassVar[bool] = False
    limits: Limits = field(default_factory=Limits)
    max_prompted: int = 8
    """Prompted frames that are remembered, where the network itself sets no limit: the latest stay."""
    corrections_condition: bool = False
    """A corrected frame counts as a prompted one, and not as a tracked one."""
    present_above: float = 0.0

    def prompted(self, state: PlainState | None, frame: int, found: Candidates, *, initial: bool) -> PlainState:
        before = state or PlainState((), ())
        prompted, tracked = before.prompted, before.tracked
        if initial or self.corrections_condition:
            prompted += (frame,)
        else:
            tracked += (frame,)
        return self._pruned(prompted, tracked, frame)

    def read(self, state: PlainState, frame: int) -> Reading:
        attended, passed_over = self._closest(state.prompted, frame)
        # A prompted frame that is not among the closest may still be one of the latest.
        others = {*state.tracked, *passed_over}
        recent = [(f, row) for f, row in self._recent(frame) if f in others]
        rows = (self.limits.num_memories - 1,) * len(attended) + tuple(row for _, row in recent)
        pointers = [(f, frame - f) for f in attended] if self.limits.num_pointers else []
        pointers += [(frame - d, d) for d in range(1, self.limits.num_pointers) if frame - d in others]
        return Reading(
            frames=attended + tuple(f for f, _ in recent),
            rows=rows,
            pointer_frames=tuple(f for f, _ in pointers),
            distances=tuple(distance for _, distance in pointers),
        )

    def choose(
        self, states: Sequence[PlainState], found: Sequence[Candidates], frame: int
    ) -> Sequence[Choice[PlainState]]:
        (state,), (offered,) = states, found
        best = max(range(len(offered.ious)), key=offered.ious.__getitem__)
        return [Choice(0, best, self._pruned(state.prompted, (*state.tracked, frame), frame))]

    def kept(self, state: PlainState) -> Kept:
        latest = max(state.prompted + state.tracked)
        recent = {f for f in state.tracked if f == latest or self._may_be_recent(f, latest)}
        return Kept(
            frames=frozenset(recent.union(state.prompted)),
            pointer_frames=frozenset(state.prompted + state.tracked) if self.limits.num_pointers else frozenset(),
        )

    def _recent(self, frame: int) -> list[tuple[int, int]]:
        """The latest frames that may be attended to, the oldest first, with their rows."""
        stride = self.limits.stride
        last = (frame - 2) // stride * stride
        older = [(last - back * stride, back + 1) for back in reversed(range(self.limits.num_memories - 2))]
        return [*older, (frame - 1, 0)]

    def _may_be_recent(self, frame: int, latest: int) -> bool:
        stride = self.limits.stride
        oldest = (latest - 1) // stride * stride - (self.limits.num_memories - 3) * stride
        return frame % stride == 0 and frame >= oldest

    def _closest(self, prompted: tuple[int, ...], frame: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Prompted frames that are attended to, the latest first if not all are, and the others."""
        limit = self._limit
        if len(prompted) <= limit:
            return prompted, ()
        return tuple(reversed(prompted[-limit:])), prompted[:-limit]

    @property
    def _limit(self) -> int:
        own = self.limits.max_conditioning
        return self.max_prompted if own < 0 else min(own, self.max_prompted)

    def _pruned(self, prompted: tuple[int, ...], tracked: tuple[int, ...], frame: int) -> PlainState:
        """Leave out what nothing reads on the frames after `frame`."""
        reach = max(self.limits.num_pointers, self.limits.stride * self.limits.num_memories)
        since = frame + 1 - reach
        always = prompted[-self._limit :]
        return PlainState(
            prompted=tuple(f for f in prompted if f in always or f >= since),
            tracked=tuple(f for f in tracked if f >= since),
        )
