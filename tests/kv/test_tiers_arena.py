"""Pieces of memory, against one owner a byte."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.kv.arena import Arena, Place


class PlainArena:
    """For each 64 bytes of each slab, who has them."""

    def __init__(self, num_slabs: int, num_units: int) -> None:
        self.slabs = [[False] * num_units for _ in range(num_slabs)]
        self.num_slabs = 0

    def allocate(self, num_units: int) -> tuple[int, int] | None:
        for slab_index, units in enumerate(self.slabs):
            for begin in range(len(units) - num_units + 1):
                if not any(units[begin : begin + num_units]):
                    units[begin : begin + num_units] = [True] * num_units
                    self.num_slabs = max(self.num_slabs, slab_index + 1)
                    return slab_index, begin
        return None

    def free(self, slab_index: int, begin: int, num_units: int) -> None:
        self.slabs[slab_index][begin : begin + num_units] = [False] * num_units


@given(
    num_slabs=st.integers(1, 3),
    num_units=st.integers(1, 12),
    steps=st.lists(st.one_of(st.integers(0, 64 * 13), st.integers(-20, -1)), max_size=60),
)
def test_pieces_are_placed_as_the_plain_one_does(num_slabs, num_units, steps):
    budget = num_slabs * num_units * 64 + num_slabs - 1
    arena = Arena(budget, slab_bytes=-(-budget // num_slabs))
    plain = PlainArena(num_slabs, num_units)
    lent: list[Place] = []
    for step in steps:
        if step >= 0:
            place, expected = arena.allocate(step), plain.allocate(max(1, -(-step // 64)))
            assert (place is None) == (expected is None)
            if place is not None:
                assert (place.slab_index, place.offset // 64) == expected
                arena.bytes_at(place, step).fill_(len(lent) % 256)
                assert len(arena.bytes_at(place, step)) == step
                lent.append(place)
        elif lent:
            place = lent.pop(step % len(lent))
            arena.free(place)
            plain.free(place.slab_index, place.offset // 64, place.num_bytes // 64)
        assert arena.num_lent_bytes == 64 * sum(map(sum, plain.slabs))
        assert arena.num_reserved_bytes == plain.num_slabs * num_units * 64 <= budget


def test_nothing_is_allocated_before_it_is_needed():
    arena = Arena(1000, slab_bytes=300)
    assert (arena.num_reserved_bytes, arena.slab_bytes) == (0, 192)  # four slabs
    place = arena.allocate(1)
    assert arena.num_reserved_bytes == 192 and place == Place(0, 0, 64)
    assert arena.bytes_at(place, 64).dtype == torch.uint8
    assert arena.allocate(193) is None
