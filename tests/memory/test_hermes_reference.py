from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.bench.naive.hermes import NaiveHermes, naive_eco
from vidmem.memory.policies.hermes_reference import Projection, QueryBank, add_positions, compress_windows

from .naive_hermes import naive_attention


@given(st.integers(0, 13), st.integers(1, 5), st.integers(1, 6), st.integers(0, 10_000))
def test_banks_after_windows_equal_the_loop(num_frames: int, window: int, capacity: int, seed: int) -> None:
    frames = torch.randn(2, num_frames, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    banks = list(compress_windows(frames, window=window, capacity=capacity))
    naive = NaiveHermes(capacity)
    want = [naive.write(part) for part in frames.split(window, dim=1)] if num_frames else []
    assert len(banks) == len(want)
    for bank, other in zip(banks, want, strict=True):
        torch.testing.assert_close(bank, other, rtol=0, atol=1e-12)


def test_positions_begin_anew_with_every_window() -> None:
    position = torch.tensor([[1.0], [2.0]])
    assert add_positions(torch.zeros(1, 5, 2, 1), position)[0, :, 1, 0].tolist() == [1.0, 2.0, 1.0, 2.0, 1.0]


@given(st.integers(1, 4), st.integers(1, 9), st.sampled_from([1, 2, 3]), st.integers(0, 10_000))
def test_the_query_bank_attends_before_it_remembers_and_empties_itself(
    capacity: int, num_frames: int, num_heads: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    num_tokens, width, num_steps = 3, 2 * num_heads, 7
    weights = tuple(
        (torch.randn(width, width, generator=random).double(), torch.randn(width, generator=random).double())
        for _ in range(3)
    )
    layer = QueryBank(
        *(Projection(*pair) for pair in weights), num_heads=num_heads, capacity=capacity, num_frames=num_frames
    )
    mask = torch.tensor([0.0, -1.5, 0.0], dtype=torch.float64)
    bank, size = torch.zeros(1, 0, num_tokens, width).double(), torch.zeros(1, 0, num_tokens).double()
    assert layer.states is None
    for _ in range(num_steps):
        hidden = torch.randn(num_tokens, width, generator=random).double()
        want = naive_attention(hidden, bank[0], weights, num_heads, mask)
        torch.testing.assert_close(layer.attend(hidden[None], mask[None])[0], want, rtol=0, atol=1e-12)
        bank = torch.cat([bank, hidden[None, None]], dim=1)
        size = torch.cat([size, torch.ones_like(hidden[None, None, :, 0])], dim=1)
        bank, size, _ = naive_eco(bank, size, capacity)
        if size.sum(1).mean().round() == num_frames:
            bank, size = bank[:, :0], size[:, :0]
        assert len(layer) == bank.shape[1] and layer.states is not None and layer.sizes is not None
        torch.testing.assert_close(layer.states, bank, rtol=0, atol=1e-12)
        assert torch.equal(layer.sizes, size)
    layer.clear()
    assert len(layer) == 0
