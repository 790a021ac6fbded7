"""What a policy decides: what stays of frames that leave working memory, what is forgotten, what a query reads."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from vidmem.memory.elements import Elements


class Policy(Protocol):
    """Decides at frame granularity. Keeps no state and changes nothing: the store applies what it returns."""

    name: ClassVar[str]

    @property
    def reads_on_write(self) -> bool:
        """Whether each new frame queries memory before it is written, so that usage grows without any question."""

    @property
    def reads_working(self) -> bool:
        """Whether a query sees working memory too, or long-term memory alone once that holds anything."""

    def consolidate(self, leaving: Elements, long_term: Elements) -> Elements:
        """What long-term memory gains from N >= 1 frames that leave working memory.

        Args:
            leaving: the frames, in time order. Not modified.
            long_term: what is there already. Not modified.

        Returns:
            From 0 to N elements in time order, all after `long_term`, unread, on the device of `leaving`.
        """

    def survivors(self, long_term: Elements, num_kept: int) -> Tensor:
        """Which elements stay when only `num_kept` < len(long_term) can: their places, int64, ascending."""

    def affinity(self, key: Tensor, query: Tensor, readable: Tensor | None = None) -> Tensor:
        """Share of each query that each element gets.

        Args:
            key: (N, C), N >= 1.
            query: (Q, C): embeddings of frames or texts from the encoder that made the keys.
            readable: (N, Q) bool, False where a query must not see an element. None: all see all.

        Returns:
            (N, Q) float32; each column sums to 1, or to 0 if its query may see nothing.
        """
