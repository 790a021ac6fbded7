"""What internal retrieval looks at: a few keys of a few frames in a row, of the heads that look for things.

A mean key (ReKV) washes out a thing that fills one token of twenty, and a key of every token costs a sixth of what it
stands for. Eight frames in a row show much the same, so 24 of their keys, each as far from those before it as one can
be found, stand for all: what appeared for a second is far from all else and is taken early. Keys are held in 4 bits.

Source: farthest-point sampling (Gonzalez, 1985); which heads look for things: docs/decisions/0010-landmarks.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vidmem.kv.block import Block
from vidmem.kv.heads import Heads

GROUP_FRAMES = 8
"""Most frames that landmarks stand for together."""
NUM_LANDMARKS = 24
"""Keys of each head, fewer only where there are not so many."""
_TOP = 7


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Keys of a group of consecutive blocks, for each of G heads P of them, in 4 bits.

    `codes` uint8 (G, D / 2, P): channel 2i in the lower half of byte i, 2i + 1 in the upper, 8 being 0. A key is
    `(code - 8) * scale`. `owners` uint8 (G, P): the place in the group of the block that a key is from.
    """

    heads: Heads
    scale: Tensor
    """float16 (G,)."""
    owners: Tensor
    codes: Tensor

    def to_bytes(self) -> bytes:
        numbers = [number for head in self.heads for number in head]
        head = struct.pack(f"<H{len(numbers)}H", len(self.heads), *numbers)
        return head + b"".join(part.contiguous().numpy().tobytes() for part in (self.scale, self.owners, self.codes))

    @classmethod
    def from_bytes(cls, data: bytes, heads: Heads, head_dim: int) -> Landmarks | None:
        """What `to_bytes` made; None if it is of other heads or another model."""
        numbers = [number for head in heads for number in head]
        head = struct.pack(f"<H{len(numbers)}H", len(heads), *numbers)
        num_heads, rows = len(heads), head_dim // 2
        sizes = [2 * num_heads, num_heads * NUM_LANDMARKS, num_heads * rows * NUM_LANDMARKS]
        if len(data) != len(head) + sum(sizes) or not data.startswith(head):
            return None
        scale, owners, codes = torch.frombuffer(bytearray(data[len(head) :]), dtype=torch.uint8).split(sizes)
        return cls(
            heads,
            scale.view(torch.float16),
            owners.view(num_heads, NUM_LANDMARKS),
            codes.view(num_heads, rows, NUM_LANDMARKS),
        )


def groups(num_frames: int) -> Iterator[tuple[int, int]]:
    """First and end of each group of as many consecutive blocks."""
    for first in range(0, num_frames, GROUP_FRAMES):
        yield first, min(first + GROUP_FRAMES, num_frames)


def head_keys(block: Block, heads: Heads) -> Tensor:
    """A block's keys of some heads: (G, T, D)."""
    return torch.stack([block.keys[layer, head] for layer, head in heads])


def grouped(keys: Sequence[Tensor], heads: Heads) -> Iterator[tuple[int, int, Landmarks]]:
    """Landmarks of the `head_keys` of any number of consecutive blocks: first, end and landmarks of each group."""
    for first, end in groups(len(keys)):
        yield first, end, landmarks(keys[first:end], heads)


def landmarks(keys: Sequence[Tensor], heads: Heads) -> Landmarks:
    """Of the `head_keys` of up to `GROUP_FRAMES` consecutive blocks, on the CPU.

    Where they have fewer tokens than `NUM_LANDMARKS`, some come twice.
    """
    sizes = torch.tensor([part.shape[1] for part in keys])
    points = torch.cat(list(keys), dim=1).float()
    chosen = farthest(points, NUM_LANDMARKS)
    # The rest is little, and is done on the CPU: each thing that is asked of a GPU, and awaited, costs more.
    taken = points.gather(1, chosen[..., None].expand(-1, -1, points.shape[2])).cpu()
    owners = torch.arange(len(keys)).repeat_interleave(sizes)[chosen.cpu()]
    scale = (taken.abs().amax((1, 2)) / _TOP).clamp(2**-24, 65504).half()
    codes = (taken / scale.float()[:, None, None]).round_().clamp_(-_TOP, _TOP).add_(8).to(torch.uint8).mT
    return Landmarks(heads, scale, owners.to(torch.uint8), codes[:, ::2] | codes[:, 1::2] << 4)


def farthest(points: Tensor, count: int) -> Tensor:
    """Places (G, count) of points (G, n, D) float32: the one farthest from their mean, then whichever is farthest from
    all that were taken. Once all are taken the first comes again."""
    if points.device.type != "cpu":
        return farthest_by_operators(points, count)
    from vidmem.kv import farthest as compiled  # brings numba and compiles: only for whoever writes blocks

    return torch.from_numpy(compiled.farthest(points.numpy(), count))


def farthest_by_operators(points: Tensor, count: int) -> Tensor:
    """The same with torch's operators, on any device: how an accelerator does it, and the compiled way's witness."""
    squares = points.square().sum(2)
    distances = (squares[:, :, None] + squares[:, None] - 2 * points @ points.mT).clamp_(min=0)
    centred = points - points.mean(1, keepdim=True)
    chosen = [centred.square().sum(2).argmax(1, keepdim=True)]
    nearest = torch.full_like(squares, torch.inf)
    for _ in range(count - 1):
        row = chosen[-1][..., None].expand(-1, -1, points.shape[1])
        nearest = torch.minimum(nearest, distances.gather(1, row).squeeze(1))
        nearest = nearest.scatter(1, chosen[-1], -1.0)
        chosen.append(nearest.argmax(1, keepdim=True))
    return torch.cat(chosen, 1)
