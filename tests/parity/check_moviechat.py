"""MovieChat against numbers from running its code. Tolerances are those of the fixtures' description."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vidmem.memory.policies.moviechat_reference import (
    breakpoint_sequence,
    coded_gate,
    consolidate_fragment,
    consolidate_windows,
    global_sequence,
    plus_global_sequence,
    position_table,
)

from .fixture import Fixture, padded


def group_of(name: str) -> str:
    return name.split("__")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    if group.startswith("cons_"):
        return check_consolidation
    return {
        "onevision": check_carry_over,
        "pos": check_positions,
        "read": check_reading,
        "plus_gate": check_gate,
    }.get(group)


def check_consolidation(fixture: Fixture, group: str) -> None:
    capacity, merge_to, max_frames = fixture.ints(f"{group}__params")
    fragments = [
        consolidate_fragment(frames, short_capacity=capacity, merge_to=merge_to, max_frames=max_frames)
        for frames in fixture[f"{group}__frames"]
    ]
    merged = [fragment.merged for fragment in fragments]
    fixture.close(f"{group}__long", torch.cat(merged), atol=1e-5)
    positions = [fragment.plan.positions for fragment in fragments]
    fixture.same(f"{group}__merge_idx", padded(positions, fixture[f"{group}__merge_idx"], -1))
    if f"{group}__long_count" in fixture:
        fixture.same(f"{group}__long_count", torch.tensor([len(part) for part in merged]).cumsum(0))
    if f"{group}__sim_trace" in fixture:
        rows = [row for fragment in fragments for row in fragment.plan.similarities]
        trace = padded(rows, fixture[f"{group}__sim_trace"], float("nan"))
        fixture.close(f"{group}__sim_trace", trace, atol=1e-5)
    if f"{group}__temp_short" in fixture:
        fixture.close(f"{group}__temp_short", fragments[-1].temp_short, atol=0)


def check_carry_over(fixture: Fixture, group: str) -> None:
    capacity, merge_to, window = fixture.ints(f"{group}__params")
    windows = fixture[f"{group}__windows"]
    assert windows.shape[1] == window
    got = consolidate_windows(list(windows), short_capacity=capacity, merge_to=merge_to)
    fixture.close(f"{group}__long", got.long, atol=1e-5)
    fixture.same(f"{group}__merge_trace", torch.tensor(got.merges).reshape(-1, 2))


def check_positions(fixture: Fixture, group: str) -> None:
    small, large = fixture.ints(f"{group}__n_position")
    weight = fixture[f"{group}__weight"]
    fixture.close(f"{group}__table_n", position_table(weight, num_side=small), atol=1e-5)
    fixture.close(f"{group}__table_16", position_table(weight, num_side=large), atol=1e-5)


def check_reading(fixture: Fixture, group: str) -> None:
    long, short, current = (fixture[f"{group}__{name}"] for name in ("long", "temp_short", "cur_frame"))
    over, table = fixture[f"{group}__long_over"], fixture["pos__table_n"]
    nothing = long[:0]
    fixture.close(f"{group}__global", global_sequence(long, table), atol=1e-5)
    fixture.close(f"{group}__breakpoint", breakpoint_sequence(long, short, current, table), atol=1e-5)
    fixture.close(f"{group}__breakpoint_over", breakpoint_sequence(over, short, current, table), atol=1e-5)
    fixture.close(f"{group}__breakpoint_nolong", breakpoint_sequence(nothing, short, current, table), atol=1e-5)
    fixture.close(f"{group}__plus_global", plus_global_sequence(over, fixture["pos__weight"]), atol=1e-5)


def check_gate(fixture: Fixture, group: str) -> None:
    lengths = fixture.ints(f"{group}__T")
    gates = [coded_gate(row[:num]) for row, num in zip(fixture[f"{group}__logits"], lengths, strict=True)]
    fixture.close(f"{group}__mean_softmax", torch.tensor([gate.mean_softmax for gate in gates]), atol=1e-6)
    fixture.same(f"{group}__merge_to", [gate.merge_to for gate in gates])
    added = [
        len(
            consolidate_fragment(
                torch.zeros(num, 1, 1), short_capacity=18, merge_to=gate.merge_to, max_frames=16
            ).merged
        )
        for gate, num in zip(gates, lengths, strict=True)
    ]
    fixture.same(f"{group}__long_added", added)
