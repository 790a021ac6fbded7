"""Attention through a window on a device: how fast, and how far from the same in float32 on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vidmem.bench.device_rates import median_seconds
from vidmem.kv.attention import Initial, causal_mask, window_attend
from vidmem.kv.rope import Rotary, text_positions

_HEADS, _KV_HEADS, _DIM = 28, 4, 128
"""Of Qwen2-7B."""
_NUM_INITIAL = 14


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """One layer's call for the newest tokens of a stream, unit-normal numbers: what `window_attend` is given."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    initial: Initial
    tables: tuple[torch.Tensor, torch.Tensor]
    window_size: int

    @classmethod
    def of(cls, num_new: int, window_size: int, *, device: torch.device, dtype: torch.dtype) -> _Call:
        chance = torch.Generator().manual_seed(0)
        num_keys = window_size + num_new
        query = torch.randn(_HEADS, num_new, _DIM, generator=chance).to(device, dtype)
        held = torch.randn(2, _KV_HEADS, num_keys + _NUM_INITIAL, _DIM, generator=chance).to(device, dtype)
        key, value = held[:, :, :num_keys].unbind()
        rotary = Rotary((1e6 ** -torch.linspace(0, 1, _DIM // 2)).to(device))
        outside = rotary.tables(torch.tensor([[window_size - 1]]))
        initial = Initial(held[0, :, num_keys:], held[1, :, num_keys:], outside)
        return cls(query, key, value, initial, rotary.tables(text_positions(num_keys, 1)), window_size)

    def __call__(self) -> torch.Tensor:
        return window_attend(
            self.query, self.key, self.value, self.tables, window_size=self.window_size, scale=_DIM**-0.5,
            initial=self.initial,
        )  # fmt: skip


def attention_error(device: torch.device, dtype: torch.dtype) -> float:
    """Largest difference of any number of the answer, which are about 0.1, with windows of 96 and 500 tokens."""
    cpu = torch.device("cpu")
    worst = 0.0
    for num_new, window_size in ((200, 96), (130, 500), (1, 300)):
        here = _Call.of(num_new, window_size, device=device, dtype=dtype)()
        exact = _Call.of(num_new, window_size, device=cpu, dtype=torch.float32)()
        worst = max(worst, float((here.float().cpu() - exact).abs().max()))
    return worst


def attention_operations(device: torch.device, dtype: torch.dtype, *, num_new: int, window_size: int) -> float:
    """Floating point operations a second, counted by the pairs that are seen."""
    call = _Call.of(num_new, window_size, device=device, dtype=dtype)
    seen = int(causal_mask(num_new, window_size + num_new, window_size=window_size).sum()) + num_new * _NUM_INITIAL
    return 4 * _HEADS * _DIM * seen / median_seconds(device, call)
