"""Where the bytes of a video's memory, and of its store, lie: on the accelerator, in RAM, on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidmem.index import StoreState
from vidmem.kv.tier import TierName, TierState
from vidmem.memory import MemoryState


@dataclass(frozen=True, slots=True)
class TierBytes:
    """What lies in one tier, in named parts, each in bytes. None is empty."""

    name: TierName
    parts: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        return sum(num_bytes for _, num_bytes in self.parts)


def tiers_of(memory: MemoryState, kv: Sequence[TierState], disk: StoreState) -> tuple[TierBytes, ...]:
    """The three tiers, the fastest first.

    The three stores lie in RAM. The blocks of keys and values lie on disk, all of them; those that questions used
    lie in RAM and on the accelerator too.

    Args:
        memory: of one video.
        kv, disk: of the whole store.
    """
    blocks = {tier.name: tier.num_bytes for tier in kv}
    return (
        _tier("accelerator", ("keys and values", blocks.get("accelerator", 0))),
        _tier(
            "ram",
            ("sensory", memory.sensory.num_bytes),
            ("working", memory.working.num_bytes),
            ("long-term", memory.long_term.num_bytes),
            ("keys and values", blocks.get("ram", 0)),
        ),
        _tier(
            "disk",
            ("keys, values and tokens", disk.kv_bytes),
            ("index", disk.index_bytes),
            ("catalogue", disk.catalogue_bytes),
            ("saved memory", disk.memory_bytes),
            ("pictures", disk.thumbs_bytes),
        ),
    )


def _tier(name: TierName, *parts: tuple[str, int]) -> TierBytes:
    return TierBytes(name, tuple(part for part in parts if part[1]))
