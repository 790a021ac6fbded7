"""What a policy decides: what becomes of frames that leave working memory, what is forgotten, what a query reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.similarity import affinity, cosine_similarity


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of long-term memory."""

    num_tokens: int
    """Tokens of each of its elements."""
    max_elements: int
    """How many it holds at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What a level of long-term memory becomes: what is kept of it, in order, followed by what it gains."""

    gained: Elements
    """Elements with the level's tokens, in time order, none of which starts before what is kept. No views of memory."""
    kept: Tensor | None = None
    """Places that stay, int64, ascending. None: all."""

    @classmethod
    def forgetting_oldest(cls, held: Elements, gained: Elements, max_elements: int) -> Change:
        """Append, and let the oldest go where there is no room."""
        gained = gained[max(0, len(gained) - max_elements) :]
        num_gone = max(0, len(held) + len(gained) - max_elements)
        return cls(gained, torch.arange(num_gone, len(held)) if num_gone else None)


class Policy(Protocol):
    """Decides at frame granularity. Keeps no state and changes nothing: the store applies what it returns.

    A class with fields for options, whose docstring begins with one line that says what it does.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    """The paper that it is from."""

    @property
    def reads_on_write(self) -> bool:
        """Whether each new frame queries memory before it is written, so that usage grows without any question."""

    @property
    def reads_working(self) -> bool:
        """Whether a query sees working memory too, or long-term memory alone once that holds anything."""

    def levels(self, num_tokens: int, max_elements: int) -> tuple[Level, ...]:
        """How long-term memory is divided: levels that hold `num_tokens * max_elements` tokens at most, together.

        Args:
            num_tokens: P, of each frame as it comes.
            max_elements: room for so many whole frames.
        """

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        """What becomes of N >= 1 frames that leave working memory, and of what is there already.

        Args:
            leaving: the frames, in time order. Not modified.
            held: what each level holds, all of it before the frames. Not modified.
            levels: as `levels` has said.
            first_index: how many frames have left working memory before.

        Returns:
            For each level, what it becomes: not more than it may hold, starts that never decrease, on the device of
            `leaving`.
        """

    def affinity(self, key: Tensor, query: Tensor, readable: Tensor | None = None) -> Tensor:
        """Share of each query that each element gets.

        Args:
            key: (N, C), N >= 1: long-term memory, level by level, then working memory, each in time order.
            query: (Q, C): embeddings of frames or texts from the encoder that made the keys.
            readable: (N, Q) bool, False where a query must not see an element. None: all see all.

        Returns:
            (N, Q) float32; each column sums to 1, or to 0 if its query may see nothing.
        """


@dataclass(frozen=True, slots=True)
class WholeFrames:
    """What all but a few policies share: one level of whole frames, working memory is read, new frames read nothing."""

    @property
    def reads_on_write(self) -> bool:
        return False

    @property
    def reads_working(self) -> bool:
        return True

    def levels(self, num_tokens: int, max_elements: int) -> tuple[Level, ...]:
        return (Level(num_tokens, max_elements),)


@dataclass(frozen=True, slots=True)
class FramePolicy(WholeFrames):
    """What most policies share: whole frames, read by the softmax of the nearest elements' cosines."""

    top_k: int = 32
    """Elements that share one query's affinity."""
    logit_scale: float = 100.0
    """Factor on cosines before the softmax; 100 is where CLIP's training caps it."""

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top_k={self.top_k} must be at least 1")

    def affinity(self, key: Tensor, query: Tensor, readable: Tensor | None = None) -> Tensor:
        similarity = cosine_similarity(key.float(), query.float()) * self.logit_scale
        if readable is not None:
            similarity = similarity.masked_fill(~readable, -torch.inf)
        return affinity(similarity, top_k=self.top_k)
