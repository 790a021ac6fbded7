"""Codes of 2, 4 and 8 bits as bytes, from numbers that are already scaled to 0 .. 2^bits - 1, and back.

Code j of a row lies at bits `bits * j` and following of the row's bytes, lowest first: the order of KIVI's words.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# torch's own embedding operators quantise a row of float32 in vectorised C++ and put scale and minimum behind it. Where
# a row holds both 0 and 2^bits - 1 the scale is 1 and the minimum 0, so that they round and pack and do nothing else.
# In cache, 4 bits, one busy AVX-512 core: 11 GB/s of float32 packed and 27 unpacked, plain torch 4 and 5. A torch that
# has them no more takes the plain way to the same bytes.
_FUSED_OPERATORS = {2: "embedding_bag_2bit", 4: "embedding_bag_4bit"}
_UNIT_SCALE = (0x00, 0x3C, 0x00, 0x00)
"""Scale 1 and minimum 0 in float16, as they stand behind a row of these operators."""


def codes_per_byte(bits: int) -> int:
    return 8 // bits


def room_for(num_rows: int, num_numbers: int, bits: int, device: torch.device) -> Tensor:
    """Reserve float32 (rows, numbers + a few): fill all but what `fillable` leaves out, then `pack` it, repeatedly."""
    per_byte = codes_per_byte(bits)
    assert num_numbers % per_byte == 0, f"{num_numbers} codes of {bits} bits fill no whole bytes"
    room = torch.empty((num_rows, num_numbers + max(2, per_byte)), device=device)
    room[:, num_numbers:] = 0
    room[:, -1] = (1 << bits) - 1
    return room


def fillable(room: Tensor, bits: int) -> Tensor:
    """The part of the room that numbers are written to: (rows, numbers)."""
    return room[:, : -max(2, codes_per_byte(bits))]


def pack(room: Tensor, bits: int) -> Tensor:
    """Round to the nearest code, ties to even, and pack: uint8 (rows, numbers * bits / 8).

    Args:
        room: from `room_for`, every number in [0, 2^bits - 1]. What lies outside spoils its row.
    """
    if not _is_fused(bits, room.device):
        return pack_plainly(fillable(room, bits), bits)
    packed: Tensor = _operator(bits, "prepack")(room)
    return packed[:, : fillable(room, bits).shape[1] // codes_per_byte(bits)]


def room_for_packed(num_rows: int, num_codes: int, bits: int, device: torch.device) -> Tensor:
    """Reserve uint8 rows of zeros for as many codes: fill them from their start on, then `unpack`, repeatedly."""
    num_bytes = num_codes // codes_per_byte(bits)
    room = torch.zeros((num_rows, num_bytes + len(_UNIT_SCALE)), dtype=torch.uint8, device=device)
    room[:, num_bytes:] = torch.tensor(_UNIT_SCALE, dtype=torch.uint8, device=device)
    return room


def unpack(room: Tensor, bits: int) -> Tensor:
    """The codes of the rows from `room_for_packed`, as float32 (rows, codes)."""
    if not _is_fused(bits, room.device):
        return unpack_plainly(room[:, : -len(_UNIT_SCALE)], bits)
    codes: Tensor = _operator(bits, "unpack")(room)
    return codes


def pack_plainly(numbers: Tensor, bits: int) -> Tensor:
    """`pack` in plain torch, on any device, for numbers or whole codes without the rest of the room."""
    codes = (numbers.round() if numbers.is_floating_point() else numbers).to(torch.uint8)
    packed = codes[:, :: codes_per_byte(bits)].clone()
    for place in range(1, codes_per_byte(bits)):
        packed |= codes[:, place :: codes_per_byte(bits)] << (bits * place)
    return packed


def unpack_plainly(packed: Tensor, bits: int) -> Tensor:
    """`unpack` in plain torch, on any device."""
    places = [(packed >> (bits * place)) & ((1 << bits) - 1) for place in range(codes_per_byte(bits))]
    return torch.stack(places, dim=-1).flatten(1).float()


def _is_fused(bits: int, device: torch.device) -> bool:
    name = _FUSED_OPERATORS.get(bits)
    return name is not None and device.type == "cpu" and hasattr(torch.ops.quantized, f"{name}_prepack")


def _operator(bits: int, step: str) -> Any:
    return getattr(torch.ops.quantized, f"{_FUSED_OPERATORS[bits]}_{step}")
