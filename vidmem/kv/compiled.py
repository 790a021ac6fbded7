"""Quantising on a CPU by compiled kernels: the bytes and numbers of `operators`, in a fraction of the time.

In one thread, without Python's lock. Two threads for the layers of one block were tried: on two cores that others use,
too, they took longer than one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidmem.kv import kernels
from vidmem.kv.groups import Groups

_KINDS = {torch.float32: kernels.FLOAT32, torch.float16: kernels.FLOAT16, torch.bfloat16: kernels.BFLOAT16}


def quantise_into(data: Tensor, begin: int, numbers: Tensor, groups: Groups) -> None:
    """Write numbers (layers, heads, tokens, channels) to uint8 (layers, bytes), from a layer's byte `begin` on."""
    known = numbers if numbers.dtype in _KINDS else numbers.float()
    _run(kernels.quantise, known if known.stride(3) == 1 else known.contiguous(), data, begin, groups)


def dequantise_into(numbers: Tensor, data: Tensor, begin: int, groups: Groups) -> None:
    """Write what `quantise_into` stored to (layers, heads, tokens, channels) of any float dtype, strides and device."""
    if numbers.dtype in _KINDS and numbers.stride(3) == 1 and numbers.device == data.device:
        _run(kernels.dequantise, numbers, data, begin, groups)
    else:
        known = torch.empty(numbers.shape)
        _run(kernels.dequantise, known, data, begin, groups)
        numbers.copy_(known)


def _run(kernel: Callable[..., None], numbers: Tensor, data: Tensor, begin: int, groups: Groups) -> None:
    """Check what the kernels do not: they read and write wherever they are told to."""
    (num_layers, *of_layer), (num_rows, bytes_of_row) = numbers.shape, data.shape
    expected = [groups.num_heads, groups.num_tokens, groups.head_dim]
    assert of_layer == expected, f"layers of {of_layer} are not of {groups}"
    fits = num_rows == num_layers and 0 <= begin <= bytes_of_row - groups.num_bytes
    assert fits, f"{num_layers} layers of {groups.num_bytes} bytes do not lie in {tuple(data.shape)} from {begin} on"
    bytes_to_next, step = data.stride()
    assert step == 1, "the bytes of a layer lie apart"
    kernel(
        numbers.data_ptr(),
        _KINDS[numbers.dtype],
        numbers.stride()[:3],
        (num_layers, *of_layer),
        groups.tokens_and_channels,
        groups.bits,
        data.data_ptr() + begin,
        bytes_to_next,
    )
