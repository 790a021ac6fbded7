"""Representatives of one video's blocks on disk: one file of rows of one size, each with its checksum.

Made anew they would cost reading every block. The file lies beside the log of blocks, has one row a block in the same
order, and is durable as far as that log is: what lies beyond the committed blocks is cut away.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidmem.disk import sync
from vidmem.kv.block import Layout
from vidmem.kv.files import read_at, translated, write_at

NAME = "representatives.rows"
_CRC_BYTES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Representatives (n, layers, KV heads, D) float16; rows that are damaged or gone are zeros."""

    means: Tensor
    is_sound: np.ndarray
    """(n,) bool."""


class KeyFile:
    """The representatives of one video's blocks. One thread writes, any number of others read what is committed."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self._path = folder / NAME
        self._shape = layout.num_layers, layout.num_kv_heads, layout.head_dim
        self._row_bytes = 2 * layout.num_layers * layout.num_kv_heads * layout.head_dim + _CRC_BYTES

    def write(self, first: int, means: Tensor) -> None:
        """Put rows (n, layers, KV heads, D) from block `first` on, and force them to disk. Raises StorageFull.

        What lay beyond is cut away. Each block has its place, so what is missing before `first` stays missing.
        """
        numbers = means.to("cpu", torch.float16).contiguous().flatten(1).numpy()
        data = b"".join(
            row + zlib.crc32(row).to_bytes(_CRC_BYTES, "little") for row in map(np.ndarray.tobytes, numbers)
        )
        with translated(self._path.parent):
            self._path.parent.mkdir(exist_ok=True)
            is_new = not self._path.exists()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.ftruncate(descriptor, first * self._row_bytes)
                write_at(descriptor, [data], first * self._row_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                sync(self._path.parent)

    def read(self, first: int, num_rows: int) -> Rows:
        """The rows of blocks [first, first + num_rows). Raises OSError if the disk can't be reached at all."""
        data = np.zeros((num_rows, self._row_bytes), np.uint8)
        num_read = read_at(self._path, [data.reshape(-1).data], first * self._row_bytes) if num_rows else 0
        body = np.ascontiguousarray(data[:, :-_CRC_BYTES])
        stated = np.ascontiguousarray(data[:, -_CRC_BYTES:]).view("<u4")[:, 0]
        is_sound = np.fromiter((zlib.crc32(row) for row in body), np.uint32, num_rows) == stated
        is_sound[num_read // self._row_bytes :] = False
        body[~is_sound] = 0
        return Rows(torch.from_numpy(body.view(np.float16)).view(num_rows, *self._shape), is_sound)
