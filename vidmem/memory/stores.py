"""The three stores: they hold tensors and keep their bounds; what to keep is for the policy to decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vidmem.memory.buffer import RowBuffer
from vidmem.memory.elements import Elements
from vidmem.types import StoreName

FIELDS = ("key", "value", "span_seconds", "usage", "life", "weight")


@dataclass(frozen=True, slots=True)
class StoreState:
    """What one store holds at a moment."""

    name: StoreName
    num_elements: int
    num_tokens: int
    num_bytes: int
    """Bytes of the elements held."""
    num_reserved_bytes: int
    """Bytes of the room that they are held in."""
    bound: float
    unit: Literal["seconds", "frames", "elements"]
    """What `bound` counts."""
    oldest_seconds: float | None
    """Where the stretch of time that the store knows begins; None if it is empty."""
    newest_seconds: float | None
    """Where it ends."""


class Store:
    """Elements in time order, in room that was reserved ahead. Takes sizes, dtypes and device from the first write."""

    def __init__(
        self,
        name: StoreName,
        *,
        bound: float,
        unit: Literal["seconds", "frames", "elements"],
        max_rows: int | None = None,
    ) -> None:
        self.name: StoreName = name
        self._bound = bound
        self._unit: Literal["seconds", "frames", "elements"] = unit
        self._max_rows = max_rows
        self._buffer: RowBuffer | None = None

    def __len__(self) -> int:
        return 0 if self._buffer is None else len(self._buffer)

    @property
    def elements(self) -> Elements:
        """All elements, as views that hold until the next write. Before the first write all sizes are 0."""
        if self._buffer is None:
            return Elements.empty(0, 0, 0)
        return Elements(*(self._buffer[name] for name in FIELDS))

    def prepare(self, like: Elements) -> None:
        """Take over sizes, dtypes and device, unless that was done before."""
        if self._buffer is None:
            self._buffer = RowBuffer(fields_of(like), max_rows=self._max_rows)

    def append(self, elements: Elements) -> None:
        """Add elements at the end. They must not be views of this store."""
        self.prepare(elements)
        assert self._buffer is not None
        self._buffer.append(fields_of(elements))

    def drop_oldest(self, num_dropped: int) -> None:
        if self._buffer is not None:
            self._buffer.drop_oldest(num_dropped)

    def keep(self, element_index: Tensor) -> None:
        """Keep only these elements: places, ascending."""
        if self._buffer is not None:
            self._buffer.keep(element_index)

    def touch(self, usage: Tensor, life: Tensor | float) -> None:
        """Add to the usage (N,) and the life (N,) or scalar of the elements."""
        if self._buffer is not None:
            self._buffer["usage"].add_(usage)
            self._buffer["life"].add_(life)

    def state(self) -> StoreState:
        elements = self.elements
        return StoreState(
            name=self.name,
            num_elements=len(elements),
            num_tokens=elements.num_tokens,
            num_bytes=elements.num_bytes,
            num_reserved_bytes=0 if self._buffer is None else self._buffer.num_reserved_bytes,
            bound=self._bound,
            unit=self._unit,
            oldest_seconds=float(elements.span_seconds[0, 0]) if len(elements) else None,
            newest_seconds=float(elements.span_seconds[:, 1].max()) if len(elements) else None,
        )


def fields_of(elements: Elements) -> dict[str, Tensor]:
    return {name: getattr(elements, name) for name in FIELDS}


def elements_from(fields: Mapping[str, Tensor], prefix: str) -> Elements:
    """Put elements together from tensors called `prefix` + field. Raises ValueError if one is missing or misshapen."""
    missing = [prefix + name for name in FIELDS if prefix + name not in fields]
    if missing:
        raise ValueError(f"the state of a memory lacks {', '.join(missing)}: it is not whole, or of another format")
    return Elements(*(fields[prefix + name] for name in FIELDS))


def first_disorder(span_seconds: Tensor, not_before: float) -> int | None:
    """Index of the first span (N, 2) that is no span or starts before its predecessor (or `not_before`), or None."""
    for index, (start, end) in enumerate(span_seconds.tolist()):
        if not not_before <= start <= end < math.inf:
            return index
        not_before = start
    return None
