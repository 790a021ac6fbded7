"""Quantising with torch's operators, on any device: how an accelerator does it, and what `compiled` is held against."""

from __future__ import annotations

import torch
from torch import Tensor

from vidmem.kv import codes, scales
from vidmem.kv.groups import Groups


@torch.no_grad()
def quantise_into(data: Tensor, begin: int, numbers: Tensor, groups: Groups) -> None:
    """Write numbers (layers, heads, tokens, channels) to uint8 (layers, bytes), from a layer's byte `begin` on."""
    top = (1 << groups.bits) - 1
    missing = groups.padded_tokens - groups.num_tokens
    filled = torch.cat((numbers, numbers[:, :, -1:].expand(-1, -1, missing, -1)), dim=2) if missing else numbers
    cut = groups.cut(filled.float())
    scale_bytes, code_bytes = groups.parts(data[:, begin : begin + groups.num_bytes])
    low, high = cut.amin(groups.axis).flatten(1), cut.amax(groups.axis).flatten(1)
    step, start = scales.fit(low, high, top, scale_bytes, short=groups.short_scales)
    per_step = step.reciprocal_()
    scaled = torch.addcmul(groups.spread(start.mul_(per_step).neg_()), cut, groups.spread(per_step)).clamp_(0, top)
    tokens = scaled.reshape(filled.shape)[:, :, : groups.num_tokens]
    code_bytes.copy_(codes.pack(tokens.flatten(2), groups.bits))


@torch.no_grad()
def dequantise_into(numbers: Tensor, data: Tensor, begin: int, groups: Groups) -> None:
    """Write what `quantise_into` stored to (layers, heads, tokens, channels) of any float dtype and strides."""
    scale_bytes, code_bytes = groups.parts(data[:, begin : begin + groups.num_bytes])
    step, start = scales.read(scale_bytes, groups.num_groups, short=groups.short_scales)
    unpacked = codes.unpack(code_bytes, groups.bits)
    missing = groups.padded_tokens * groups.head_dim - unpacked.shape[2]
    tokens = torch.nn.functional.pad(unpacked, (0, missing)).unflatten(2, (-1, groups.head_dim))
    cut = groups.cut(tokens)
    torch.addcmul(groups.spread(start), cut, groups.spread(step), out=cut)
    numbers.copy_(tokens[:, :, : groups.num_tokens])
