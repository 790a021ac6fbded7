"""Where the bytes of a store lie: on the accelerator, in memory, on disk."""

from __future__ import annotations

from dataclasses import dataclass

from vidmem.kv.tier import TierName
from vidmem.pipelines.state import State


@dataclass(frozen=True, slots=True)
class TierBytes:
    """What lies in one tier, in named parts, each in bytes. None is empty."""

    name: TierName
    parts: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        return sum(num_bytes for _, num_bytes in self.parts)


def tiers_of(state: State) -> tuple[TierBytes, ...]:
    """The three tiers of a store, the fastest first.

    The three stores lie in RAM. The blocks of keys and values lie on disk, all of them; those that questions used lie in
    RAM and on the accelerator too.
    """
    blocks = {tier.name: tier.num_bytes for tier in state.kv}
    disk = state.disk
    return (
        _tier("accelerator", ("keys and values", blocks.get("accelerator", 0))),
        _tier(
            "ram",
            ("sensory", state.sensory.bytes),
            ("working", state.working.bytes),
            ("long-term", state.long_term.bytes),
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
