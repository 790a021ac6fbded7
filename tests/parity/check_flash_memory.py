"""Flash-VStream's second version against numbers from running its code."""

from __future__ import annotations

import torch

from vidmem.memory.kmeans import kmeans
from vidmem.memory.policies.flash_memory_reference import (
    DetailRule,
    FlashConfig,
    FlashMemory,
    FlashStream,
    adaptive_positions,
    flash_memory,
    pool_patches,
    synopsis,
)

from .fixture import Fixture, padded
from .recorded import Recorded, rows_like


def check_synopsis(fixture: Fixture, group: str) -> None:
    x, weight = fixture[f"{group}__x"], fixture[f"{group}__w_in"]
    (num_kept,) = fixture.ints(f"{group}__k")
    first, fill = (fixture.ints(f"{group}__{name}") for name in ("init_idx_in_sorted_unique", "fill_idx"))
    draws = Recorded(first, fill)
    got = synopsis(x, num_kept, draws=draws, weight=weight)
    draws.assert_used_up()
    fixture.close(f"{group}__init_centroids", x.flatten(1).unique(dim=0)[first], atol=0)
    fixture.close(f"{group}__centroids", got.frames, atol=1e-5)
    fixture.close(f"{group}__w_out", got.weight, atol=1e-5)
    num_rounds = 0
    if first:
        rows = x.flatten(1)
        begin = rows.unique(dim=0)[first]
        again = kmeans(rows, begin, weight=weight, tolerance=1e-4, refill=Recorded(repeated=fill).any)
        num_rounds = int(again.num_rounds)
    fixture.same(f"{group}__n_iter", [num_rounds])
    if f"{group}__time" not in fixture:
        return
    fixture.close(f"{group}__time", got.time, atol=1e-5)
    members: list[list[int]] = [[slot] if slot < got.num_padding else [] for slot in range(len(got.frames))]
    for place, slot in enumerate(got.slot.tolist()):
        members[slot].append(place)
    fixture.same(f"{group}__members", padded(members, fixture[f"{group}__members"], -1))


RULES: dict[str, DetailRule] = {"cos": "cosine", "nearest": "time", "sample": "sample"}


def check_flash(fixture: Fixture, group: str) -> None:
    big, small = fixture[f"{group}__big"], fixture[f"{group}__small"]
    num_frames, rows, columns = fixture.ints(f"{group}__thw")
    assert (num_frames, rows * columns) == tuple(big.shape[:2])
    config = FlashConfig(*fixture.ints(f"{group}__lens"), detail_rule=RULES.get(group.removeprefix("flash_"), "l2"))
    first, fill = (fixture.ints(f"{group}__{name}") for name in ("init_idx_in_sorted_unique", "fill_idx"))
    draws = Recorded(first, fill)
    got = flash_memory(big, small, config, draws=draws)
    draws.assert_used_up()
    fixture.close(f"{group}__out", got.sequence, atol=1e-5)
    fixture.close(f"{group}__w", got.synopsis.weight, atol=1e-5)
    fixture.close(f"{group}__time", got.synopsis.time, atol=1e-5)
    fixture.same(f"{group}__dam_frames", got.detail_index)
    want = fixture[f"{group}__pos"]
    (start,) = fixture.ints(f"{group}__visual_start")
    before = torch.arange(want.shape[1]).expand(3, -1)
    grids = {"grid": (rows, columns), "small_grid": (rows // 2, columns // 2)}
    fixture.same(f"{group}__pos", adaptive_positions(before, got, visual_start=start, **grids))


def check_flash_stream(fixture: Fixture, group: str) -> None:
    big, small = fixture[f"{group}__big"], fixture[f"{group}__small"]
    rows, columns = fixture.ints(f"{group}__hw")
    assert big.shape[1] == rows * columns
    config = FlashConfig(*fixture.ints(f"{group}__lens"))
    chunks = fixture.ints(f"{group}__chunks")
    drawn = zip(fixture[f"{group}__init_idx_in_sorted_unique"], fixture[f"{group}__fill_idx"], strict=True)
    memories: list[FlashMemory] = []
    stream = None
    for clip, small_clip, (first, fill) in zip(big.split(chunks), small.split(chunks), drawn, strict=True):
        draws = Recorded(first.tolist(), fill.tolist())
        if stream is None:
            stream = FlashStream(config, draws=draws)
        stream.draws = draws
        memories.append(stream.write(clip, small_clip))
        draws.assert_used_up()
    kept = [memory.synopsis for memory in memories]
    fixture.same(f"{group}__csm_n", [len(one.frames) for one in kept])
    fixture.close(f"{group}__csm", torch.cat([one.frames.flatten(0, 1) for one in kept]), atol=1e-5)
    for name, part in (("w", "weight"), ("time", "time")):
        numbers = rows_like(fixture, f"{group}__{name}", [getattr(one, part) for one in kept], float("nan"))
        fixture.close(f"{group}__{name}", numbers, atol=1e-5)
    # Clusters of two are as far from one member as from the other: the mask says what may be taken.
    for memory, ok, wanted in zip(memories, fixture[f"{group}__dam_ok"], fixture[f"{group}__dam_frames"], strict=True):
        index = memory.detail_index
        assert len(index) == int((wanted >= 0).sum())
        assert bool(ok[torch.arange(len(index)), index].all()), f"{index.tolist()} for {wanted.tolist()}"
        assert torch.equal(memory.detail, big[index])


def check_patches(fixture: Fixture, group: str) -> None:
    num_frames, rows, columns = fixture.ints(f"{group}__thw")
    got, grid = pool_patches(fixture[f"{group}__x"], (num_frames, rows, columns))
    fixture.close(f"{group}__y", got, atol=1e-5)
    fixture.same(f"{group}__thw_out", grid)
