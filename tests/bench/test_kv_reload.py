"""The benchmark of reloading reads what it says that it reads."""

from __future__ import annotations

from pathlib import Path

import torch

from vidmem.bench import kv_reload
from vidmem.kv.records import BlockId


def test_every_way_reads_the_same_bytes(tmp_path: Path) -> None:
    layout = kv_reload._Layout(tmp_path, num_frames=3, num_layers=2, piece_bytes=192)
    tiers = kv_reload._write(layout, 6, "cpu")
    room = torch.zeros((2, 2, 3, 192), dtype=torch.uint8)  # layers, keys and values, frames
    for chosen in (range(0, 6, 2), range(3)):
        with tiers.fetch([BlockId(number) for number in chosen]) as blocks:
            ours = torch.stack([block.tensors["data"].view(2, 2, 192) for block in blocks], dim=2)
            kv_reload._read_pieces(layout, room, chosen)
            assert torch.equal(room, ours) and len(room.unique()) > 100
    kv_reload._read_sequentially(layout, room)
    assert torch.equal(room.view(3, 2, 2, 192), ours.permute(2, 0, 1, 3))
    tiers.close()


def test_it_gives_every_figure(tmp_path: Path) -> None:
    figures = kv_reload.reload_figures(tmp_path, num_frames=4, num_layers=2, piece_bytes=128, rounds=2)
    assert (figures.num_bytes, figures.num_pieces) == (4 * 2 * 2 * 128, 16)
    assert min(figures.ours_seconds, figures.pieces_seconds, figures.sequential_seconds) > 0
    assert figures.speedup > 0 and figures.share_of_sequential > 0
