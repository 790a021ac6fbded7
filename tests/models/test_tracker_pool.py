from __future__ import annotations

import torch

from vidmem.models.tracking.pool import SlotPool


def test_slots_are_used_again_and_hold_what_was_put_there_last() -> None:
    pool = SlotPool((2,), dtype=torch.float32, device=torch.device("cpu"))
    held: dict[int, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        values = torch.randn(3, 2, generator=generator)
        slots = pool.put(values)
        assert held.keys().isdisjoint(slots) and len(set(slots)) == 3
        held.update(zip(slots, values, strict=True))
        gone = list(held)[: 3 if step > 4 else 0]
        pool.free(gone)
        for slot in gone:
            del held[slot]
        assert pool.num_held == len(held)
        assert torch.equal(pool.take(torch.tensor([list(held)])), torch.stack(list(held.values()))[None])
    assert pool.num_bytes == 32 * 2 * 4, "18 at once take 32 slots"


def test_values_are_cast_to_the_pools_precision() -> None:
    pool = SlotPool((1,), dtype=torch.bfloat16, device=torch.device("cpu"))
    slots = pool.put(torch.tensor([[1.001]]))
    assert pool.take(torch.tensor(slots)).item() == 1.0
