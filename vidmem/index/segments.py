"""Tensors in safetensors files: `kv/` segments, one for each clip, and the memory state of each video."""

from __future__ import annotations

import hashlib
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidmem.checksum import crc32
from vidmem.errors import StoreCorrupt
from vidmem.index.catalogue import Placement, StoredFile
from vidmem.index.folder import inside

if TYPE_CHECKING:
    from torch import Tensor

_TOKENS = "tokens"


def tokens_file(tokens: Tensor) -> bytes:
    """One clip's tokens (F, P, D) as a segment."""
    return tensors_file({_TOKENS: tokens})


def tensors_file(tensors: Mapping[str, Tensor]) -> bytes:
    """What a file holds of tensors, from any device."""
    from safetensors.torch import save

    return save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})


def read_tensors(store: Path, file: StoredFile) -> dict[str, Tensor]:
    """Read a whole file after its checksum held.

    Raises:
        StoreCorrupt: the checksum does not hold.
        FileNotFoundError: it is gone.
    """
    from safetensors.torch import load

    data = inside(store, file.name).read_bytes()
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise StoreCorrupt(_damaged(store, file.name))
    return load(data)


def row_checksums(tokens: Tensor) -> list[int]:
    """CRC-32 of the bytes of each row of (F, P, D) tokens."""
    import torch

    return [crc32(row.data) for row in tokens.detach().cpu().contiguous().view(torch.uint8).flatten(1).numpy()]


def read_rows(store: Path, placements: Sequence[Placement]) -> Tensor:
    """Gather rows of many segments: (n, P, D) in the order of `placements`, on the CPU.

    Each segment is mapped once and only the rows asked for are read; each row's checksum is verified, as a
    rotten row would otherwise become a wrong answer without an error.

    Raises:
        StoreCorrupt: a segment is damaged.
        FileNotFoundError: a segment is gone.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    by_segment: dict[str, list[int]] = defaultdict(list)
    for position, placement in enumerate(placements):
        by_segment[placement.segment_file].append(position)
    gathered: Tensor | None = None
    for name, positions in by_segment.items():
        try:
            with safe_open(inside(store, name), framework="pt") as segment:
                rows = segment.get_slice(_TOKENS)
                for position in positions:
                    row = rows[placements[position].row]
                    if gathered is None:
                        gathered = torch.empty((len(placements), *row.shape), dtype=row.dtype)
                    if _crc32(row) != placements[position].crc32:
                        raise StoreCorrupt(_damaged(store, name))
                    gathered[position].copy_(row)
        except (SafetensorError, IndexError, RuntimeError) as error:
            raise StoreCorrupt(_damaged(store, name)) from error
    assert gathered is not None, "no rows were asked for"
    return gathered


def _damaged(store: Path, name: str) -> str:
    video_id = Path(name).stem.rpartition("-")[0]  # a file's name begins with its video's id
    command = f"vidmem remove {shlex.quote(str(store))} {video_id}"
    cure = f"put back a copy of the store, or remove its video (`{command}`) and ingest it again"
    return f"{store / name} is damaged: {cure}."


def _crc32(row: Tensor) -> int:
    import torch

    return crc32(row.contiguous().view(torch.uint8).numpy().data)
