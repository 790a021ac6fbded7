"""KIVI as its code has it: quantiser, words and residual, for the parity numbers and as the plain form to compare with.

Blocks that leave the accelerator are stored by `vidmem.kv.quantise`, which groups as KIVI does and differs in the rest.

Source: KIVI (Liu et al., ICML 2024, arXiv 2402.02750) and its code. We quantise a constant group to code 0, where the
    code's two paths differ, and take any number of query heads a KV head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Codes along the last axis, of which each `group_size` consecutive ones share a scale and a minimum."""

    codes: Tensor
    """uint8 (..., N)."""
    scale: Tensor
    """(..., N / group_size), in the dtype of what was quantised; so is `minimum`."""
    minimum: Tensor

    def dequantised(self) -> Tensor:
        """`code * scale + minimum` in the dtype of the scale: (..., N)."""
        num_groups = self.scale.shape[-1]
        codes = self.codes.unflatten(-1, (num_groups, self.codes.shape[-1] // max(1, num_groups)))
        return (codes.to(self.scale.dtype) * self.scale.unsqueeze(-1) + self.minimum.unsqueeze(-1)).flatten(-2)


def quantise_groups(numbers: Tensor, *, group_size: int, bits: int) -> Grouped:
    """Quantise (..., N) in groups along the last axis, every step in its own dtype, ties to even.

    KIVI's keys are given as (..., channels, tokens), its values as (..., tokens, channels).

    Raises:
        ValueError: N is no multiple of `group_size`.
    """
    length, top = numbers.shape[-1], (1 << bits) - 1
    if length % group_size:
        raise ValueError(f"{length} numbers can't be cut into groups of {group_size}: give a multiple")
    groups = numbers.unflatten(-1, (length // group_size, group_size))
    minimum = groups.amin(-1, keepdim=True)
    scale = (groups.amax(-1, keepdim=True) - minimum) / top
    codes = ((groups - minimum) / scale).clamp(0, top).round()
    # A constant group's scale is 0 and its quotient NaN.
    codes = torch.where(scale == 0, 0, codes).to(torch.uint8)
    return Grouped(codes.flatten(-2), scale.squeeze(-1), minimum.squeeze(-1))


def pack_words(codes: Tensor, bits: int) -> Tensor:
    """Codes (..., N) in int32 words (..., N * bits / 32): code j of a word at bits `bits * j` and following.

    Raises:
        ValueError: they do not fill whole words.
    """
    per_word = 32 // bits
    if codes.shape[-1] % per_word:
        raise ValueError(f"{codes.shape[-1]} codes of {bits} bits fill no whole words: give a multiple of {per_word}")
    shifts = torch.arange(per_word, dtype=torch.int32, device=codes.device) * bits
    fields = codes.unflatten(-1, (codes.shape[-1] // per_word, per_word)).int() << shifts
    return fields.sum(-1, dtype=torch.int32)


def unpack_words(words: Tensor, bits: int) -> Tensor:
    """Codes (..., N) of words (..., N * bits / 32), as `pack_words` lays them out."""
    shifts = torch.arange(32 // bits, dtype=torch.int32, device=words.device) * bits
    # The top field makes a word negative; the shift is arithmetic, so the mask comes after it.
    return ((words.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)).to(torch.uint8).flatten(-2)


@dataclass(frozen=True, slots=True)
class Settings:
    group_size: int = 32
    residual_length: int = 128
    """R: keys are quantised R at a time, and the newest R values stay full. A multiple of `group_size`."""
    key_bits: int = 2
    value_bits: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class Cache:
    """One layer's keys and values, the older ones quantised, of T tokens in all. Not changed by any function."""

    settings: Settings
    old_keys: Grouped
    """Codes (B, KV heads, D, tokens): per channel, along tokens."""
    new_keys: Tensor
    """(B, KV heads, fewer than R tokens, D), full."""
    old_values: Grouped
    """Codes (B, KV heads, tokens, D): per token, along channels."""
    new_values: Tensor
    """(B, KV heads, at most R tokens, D), full."""

    def keys(self) -> Tensor:
        """(B, KV heads, T, D) as a step sees them: dequantised, then full."""
        return torch.cat((self.old_keys.dequantised().mT, self.new_keys), dim=-2)

    def values(self) -> Tensor:
        return torch.cat((self.old_values.dequantised(), self.new_values), dim=-2)

    def counts(self) -> tuple[int, int, int, int]:
        """Tokens whose keys are quantised and full, then whose values are."""
        return (
            self.old_keys.codes.shape[-1],
            self.new_keys.shape[-2],
            self.old_values.codes.shape[-2],
            self.new_values.shape[-2],
        )


def prefill(keys: Tensor, values: Tensor, settings: Settings) -> Cache:
    """Cache of a prompt (B, KV heads, T, D), whose own attention is over the full tensors.

    Keys are quantised up to the last multiple of R, values but for the last R.
    """
    num_tokens, residual = keys.shape[-2], settings.residual_length
    num_old_keys, num_old_values = num_tokens - num_tokens % residual, max(0, num_tokens - residual)
    return Cache(
        settings,
        _quantise_keys(keys[..., :num_old_keys, :], settings),
        keys[..., num_old_keys:, :],
        _quantise_values(values[..., :num_old_values, :], settings),
        values[..., num_old_values:, :],
    )


def decode(cache: Cache, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Cache]:
    """Attend from one new token: its output (B, heads, 1, D) and the cache after it.

    The output sees the token in full and the cache as it was. Afterwards R full keys are quantised at once, and of
    more than R full values the oldest.
    """
    grown = replace(
        cache,
        new_keys=torch.cat((cache.new_keys, key), dim=-2),
        new_values=torch.cat((cache.new_values, value), dim=-2),
    )
    output = scaled_dot_product_attention(query, grown.keys(), grown.values(), enable_gqa=True)
    return output, _flushed(grown)


def _flushed(cache: Cache) -> Cache:
    settings = cache.settings
    if cache.new_keys.shape[-2] == settings.residual_length:
        flushed = _quantise_keys(cache.new_keys, settings)
        old_keys = _joined(cache.old_keys, flushed, axis=-1)
        cache = replace(cache, old_keys=old_keys, new_keys=cache.new_keys[..., :0, :])
    if cache.new_values.shape[-2] > settings.residual_length:
        oldest = _quantise_values(cache.new_values[..., :1, :], settings)
        old_values = _joined(cache.old_values, oldest, axis=-2)
        cache = replace(cache, old_values=old_values, new_values=cache.new_values[..., 1:, :])
    return cache


def _quantise_keys(keys: Tensor, settings: Settings) -> Grouped:
    return quantise_groups(keys.mT, group_size=settings.group_size, bits=settings.key_bits)


def _quantise_values(values: Tensor, settings: Settings) -> Grouped:
    return quantise_groups(values, group_size=settings.group_size, bits=settings.value_bits)


def _joined(old: Grouped, new: Grouped, *, axis: int) -> Grouped:
    return Grouped(
        torch.cat((old.codes, new.codes), dim=axis),
        torch.cat((old.scale, new.scale), dim=axis),
        torch.cat((old.minimum, new.minimum), dim=axis),
    )
