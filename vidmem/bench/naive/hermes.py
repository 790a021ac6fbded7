"""HERMES's episodic compressor, transcribed: each step compares all neighbours and makes a bank that is one shorter."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def naive_eco(bank: Tensor, size: Tensor, num_kept: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Episodic compressor on a bank (B, T, N, C) with sizes (B, T, N): what is left, its sizes, merge positions.

    Each step compares all neighbours, then moves all episodes but one into a bank that is one shorter.
    """
    positions = []
    while bank.shape[1] > num_kept:
        num, channels = bank.shape[1], bank.shape[3]
        similarity = functional.cosine_similarity(bank[:, :-1], bank[:, 1:], dim=-1)
        at = similarity.max(dim=1, keepdim=True).indices
        stays = torch.arange(num - 1, device=bank.device)[None, :, None].repeat(bank.shape[0], 1, bank.shape[2])
        stays[stays > at] += 1
        taken = bank.gather(1, (at + 1).unsqueeze(-1).expand(-1, -1, -1, channels))
        left = bank.gather(1, stays.unsqueeze(-1).expand(-1, -1, -1, channels))
        taken_size, left_size = size.gather(1, at + 1), size.gather(1, stays)
        taken = taken * taken_size.unsqueeze(-1)
        left = left * left_size.unsqueeze(-1)
        left.scatter_add_(1, at.unsqueeze(-1).expand(-1, -1, -1, channels), taken)
        left_size.scatter_add_(1, at, taken_size)
        bank, size = left / left_size.unsqueeze(-1), left_size
        positions.append(at[:, 0])
    return bank, size, positions


class NaiveHermes:
    """A bank of episodes that takes windows of frames."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.bank: Tensor | None = None
        self.size: Tensor | None = None

    def write(self, frames: Tensor) -> Tensor:
        """Take in one window (B, w, N, C), and give the bank. The first is not compressed, as in the reference."""
        size = torch.ones_like(frames[..., 0])
        if self.bank is None or self.size is None:
            self.bank, self.size = frames, size
            return frames
        bank, size = torch.cat([self.bank, frames], dim=1), torch.cat([self.size, size], dim=1)
        self.bank, self.size, _ = naive_eco(bank, size, self.capacity)
        return self.bank
