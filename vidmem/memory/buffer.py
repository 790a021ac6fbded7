"""Room for rows of several tensors that come and go together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class RowBuffer:
    """Named tensors with one number of rows, kept in order in room that was reserved ahead.

    Rows are appended at the end and mostly leave at the front. Then the window of live rows moves on, and is shifted
    back to the start of the room, in place, once it has moved by a fifth of it; room doubles when it is too small.
    So a row is copied a bounded number of times in its life, and no append allocates in the steady state.
    """

    def __init__(self, like: Mapping[str, Tensor], *, max_rows: int | None = None) -> None:
        """Reserve nothing yet.

        Args:
            like: names, row shapes, dtypes and devices of the tensors; their rows are not taken over.
            max_rows: bound on rows; room never exceeds 5/4 of it. None: no bound.
        """
        self._max_rows = max_rows
        self._room = {name: torch.empty_like(tensor[:0]) for name, tensor in like.items()}
        self._capacity = 0
        self._start = 0
        self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, name: str) -> Tensor:
        """View of all rows of one tensor, in order. Holds until the next change of the buffer."""
        return self._room[name][self._start : self._start + self._num_rows]

    @property
    def num_reserved_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self._room.values())

    def append(self, rows: Mapping[str, Tensor]) -> None:
        """Copy rows to the end, into the buffer's dtypes and devices. Every tensor of the buffer must be given.

        The buffer takes part in no graph: rows that require gradients are taken as numbers.
        """
        num_new = len(next(iter(rows.values())))
        self._reserve(self._num_rows + num_new)
        end = self._start + self._num_rows
        for name, tensor in self._room.items():
            tensor[end : end + num_new] = rows[name].detach()
        self._num_rows += num_new

    def drop_oldest(self, num_dropped: int) -> None:
        assert 0 <= num_dropped <= self._num_rows, f"{num_dropped=} of {self._num_rows} rows"
        self._start += num_dropped
        self._num_rows -= num_dropped

    def keep(self, row_index: Tensor) -> None:
        """Keep only these rows: a 1-D index, ascending, without duplicates."""
        num_kept = len(row_index)
        if num_kept == 0 or int(row_index[0]) == self._num_rows - num_kept:
            self.drop_oldest(self._num_rows - num_kept)
            return
        # Those before the first gap are where they are to be.
        num_in_place = int((row_index.cpu() == torch.arange(num_kept)).sum())
        moved = row_index[num_in_place:]
        if len(moved):
            for name, tensor in self._room.items():
                kept = self[name][moved.to(tensor.device)]
                tensor[self._start + num_in_place : self._start + num_kept] = kept
        self._num_rows = num_kept

    def _reserve(self, num_rows: int) -> None:
        """Make room for `num_rows` rows in all, from the window's start on."""
        assert self._max_rows is None or num_rows <= self._max_rows, f"{num_rows=} exceed the bound {self._max_rows}"
        if self._start + num_rows <= self._capacity:
            return
        if num_rows * 5 <= self._capacity * 4:
            self._shift_to_start()
            return
        self._capacity = max(8, num_rows * 2)
        if self._max_rows is not None:
            self._capacity = min(self._capacity, self._max_rows + (self._max_rows + 3) // 4)
        for name, tensor in self._room.items():
            # Room made in inference mode could not be written to outside of it, and reads count usage anywhere.
            with torch.inference_mode(False):
                room = torch.empty((self._capacity, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)
            room[: self._num_rows] = self[name]
            self._room[name] = room
        self._start = 0

    def _shift_to_start(self) -> None:
        """Move live rows to the start of the room, in steps short enough that source and target never overlap."""
        for tensor in self._room.values():
            for at in range(0, self._num_rows, self._start):
                rows = tensor[self._start + at : self._start + min(at + self._start, self._num_rows)]
                tensor[at : at + len(rows)] = rows
        self._start = 0
