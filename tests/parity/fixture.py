"""One file of numbers from a reference, that knows which of its arrays were looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class Fixture:
    """Arrays of an `.npz` as tensors, and its strings.

    `seen` are the names read since it was last cleared, `errors` the largest difference found for each array compared.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
        self._texts = {name: str(array) for name, array in loaded.items() if array.dtype.kind == "U"}
        self._arrays = {name: torch.from_numpy(loaded[name]) for name in loaded if name not in self._texts}
        self.seen: set[str] = set()
        self.errors: dict[str, float] = {}

    @property
    def names(self) -> list[str]:
        return [*self._arrays, *self._texts]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> Tensor:
        self.seen.add(name)
        return self._arrays[name]

    def text(self, name: str) -> str:
        self.seen.add(name)
        return self._texts[name]

    def ints(self, name: str) -> list[int]:
        return [int(number) for number in self[name].flatten()]

    def close(self, name: str, got: Tensor, *, atol: float, rtol: float = 0.0) -> None:
        """The array is `got` within the tolerance, NaN where `got` is NaN, in the same shape."""
        want = self[name]
        assert got.shape == want.shape, f"{name}: we have {tuple(got.shape)}, the reference {tuple(want.shape)}"
        both = ~(got.isnan() & want.isnan())
        difference = (got[both].double() - want[both].double()).abs()
        self.errors[name] = float(difference.max()) if difference.numel() else 0.0
        torch.testing.assert_close(
            got.to(want.dtype), want, atol=atol, rtol=rtol, equal_nan=True, msg=lambda why: f"{name}: {why}"
        )

    def same(self, name: str, got: Tensor | Sequence[object]) -> None:
        """The array is exactly `got`."""
        want = self[name]
        ours = got if isinstance(got, Tensor) else torch.tensor(got, dtype=want.dtype).reshape(want.shape)
        assert torch.equal(ours.to(want.dtype), want), f"{name}: we have {ours.tolist()}, the reference {want.tolist()}"
        self.errors[name] = 0.0


def padded(rows: Sequence[Sequence[float]], like: Tensor, fill: float) -> Tensor:
    """Ragged rows as a tensor like the reference's (rows, width), filled up on the right."""
    table = torch.full(like.shape, fill, dtype=like.dtype)
    assert len(rows) == len(like), f"{len(rows)} rows, the reference has {len(like)}"
    for row, numbers in zip(table, rows, strict=True):
        assert len(numbers) <= len(row), f"a row of {len(numbers)} numbers, the reference has room for {len(row)}"
        row[: len(numbers)] = torch.tensor(numbers, dtype=like.dtype)
    return table
