"""Between the thread that receives and the one that consumes: a bounded queue that counts what it drops."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal

from vidmem.ingest.live.item import Gap, LiveFrame

Policy = Literal["drop-oldest", "block"]
"""What happens to a frame that finds the queue full: it takes the oldest one's place, or it waits."""


class Handover:
    """Frames and gaps in order. At most `depth` frames lie in it, and as many gaps.

    A gap is never dropped: if there are too many, the oldest two become one that spans both.
    """

    def __init__(self, depth: int, policy: Policy) -> None:
        self._depth, self._policy = depth, policy
        self._items: deque[LiveFrame | Gap] = deque()
        self._changed = threading.Condition()  # over a lock that its holder may take again
        self._is_closed = False
        self._error: BaseException | None = None
        self.num_given = 0
        """Frames put in."""
        self.num_dropped = 0
        """Frames that nobody took and nobody will."""

    def put(self, item: LiveFrame | Gap) -> None:
        """Hand over. With `block` this waits for a place, or until `close`, after which every frame is dropped."""
        with self._changed:
            if isinstance(item, Gap):
                self._items.append(item)
                self._merge_gaps()
            else:
                self.num_given += 1
                if self._policy == "block":
                    self._changed.wait_for(lambda: self._is_closed or self.num_waiting < self._depth)
                if self._is_closed:
                    self.num_dropped += 1
                    return
                if self.num_waiting >= self._depth:
                    self._drop_oldest()
                self._items.append(item)
            self._changed.notify_all()

    def get(self) -> LiveFrame | Gap | None:
        """The next item, waited for; None once it was closed and all before that was taken.

        Raises what `close` was given, after the items before it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closed)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            return None

    def close(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        """End: whoever waits is woken. Only the first call's `error` counts.

        Args:
            discard: nobody will take what is left; its frames count as dropped.
        """
        with self._changed:
            if not self._is_closed:
                self._is_closed, self._error = True, error
            if discard:
                self.num_dropped += self.num_waiting
                self._items.clear()
            self._changed.notify_all()

    @property
    def num_waiting(self) -> int:
        """Frames in the queue."""
        with self._changed:
            return sum(isinstance(item, LiveFrame) for item in self._items)

    def _drop_oldest(self) -> None:
        index = next(index for index, item in enumerate(self._items) if isinstance(item, LiveFrame))
        del self._items[index]
        self.num_dropped += 1

    def _merge_gaps(self) -> None:
        gaps = [item for item in self._items if isinstance(item, Gap)]
        if len(gaps) <= self._depth:
            return
        first, second = gaps[:2]
        between = list(self._items)
        at, until = between.index(first), between.index(second)
        dropped = [item for item in between[at:until] if isinstance(item, LiveFrame)]
        self.num_dropped += len(dropped)
        self._items = deque([*between[:at], first.until(second), *between[until + 1 :]])
