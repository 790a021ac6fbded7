"""What memory is made of: elements, held as a struct of tensors (one tensor a field)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NEVER_READ_LIFE = 1e-7
"""Life of an element that no read has passed over yet, so that its usage per life is 0 and not 0 / 0 (as in XMem)."""


@dataclass(frozen=True, slots=True, eq=False)
class Elements:
    """N entries of memory in time order: a frame's (P tokens each) or a token's (P = 1).

    Fields share their first axis. Slices give views of the same storage, index tensors give copies.
    """

    key: Tensor
    """(N, C), floating point: what a query is compared with, for a frame its embedding."""
    value: Tensor
    """(N, P, D), floating point, on the device of `key`: what a read returns."""
    span_seconds: Tensor
    """(N, 2) float64 on the CPU: half-open stretch of presentation time `[start, end)` that the element stands for."""
    usage: Tensor
    """(N,) float32 on the device of `key`: affinity received in all reads since the element was written."""
    life: Tensor
    """(N,) float32 on the device of `key`: number of queries that could have read the element since it was written."""
    weight: Tensor
    """(N, P) float32 on the device of `key`: number of frames that each token is an average of, 1 for a frame's own."""

    def __post_init__(self) -> None:
        num = self.key.shape[0]
        if self.key.ndim != 2 or self.value.ndim != 3 or self.value.shape[0] != num:
            raise ValueError(
                f"elements need keys (N, C) and values (N, P, D), got {tuple(self.key.shape)} and "
                f"{tuple(self.value.shape)}"
            )
        if self.span_seconds.shape != (num, 2) or self.span_seconds.dtype != torch.float64:
            raise ValueError(
                f"{num} elements need spans ({num}, 2) in float64, got {tuple(self.span_seconds.shape)} in "
                f"{self.span_seconds.dtype}: times in float32 run together within a week of video"
            )
        if self.usage.shape != (num,) or self.life.shape != (num,):
            raise ValueError(
                f"{num} elements need as many usages and lives, got {len(self.usage)} and {len(self.life)}"
            )
        if self.weight.shape != self.value.shape[:2]:
            raise ValueError(
                f"values {tuple(self.value.shape)} need a weight a token, got weights {tuple(self.weight.shape)}"
            )

    @classmethod
    def fresh(cls, key: Tensor, value: Tensor, span_seconds: Tensor, weight: Tensor | None = None) -> Elements:
        """Elements that nothing has read yet: usage and life are 0. `span_seconds` is moved to the CPU as float64.

        Without `weight` (N, P) each stands for one frame.
        """
        unread = torch.zeros(key.shape[0], dtype=torch.float32, device=key.device)
        if weight is None:
            weight = torch.ones(value.shape[:2], dtype=torch.float32, device=key.device)
        return cls(key, value, span_seconds.to("cpu", torch.float64), unread, unread.clone(), weight)

    @classmethod
    def empty(
        cls,
        key_dim: int,
        num_tokens: int,
        token_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Elements:
        """No elements, of keys (0, C) and values (0, P, D)."""
        key = torch.empty(0, key_dim, dtype=dtype, device=device)
        value = torch.empty(0, num_tokens, token_dim, dtype=dtype, device=device)
        return cls.fresh(key, value, torch.empty(0, 2, dtype=torch.float64))

    @classmethod
    def cat(cls, parts: Sequence[Elements]) -> Elements:
        """Join elements of the same sizes in the order given. Copies all of them."""
        if not parts:
            raise ValueError("nothing to join: give at least one Elements, Elements.empty(...) will do")
        return cls(
            torch.cat([part.key for part in parts]),
            torch.cat([part.value for part in parts]),
            torch.cat([part.span_seconds for part in parts]),
            torch.cat([part.usage for part in parts]),
            torch.cat([part.life for part in parts]),
            torch.cat([part.weight for part in parts]),
        )

    def __len__(self) -> int:
        return self.key.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Elements:
        """Some of the elements: by slice (views), or by a 1-D tensor of places or booleans (copies)."""
        if isinstance(index, slice) and index.indices(len(self)) == (0, len(self), 1):
            return self
        on_cpu = index if isinstance(index, slice) else index.cpu()
        return Elements(
            self.key[index],
            self.value[index],
            self.span_seconds[on_cpu],
            self.usage[index],
            self.life[index],
            self.weight[index],
        )

    @property
    def frequency(self) -> Tensor:
        """(N,) usage per life: the share of all queries since writing that went to the element; 0 if never read."""
        return self.usage / self.life.clamp(min=NEVER_READ_LIFE)

    @property
    def num_tokens(self) -> int:
        return len(self) * self.value.shape[1]

    @property
    def num_bytes(self) -> int:
        """Bytes of all fields."""
        fields = (self.key, self.value, self.span_seconds, self.usage, self.life, self.weight)
        return sum(field.numel() * field.element_size() for field in fields)
