"""HERMES against numbers from running its code. Tolerances are those of the fixtures' description."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vidmem.memory.episodes import compress_episodes
from vidmem.memory.policies.hermes_reference import Projection, QueryBank, add_positions, compress_windows
from vidmem.memory.semantics import fold_by_stride

from .fixture import Fixture


def group_of(name: str) -> str:
    return name.split("__")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    for prefix, check in (("eco_", check_episodes), ("win_", check_windows), ("setr_", check_fold)):
        if group.startswith(prefix):
            return check
    return {"qbank": check_query_bank}.get(group)


def check_episodes(fixture: Fixture, group: str) -> None:
    (num_kept,) = fixture.ints(f"{group}__k")
    episodes = compress_episodes(fixture[f"{group}__x"], num_kept, size=fixture[f"{group}__size"])
    fixture.close(f"{group}__y", episodes.value, atol=1e-5)
    fixture.close(f"{group}__size_out", episodes.size, atol=0)
    fixture.same(f"{group}__merge_idx", episodes.merge_index)


def check_windows(fixture: Fixture, group: str) -> None:
    window, capacity = fixture.ints(f"{group}__params")
    frames = add_positions(fixture[f"{group}__frames"], fixture[f"{group}__pe"])
    fixture.close(f"{group}__semantic_in", frames, atol=1e-5)
    banks = list(compress_windows(frames, window=window, capacity=capacity))
    fixture.same(f"{group}__bank_len", [bank.shape[1] for bank in banks])
    fixture.close(f"{group}__banks", torch.cat(banks, dim=1).squeeze(0), atol=1e-5)


def check_query_bank(fixture: Fixture, group: str) -> None:
    capacity, num_frames, num_heads = fixture.ints(f"{group}__params")
    projections = [
        Projection(fixture[f"{group}__{name}_weight"], fixture[f"{group}__{name}_bias"])
        for name in ("query", "key", "value")
    ]
    bank = QueryBank(*projections, num_heads=num_heads, capacity=capacity, num_frames=num_frames)
    context, lengths, states, sizes = [], [], [], []
    for hidden in fixture[f"{group}__hidden"]:
        context.append(bank.attend(hidden))
        lengths.append(len(bank))
        states.append(bank.states)
        sizes.append(bank.sizes)
    fixture.close(f"{group}__context", torch.cat(context), atol=1e-5)
    fixture.same(f"{group}__bank_len", lengths)
    fixture.close(f"{group}__banks", torch.cat(states, dim=1).squeeze(0), atol=1e-5)
    fixture.close(f"{group}__sizes", torch.cat(sizes, dim=1).squeeze(0), atol=0)


def check_fold(fixture: Fixture, group: str) -> None:
    frames = fixture[f"{group}__x"]
    (stride,) = fixture.ints(f"{group}__k")
    fold = fold_by_stride(frames, stride)
    means = fold.mean(frames)
    fixture.close(f"{group}__y", means, atol=1e-5)
    if f"{group}__dst" in fixture:
        others = torch.ones(fold.owner.shape[1], dtype=torch.bool).index_fill(0, fold.kept, False)
        fixture.same(f"{group}__dst", fold.owner[:, others])
        fixture.close(f"{group}__unmerge", fold.spread(means), atol=1e-5)
