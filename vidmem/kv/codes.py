"""Codes of 2, 4 and 8 bits as bytes, from numbers that are already scaled to 0 .. 2^bits - 1, and back.

Code j of a row lies at bits `bits * j` and following of the row's bytes, lowest first: the order of KIVI's words.
"""

from __future__ import annotations

import torch
from torch import Tensor


def codes_per_byte(bits: int) -> int:
    return 8 // bits


def pack(numbers: Tensor, bits: int) -> Tensor:
    """Round (..., numbers) in [0, 2^bits - 1] to codes, ties to even: uint8 (..., numbers * bits / 8)."""
    codes = (numbers.round() if numbers.is_floating_point() else numbers).to(torch.uint8)
    packed = codes[..., :: codes_per_byte(bits)].clone()
    for place in range(1, codes_per_byte(bits)):
        packed |= codes[..., place :: codes_per_byte(bits)] << (bits * place)
    return packed


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The codes as float32 (..., codes)."""
    places = [(packed >> (bits * place)) & ((1 << bits) - 1) for place in range(codes_per_byte(bits))]
    return torch.stack(places, dim=-1).flatten(-2).float()
