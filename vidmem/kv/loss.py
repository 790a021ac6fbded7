"""What a way of storing keys and values costs an answer: the error of the attention's output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from vidmem.kv.block import Layout
from vidmem.kv.formats import Format
from vidmem.kv.quantise import dequantise, quantise


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """Queries on keys and values of one stretch of stream, in float32, all before RoPE."""

    queries: Tensor
    """(layers, heads, Q, head dim); heads are a multiple of KV heads."""
    keys: Tensor
    """(layers, KV heads, T, head dim); `values` have the same shape."""
    values: Tensor

    def output(self) -> Tensor:
        """(layers, heads, Q, head dim), every query over all T tokens."""
        return scaled_dot_product_attention(self.queries, self.keys, self.values, enable_gqa=True)

    def stored(self, format: Format, tokens_per_block: int) -> Attention:
        """The same with keys and values as they come back from blocks of so many tokens; the last may be shorter."""
        blocks = zip(self.keys.split(tokens_per_block, 2), self.values.split(tokens_per_block, 2), strict=True)
        back = [dequantise(quantise(keys, values, format)) for keys, values in blocks]
        keys, values = (torch.cat(parts, dim=2) for parts in zip(*back, strict=True))
        return Attention(self.queries, keys, values)


def answer_error(attention: Attention, format: Format, *, tokens_per_block: int) -> float:
    """Distance of the attention's output from the one at full precision, relative to its length, over all layers."""
    exact = attention.output()
    return float((attention.stored(format, tokens_per_block).output() - exact).norm() / exact.norm())


def with_channel_outliers(
    layout: Layout, *, num_tokens: int, num_queries: int, heads_per_kv_head: int, generator: torch.Generator
) -> Attention:
    """Random keys and values of the kind that quantisers are made for: noise around a mean for each channel.

    The noise has variance 1, the means have variance 1, and in one channel of 16 the mean is 10 away from 0. Queries
    have variance 4: of 480 tokens one attends to about 34. int4's error is 1.3 % there, and 2.5 % with queries that
    attend to 10. Without means no 4 bits could reach an error below 6 %, their rate-distortion bound: all of the output
    would be noise.

    Source: KIVI, section 3 (outlier channels of keys); VidKV, section 3 (of the values of video models).
    """
    shape = layout.num_layers, layout.num_kv_heads, num_tokens, layout.head_dim

    def normal(heads: int, tokens: int) -> Tensor:
        return torch.randn(shape[0], heads, tokens, shape[3], generator=generator)

    def around_means() -> Tensor:
        mean = normal(shape[1], 1)
        is_outlier = torch.rand(mean.shape, generator=generator) < 1 / 16
        return normal(shape[1], num_tokens) + torch.where(is_outlier, 10 * mean.sign(), mean)

    return Attention(2 * normal(shape[1] * heads_per_kv_head, num_queries), around_means(), around_means())
