"""KIVI's words and groups beyond what its parity numbers show."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.kv import kivi


@given(st.sampled_from([2, 4, 8]), st.integers(0, 3), st.integers(0, 9))
def test_words_hold_the_codes_lowest_bits_first(bits, num_words, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 1 << bits, (2, num_words * 32 // bits), generator=generator, dtype=torch.uint8)
    words = kivi.pack_words(codes, bits)
    for row, packed in zip(codes.tolist(), words.tolist(), strict=True):
        number = sum(code << (bits * j) for j, code in enumerate(row))
        assert number == sum((word & 0xFFFFFFFF) << (32 * j) for j, word in enumerate(packed))
    assert torch.equal(kivi.unpack_words(words, bits), codes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_constant_group_has_code_0_and_its_constant(dtype):
    numbers = torch.tensor([[3.0] * 8 + [0.0, 1.0, 2.0, 3.0] * 2], dtype=dtype)
    grouped = kivi.quantise_groups(numbers, group_size=8, bits=2)
    assert grouped.codes.tolist() == [[0] * 8 + [0, 1, 2, 3] * 2]
    assert torch.equal(grouped.dequantised(), numbers)


def test_what_fills_no_group_or_word_is_refused():
    with pytest.raises(ValueError, match="groups of 8"):
        kivi.quantise_groups(torch.zeros(1, 12), group_size=8, bits=2)
    with pytest.raises(ValueError, match="multiple of 8"):
        kivi.pack_words(torch.zeros(1, 12, dtype=torch.uint8), 4)


def test_a_kv_head_serves_several_query_heads():
    """Before and after anything is quantised, where the paper's code fails."""
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 1, 2, 13, 8, generator=generator)
    queries = torch.randn(1, 6, 13, 8, generator=generator)
    settings = kivi.Settings(group_size=4, residual_length=8)
    grouped = kivi.prefill(keys[:, :, :3], values[:, :, :3], settings)
    repeated = kivi.prefill(*(part[:, :, :3].repeat_interleave(3, 1) for part in (keys, values)), settings)
    for token in range(3, 13):
        step = slice(token, token + 1)
        query, key, value = queries[:, :, step], keys[:, :, step], values[:, :, step]
        got, grouped = kivi.decode(grouped, query, key, value)
        want, repeated = kivi.decode(repeated, query, key.repeat_interleave(3, 1), value.repeat_interleave(3, 1))
        torch.testing.assert_close(got, want)
    assert grouped.counts() == (8, 5, 5, 8)
