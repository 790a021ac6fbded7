"""One tier of memory: blocks in an arena, of which the least recently used leave first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition
from typing import Literal, TypeVar

from torch import Tensor

from vidmem.kv.arena import Arena, Place
from vidmem.kv.payload import Payload
from vidmem.kv.records import BlockId

_T = TypeVar("_T")
_PATIENCE_SECONDS = 60.0

TierName = Literal["accelerator", "ram", "disk"]


@dataclass(frozen=True, slots=True)
class TierState:
    """What one tier holds at a moment."""

    name: TierName
    num_blocks: int
    num_bytes: int
    """Bytes of the blocks."""
    num_reserved_bytes: int
    """Bytes of the memory that they are held in."""
    budget_bytes: int | None
    """What `num_reserved_bytes` never exceeds; None on disk, which has no bound of its own."""


@dataclass(slots=True, eq=False)
class Held:
    """A block in a tier, or the room that it is being copied into."""

    block_id: BlockId
    place: Place
    body: Tensor
    """View of the block's bytes, uint8 (n,)."""
    payload: Payload | None = None
    """Views of `body`; None until it is filled."""
    filling: Future[frozenset[BlockId]] | None = None
    """Done once `body` is filled; its result are blocks, maybe this one, that turned out to be lost."""
    num_leases: int = 1
    """How many use the bytes. As long as there is one, they stay where they are."""
    is_dropped: bool = False
    """It is no more in its tier, and its place is free once the last lease ends."""

    @property
    def filled(self) -> Payload:
        assert self.payload is not None, f"block {self.block_id} has not arrived"
        return self.payload


class Tier:
    """Holds blocks within the arena's budget. Not thread-safe.

    What is leased is never evicted; leases are counted, and each `lease` and `reserve` needs its `release`.
    """

    def __init__(self, name: TierName, arena: Arena, budget_bytes: int) -> None:
        self.name: TierName = name
        self._arena = arena
        self._budget_bytes = budget_bytes
        self._held: OrderedDict[BlockId, Held] = OrderedDict()  # the least recently used first

    @property
    def largest_block_bytes(self) -> int:
        return self._arena.slab_bytes

    @property
    def block_ids(self) -> list[BlockId]:
        """The least recently used first."""
        return list(self._held)

    @property
    def is_leased(self) -> bool:
        return any(held.num_leases for held in self._held.values())

    def __contains__(self, block_id: BlockId) -> bool:
        return block_id in self._held

    def size_of(self, block_id: BlockId) -> int | None:
        """Bytes of a block's body, None if it is not here."""
        held = self._held.get(block_id)
        return None if held is None else len(held.body)

    def lease(self, block_id: BlockId) -> Held | None:
        """The block if it is here, as the most recently used one."""
        held = self._held.get(block_id)
        if held is not None:
            self._held.move_to_end(block_id)
            held.num_leases += 1
        return held

    def reserve(self, block_id: BlockId, num_bytes: int) -> Held | None:
        """Room for a block that is not here, leased; evicts what it must. None if leases leave no room."""
        assert block_id not in self._held, f"block {block_id} is in {self.name} already"
        place = self._arena.allocate(num_bytes)
        while place is None:
            oldest = next((held for held in self._held.values() if not held.num_leases), None)
            if oldest is None:
                return None
            self.drop(oldest)
            place = self._arena.allocate(num_bytes)
        self._held[block_id] = Held(block_id, place, self._arena.bytes_at(place, num_bytes))
        return self._held[block_id]

    def release(self, held: Held) -> None:
        """End one lease."""
        held.num_leases -= 1
        if held.is_dropped and not held.num_leases:
            self._arena.free(held.place)

    def drop(self, held: Held) -> None:
        """Forget a block; whoever leases it keeps its bytes until then."""
        if not held.is_dropped:
            held.is_dropped = True
            del self._held[held.block_id]
            if not held.num_leases:
                self._arena.free(held.place)

    def drop_from(self, block_id: BlockId) -> None:
        """Forget this block and all later ones."""
        for held in [held for held in self._held.values() if held.block_id >= block_id]:
            self.drop(held)

    def drop_unleased(self) -> None:
        for held in [held for held in self._held.values() if not held.num_leases]:
            self.drop(held)

    def state(self) -> TierState:
        return TierState(
            self.name,
            num_blocks=len(self._held),
            num_bytes=sum(len(held.body) for held in self._held.values()),
            num_reserved_bytes=self._arena.num_reserved_bytes,
            budget_bytes=self._budget_bytes,
        )


class Guard:
    """The lock over a video's tiers, and the bell that rings when a lease ends."""

    def __init__(self) -> None:
        self._bell = Condition()

    def __enter__(self) -> None:
        self._bell.acquire()

    def __exit__(self, *error: object) -> None:
        self._bell.release()

    def wait_for(self, attempt: Callable[[], _T | None]) -> _T:
        """Try again each time a lease has ended, until there is a result. Raises TimeoutError where none ends."""
        with self._bell:
            while (made := attempt()) is None:
                if not self._bell.wait(_PATIENCE_SECONDS):
                    raise TimeoutError(f"no block was given back for {_PATIENCE_SECONDS:.0f} s: is a loan left open?")
            return made

    def release(self, tier: Tier, helds: Iterable[Held], *, drop: bool = False) -> None:
        """End a lease on each, and with `drop` forget them."""
        with self._bell:
            for held in helds:
                if drop:
                    tier.drop(held)
                tier.release(held)
            self._bell.notify_all()
