"""Memory of one tier: a few large slabs within a budget, allocated when first needed, of which pieces are lent."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.kv.records import ALIGNMENT, aligned

SLAB_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes [offset, offset + num_bytes) of one slab."""

    slab_index: int
    offset: int
    num_bytes: int


class Arena:
    """Lends pieces of bytes on one device. Not thread-safe.

    So a tier of thousands of blocks costs a handful of allocations, and host memory is page-locked a slab at a time:
    some GiB at once take seconds.
    """

    def __init__(
        self,
        budget_bytes: int,
        *,
        device: torch.device | str = "cpu",
        is_pinned: bool = False,
        slab_bytes: int = SLAB_BYTES,
    ) -> None:
        """Allocate nothing yet. The budget is split into equal slabs of at most `slab_bytes`."""
        self._num_slabs = max(1, -(-budget_bytes // slab_bytes))
        self.slab_bytes = budget_bytes // self._num_slabs // ALIGNMENT * ALIGNMENT
        """Bytes of a slab: the largest piece, which fits for sure once nothing is lent."""
        self.num_lent_bytes = 0
        self._device = torch.device(device)
        self._is_pinned = is_pinned
        self._slabs: list[Tensor] = []
        self._holes: list[list[tuple[int, int]]] = []
        """For each slab the free (offset, bytes), ascending, none of which touch."""

    @property
    def num_reserved_bytes(self) -> int:
        """Bytes of the slabs that are allocated. They stay allocated, and never exceed the budget."""
        return len(self._slabs) * self.slab_bytes

    def allocate(self, num_bytes: int) -> Place | None:
        """Lend a piece, from the first hole that is large enough; None if there is none."""
        wanted = max(ALIGNMENT, aligned(num_bytes))
        if wanted > self.slab_bytes:
            return None
        for slab_index, holes in enumerate(self._holes):
            for hole_index, (offset, size) in enumerate(holes):
                if size >= wanted:
                    holes[hole_index : hole_index + 1] = [(offset + wanted, size - wanted)] if size > wanted else []
                    self.num_lent_bytes += wanted
                    return Place(slab_index, offset, wanted)
        if len(self._slabs) == self._num_slabs:
            return None
        slab = torch.empty(self.slab_bytes, dtype=torch.uint8, device=self._device, pin_memory=self._is_pinned)
        self._slabs.append(slab)
        self._holes.append([(0, self.slab_bytes)])
        return self.allocate(num_bytes)

    def free(self, place: Place) -> None:
        """Take a piece back. Its content is not touched."""
        holes = self._holes[place.slab_index]
        begin, end = place.offset, place.offset + place.num_bytes
        index = bisect_left(holes, (begin, 0))
        first = last = index
        if index < len(holes) and holes[index][0] == end:
            end, last = sum(holes[index]), index + 1
        if index and sum(holes[index - 1]) == begin:
            begin, first = holes[index - 1][0], index - 1
        holes[first:last] = [(begin, end - begin)]
        self.num_lent_bytes -= place.num_bytes

    def bytes_at(self, place: Place, num_bytes: int) -> Tensor:
        """View of the first `num_bytes` of a piece, uint8."""
        return self._slabs[place.slab_index][place.offset : place.offset + num_bytes]
