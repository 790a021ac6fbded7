"""What a tracker and a memory selection strategy say to each other. See the package's docstring for the order of calls.

All values are small and on the host: a strategy decides over numbers and names, the tracker holds the tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor


class Record(NamedTuple):
    """Names what the tracker stores of one object on one frame: its memory features and its object pointer."""

    frame_index: int
    slot: int = 0
    """The pathway that wrote it: always 0 but for a strategy that follows several."""


class Branch(NamedTuple):
    """Where a record comes from: candidate `candidate` of the answer to the `run`-th `Attention`."""

    run: int
    candidate: int


@dataclass(frozen=True, slots=True)
class Attention:
    """What one run of the tracker reads on one frame, in token order."""

    memories: tuple[Record, ...]
    rows: tuple[int, ...]
    """Row of the learned temporal table for each memory. The last row is the prompts', row 0 the newest frame's."""
    pointers: tuple[Record, ...]
    distances: tuple[int, ...]
    """How far back each pointer lies, in frames, before it is divided by the largest that is possible."""
    memory_scales: tuple[float, ...] | None = None
    """Factor on the keys (memory plus position, not the values) of all tokens of each memory; None for no scaling."""
    pointer_scales: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What the decoder answered for one object on one frame: R runs (one for each `Attention`) with K masks each."""

    ious: np.ndarray
    """(R, K) float32: predicted IoU of each mask."""
    object_logits: np.ndarray
    """(R,) float32: whether the object is there at all; above 0 it is."""
    boxes: np.ndarray | None = None
    """(R, K, 4): x1, y1, x2, y2 of each mask, extremes inclusive, zeros for an empty one, in any pixels that stay the
    same; `candidate_boxes` makes them. Wanted where a strategy has `needs_boxes`."""
    num_pixels: np.ndarray | None = None
    """(R, K): pixels of each mask, zeros where the object is absent. Wanted where a strategy has `needs_masks`."""
    masks: Callable[[], Tensor] | None = None
    """Gives (R, K, H, W) bool, the masks that `num_pixels` counts. Called on few frames, so nothing is copied to the
    host without need. Wanted where a strategy has `needs_masks`."""


StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True, eq=False)
class Choice(Generic[StateT]):
    """What a strategy made of one object's candidates on one frame."""

    state: StateT
    """The object's state from now on. The old one is untouched, so a frame can be taken again from it."""
    branches: tuple[Branch, ...]
    """What to store as `Record(frame_index, slot)`, slot by slot. The mask of slot 0 is the one to show."""
    is_anchor: bool = False
    """Whether memory features are to be made of the mask cut to 0 and 1, as for a prompt, instead of the soft one."""


@dataclass(frozen=True, slots=True)
class Held:
    """What an object's strategy may still read. All else can be freed, and will not be asked for."""

    memories: frozenset[Record] = field(default_factory=frozenset)
    pointers: frozenset[Record] = field(default_factory=frozenset)


class Strategy(Protocol[StateT]):
    """Which of the masks is the object, and which past frames its memory shows. Keeps no state itself.

    Frame indices only grow, and may leave some out. All that is asked for has been stored before, unless a frame was
    passed over.
    """

    name: ClassVar[str]
    min_object_logit: ClassVar[float]
    """A mask is shown, and its own pointer stored, where the object's logit is above; else both are of no object."""
    needs_boxes: ClassVar[bool]
    needs_masks: ClassVar[bool]

    def prompt(self, state: StateT | None, frame_index: int, box: np.ndarray | None = None) -> StateT:
        """Begin with an object prompted on a frame (`state` None), or take in a later prompt of it.

        The tracker stores `Record(frame_index)` for it, in place of what it may have stored on this frame.

        Args:
            box: (4,) of the prompted mask in the pixels of `Candidates.boxes`, None if it is empty or not known.
        """
        ...

    def attend(self, state: StateT, frame_index: int) -> tuple[Attention, ...]:
        """What to read for this frame: one entry for each run of memory attention and mask decoder."""
        ...

    def choose(
        self, states: Sequence[StateT], frame_index: int, candidates: Sequence[Candidates]
    ) -> tuple[Choice[StateT], ...]:
        """Decide for all objects tracked on this frame at once; prompted frames are not chosen from."""
        ...

    def held(self, state: StateT) -> Held:
        """What may still be read for any later frame."""
        ...
