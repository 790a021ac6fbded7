"""What a tracker and a memory selection say to each other. See the package's docstring for the order of calls.

A selection decides in Python numbers and holds no tensor; the tracker moves memories, and runs the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from vidmem.memory.tracking.kalman import Box

S = TypeVar("S")
"""A selection's own state of one pathway: immutable, of bounded size."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much memory the network attends to, as it was trained. The defaults are those of SAM 2's released models."""

    num_memories: int = 7
    """Rows of the network's table of times: the prompted frames share the last one, the rest are of other frames."""
    num_pointers: int = 16
    """Object pointers, one more than those of the latest frames."""
    stride: int = 1
    """Every how many frames one is remembered, besides the latest one."""
    max_conditioning: int = -1
    """Prompted frames that are attended to, the closest in time; -1 for any number."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one pathway attends to on a frame, in the order of the network's tokens."""

    frames: tuple[int, ...]
    """Frames whose memory is read."""
    rows: tuple[int, ...]
    """The row of the network's table of times for each of `frames`: the last for prompts, 0 for the newest frame."""
    pointer_frames: tuple[int, ...]
    """Frames whose object pointer is read."""
    distances: tuple[int, ...]
    """How many frames ago each of `pointer_frames` counts as."""
    frame_scales: tuple[float, ...] = ()
    """Factor on the keys of each of `frames`; () for none. Values are never scaled."""
    pointer_scales: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """Frames that some later reading may still name. All others are forgotten before the next frame."""

    frames: frozenset[int]
    pointer_frames: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What the network offers for one pathway on one frame: M masks, and what it thinks of them.

    `masks` (M, h, w) are float32 logits at a quarter of the network's square, all -1024 where the object is taken to
    be absent. A prompted frame has one.
    """

    ious: tuple[float, ...]
    """(M,) predicted IoU of each mask."""
    object_score: float
    """A logit: the object is there if it is above 0."""
    masks: Tensor
    square: int
    """Side of the network's square in pixels."""
    frame_size: tuple[int, int]
    """Height and width of the video's frames."""
    boxes: tuple[Box, ...] | None = None
    """Of the masks, by `boxes.candidate_boxes`; None where the selection reads none."""


@dataclass(frozen=True, slots=True)
class Choice(Generic[S]):
    """One pathway after a frame."""

    pathway: int
    """Index of the pathway that it continues."""
    candidate: int
    """Index of the mask that it takes."""
    state: S
    """With this frame in it. The old state is untouched, so a frame can be taken again from it."""
    binarise: bool = False
    """Whether the frame's memory is made of the mask cut at 0, as on prompted frames, and not of its probabilities."""


class Selection(Protocol[S]):
    """Chooses masks and memory for each object alone.

    A state stands for one pathway: one hypothesis of what the object did. Most selections have one pathway an object.
    Frames are indices in the stream; they only grow, and some may be left out.
    """

    @property
    def present_above(self) -> float:
        """Object score, a logit, above which the object's mask is shown."""
        ...

    @property
    def reads_boxes(self) -> bool:
        """Whether it wants the candidates' boxes: the tracker then finds those of all objects at once."""
        ...

    def prompted(self, state: S | None, frame: int, found: Candidates, *, initial: bool) -> S:
        """Take in a frame that was prompted; it replaces all pathways of the object.

        Args:
            state: the best pathway before this frame; None for a new object.
            found: the one mask that was made of the prompt.
            initial: the mask was made without memory; else it corrects what was tracked on this frame.
        """
        ...

    def read(self, state: S, frame: int) -> Reading:
        """What to attend to on a frame later than all that the state remembers."""
        ...

    def choose(self, states: Sequence[S], found: Sequence[Candidates], frame: int) -> Sequence[Choice[S]]:
        """Choose among all pathways' candidates. The first choice is the one that is shown."""
        ...

    def kept(self, state: S) -> Kept:
        """What a later reading of this state, or of one that follows it, may name."""
        ...
