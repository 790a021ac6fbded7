"""Representatives on disk: each row in its place, and a damaged one known as such."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from vidmem.errors import StorageFull
from vidmem.kv.block import Layout
from vidmem.kv.keyfile import NAME, KeyFile

LAYOUT = Layout(num_layers=3, num_kv_heads=2, head_dim=4)
ROW_BYTES = 3 * 2 * 4 * 2 + 4


def means(num: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, 3, 2, 4, generator=torch.manual_seed(seed))


def test_rows_come_back_in_half_precision(tmp_path):
    file, rows = KeyFile(tmp_path / "kv", LAYOUT), means(7)
    file.write(0, rows[:3])
    file.write(3, rows[3:])
    read = file.read(2, 4)
    assert read.is_sound.all() and torch.equal(read.means, rows[2:6].half())


def test_what_was_not_committed_is_written_over_and_cut(tmp_path):
    file, rows = KeyFile(tmp_path, LAYOUT), means(9)
    file.write(0, rows[:6])
    file.write(2, rows[6:7])
    assert (tmp_path / NAME).stat().st_size == 3 * ROW_BYTES
    read = file.read(0, 6)
    assert read.is_sound.tolist() == [True] * 3 + [False] * 3
    assert torch.equal(read.means[:3], rows[[0, 1, 6]].half())


@pytest.mark.parametrize("offset", [0, 17, ROW_BYTES - 1])
def test_any_flipped_bit_spoils_its_row_alone(tmp_path, offset):
    KeyFile(tmp_path, LAYOUT).write(0, means(5))
    data = bytearray((tmp_path / NAME).read_bytes())
    data[2 * ROW_BYTES + offset] ^= 4
    (tmp_path / NAME).write_bytes(data)
    read = KeyFile(tmp_path, LAYOUT).read(0, 5)
    assert read.is_sound.tolist() == [True, True, False, True, True]
    assert not read.means[2].any() and torch.equal(read.means[3:], means(5)[3:].half())


@pytest.mark.parametrize("num_bytes", [None, 0, 1, 3 * ROW_BYTES - 1])
def test_rows_that_are_gone_are_unsound_and_later_ones_keep_their_place(tmp_path, num_bytes):
    file = KeyFile(tmp_path, LAYOUT)
    file.write(0, means(4))
    if num_bytes is None:
        (tmp_path / NAME).unlink()
    else:
        os.truncate(tmp_path / NAME, num_bytes)
    file.write(4, means(2, seed=1))
    read = file.read(0, 6)
    whole = (num_bytes or 0) // ROW_BYTES
    assert read.is_sound.tolist() == [row < whole or row >= 4 for row in range(6)]
    assert torch.equal(read.means[4:], means(2, seed=1).half())


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(StorageFull):
        KeyFile(tmp_path, LAYOUT).write(0, means(1))
