"""What a reference drew by lot, given out again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .fixture import Fixture, padded


class Recorded:
    """Draws of the reference, given out in the order in which it drew."""

    def __init__(self, distinct: Sequence[int] = (), repeated: Sequence[int] = ()) -> None:
        self._distinct = [number for number in distinct if number >= 0]
        self._any = [number for number in repeated if number >= 0]

    def distinct(self, num_rows: int, num_drawn: int) -> Tensor:
        return self._take(self._distinct, num_rows, num_drawn)

    def any(self, num_rows: int, num_drawn: int) -> Tensor:
        return self._take(self._any, num_rows, num_drawn)

    def _take(self, recorded: list[int], num_rows: int, num_drawn: int) -> Tensor:
        assert num_drawn <= len(recorded), f"{num_drawn} rows drawn, the reference drew {len(recorded)} more"
        drawn = torch.tensor(recorded[:num_drawn], dtype=torch.int64)
        assert bool((drawn < num_rows).all())
        del recorded[:num_drawn]
        return drawn

    def assert_used_up(self) -> None:
        assert not self._distinct and not self._any, "the reference drew more often than we do"


def rows_like(fixture: Fixture, name: str, rows: Sequence[Tensor], fill: float) -> Tensor:
    return padded([row.tolist() for row in rows], fixture[name], fill)
