"""XMem's whole memory, frame by frame: `lt_*` with one group of objects, `mg_*` with groups that join late."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from vidmem.memory.token_memory import Consolidation, TokenMemory, TokenMemoryConfig

from .fixture import Fixture

ATOL, RTOL = 1e-4, 1e-3


@dataclass
class Trace:
    """What a run of our memory over the fixture's frames gave."""

    memory: TokenMemory
    readout: Tensor
    sizes: list[list[int]] = field(default_factory=list)
    """Per frame: working and long-term tokens, then working values of each group, then long-term ones."""
    events: list[tuple[int, Consolidation]] = field(default_factory=list)


def check_memory(fixture: Fixture, prefix: str) -> None:
    joins = fixture.ints(f"{prefix}_cfg")[6:]
    num_first = fixture[f"{prefix}_value"].shape[1] - len(joins)
    as_coded = replay(fixture, prefix, "reference")
    check_shared(fixture, prefix, as_coded)
    fixture.close(f"{prefix}_readout", as_coded.readout, atol=ATOL, rtol=RTOL)
    num_groups = 1 + len(joins)
    fixture.same(f"{prefix}_work_vsize", [row[2 : 2 + num_groups] for row in as_coded.sizes])
    fixture.same(f"{prefix}_long_vsize", [row[2 + num_groups :] for row in as_coded.sizes])
    for index in range(num_groups):
        check_group(fixture, prefix, as_coded, index)
    # Values that find their own keys: all that concerns the first group is as in the reference, the rest is better.
    aligned = replay(fixture, prefix, "aligned")
    check_shared(fixture, prefix, aligned)
    check_group(fixture, prefix, aligned, 0)
    torch.testing.assert_close(
        aligned.readout[:, :, :num_first],
        fixture[f"{prefix}_readout"][:, :, :num_first],
        atol=ATOL,
        rtol=RTOL,
        equal_nan=True,
    )


def replay(fixture: Fixture, prefix: str, late_groups: Literal["aligned", "reference"]) -> Trace:
    top_k, max_frames, min_frames, num_prototypes, max_elements, num_reads, *joins = fixture.ints(f"{prefix}_cfg")
    memory = TokenMemory(
        TokenMemoryConfig(top_k, max_frames, min_frames, num_prototypes, max_elements, late_groups=late_groups)
    )
    value = fixture[f"{prefix}_value"]
    trace = Trace(memory, torch.full((len(value), num_reads, *value.shape[1:]), torch.nan))
    queries = fixture[f"{prefix}_query_key"].flatten(3).mT
    query_selections = fixture[f"{prefix}_query_selection"].flatten(3).mT
    key, shrinkage, selection = (
        fixture[f"{prefix}_{name}"].flatten(2).mT for name in ("key", "shrinkage", "selection")
    )
    for t in range(len(value)):
        num_known = value.shape[1] - sum(t <= join for join in joins)
        num_objects = value.shape[1] - sum(t < join for join in joins)
        for r in range(num_reads if t else 0):
            got = memory.read(queries[t, r], query_selections[t, r])
            trace.readout[t, r, :num_known] = got.unflatten(2, value.shape[3:])
        tokens = value[t, :num_objects].flatten(2).permute(2, 0, 1)
        event = memory.write(key[t], shrinkage[t].squeeze(1), selection[t], tokens)
        if event is not None:
            trace.events.append((t, event))
        assert memory.working is not None and memory.long_term is not None
        late = [0] * (1 + len(joins) - len(memory.groups))
        trace.sizes.append(
            [len(memory.working), len(memory.long_term)]
            + [len(group.working) for group in memory.groups]
            + late
            + [len(group.long_term) for group in memory.groups]
            + late
        )
    return trace


def check_shared(fixture: Fixture, prefix: str, trace: Trace) -> None:
    """Sizes, consolidations, and keys at the end: what does not depend on late groups."""
    fixture.same(f"{prefix}_work_size", [row[0] for row in trace.sizes])
    fixture.same(f"{prefix}_long_size", [row[1] for row in trace.sizes])
    fixture.same(f"{prefix}_event_frame", [t for t, _ in trace.events])
    fixture.same(f"{prefix}_event_removed", [event.num_evicted for _, event in trace.events])
    fixture.same(f"{prefix}_event_proto_idx", torch.stack([event.prototype_index for _, event in trace.events]))
    usage = torch.stack([event.candidate_frequency for _, event in trace.events])
    fixture.close(f"{prefix}_event_usage", usage, atol=ATOL, rtol=RTOL)
    working, long_term = trace.memory.working, trace.memory.long_term
    assert working is not None and long_term is not None
    for name in ("key", "shrinkage", "selection", "use", "life"):
        fixture.close(
            f"{prefix}_final_work_{name}",
            working[name].mT if working[name].ndim == 2 else working[name],
            atol=ATOL,
            rtol=RTOL,
        )
    for name in ("key", "shrinkage", "use", "life"):
        fixture.close(
            f"{prefix}_final_long_{name}",
            long_term[name].mT if long_term[name].ndim == 2 else long_term[name],
            atol=ATOL,
            rtol=RTOL,
        )
    fixture.close(f"{prefix}_final_long_usage", long_term["use"] / long_term["life"], atol=ATOL, rtol=RTOL)
    fixture.same(f"{prefix}_final_work_key_frame", frames_of(working["key"], fixture[f"{prefix}_key"].flatten(2).mT))


def check_group(fixture: Fixture, prefix: str, trace: Trace, index: int) -> None:
    group = trace.memory.groups[index]
    working, long_term = group.working["value"], group.long_term["value"]
    fixture.close(f"{prefix}_final_work_value_g{index}", working.permute(1, 2, 0), atol=ATOL, rtol=RTOL)
    fixture.close(f"{prefix}_final_long_value_g{index}", long_term.permute(1, 2, 0), atol=ATOL, rtol=RTOL)
    first_object = sum(group.num_objects for group in trace.memory.groups[:index])
    written = fixture[f"{prefix}_value"][:, first_object].flatten(2).mT
    fixture.same(f"{prefix}_final_work_value_frame_g{index}", frames_of(working[:, 0], written))


def frames_of(rows: Tensor, written: Tensor) -> list[int]:
    """Which frame of (T, HW, C) each row (N, C) was written on, by exact equality."""
    same = (rows[:, None, None] == written[None]).all(-1).any(-1)
    assert bool((same.sum(1) == 1).all()), "rows that stand on no frame, or on several"
    return same.int().argmax(1).tolist()
