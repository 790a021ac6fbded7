"""KIVI against numbers from running its code: quantiser and words exactly, the residual through prefill and decode."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention

from vidmem.kv import kivi

from .fixture import Fixture

BITS = (2, 4)


def group_of(name: str) -> str:
    return name.split("_")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    if group == "qC":
        return check_constant_groups
    return {"q": check_quantiser, "r": check_residual}.get(group[0])


def check_quantiser(fixture: Fixture, group: str) -> None:
    (group_size,) = fixture.ints(f"{group}_group_size")
    keys, values = fixture[f"{group}_k"], fixture[f"{group}_v"]
    for bits in BITS:
        name = f"{group}_k{bits}"
        got = kivi.quantise_groups(keys.mT, group_size=group_size, bits=bits)
        words = kivi.pack_words(got.codes, bits)
        fixture.same(f"{name}_codes", got.codes.mT)
        fixture.same(f"{name}_packed", words)
        fixture.same(f"{name}_packed_torch", words.mT)
        fixture.same(f"{name}_deq", got.dequantised().mT)
        check_scales(fixture, name, got)

        name = f"{group}_v{bits}"
        got = kivi.quantise_groups(values, group_size=group_size, bits=bits)
        fixture.same(f"{name}_codes", got.codes)
        fixture.same(f"{name}_packed", kivi.pack_words(got.codes, bits))
        fixture.same(f"{name}_deq", got.dequantised())
        check_scales(fixture, name, got)
        assert torch.equal(kivi.unpack_words(fixture[f"{name}_packed"], bits), got.codes)


def check_scales(fixture: Fixture, name: str, got: kivi.Grouped) -> None:
    assert got.scale.dtype == got.minimum.dtype == fixture[f"{name}_scale"].dtype
    fixture.same(f"{name}_scale", got.scale)
    fixture.same(f"{name}_min", got.minimum)


def check_constant_groups(fixture: Fixture, group: str) -> None:
    (group_size,) = fixture.ints(f"{group}_group_size")
    for bits in BITS:
        got = kivi.quantise_groups(fixture[f"{group}_k"].mT, group_size=group_size, bits=bits)
        fixture.same(f"{group}_k{bits}_deq", got.dequantised().mT)


def check_residual(fixture: Fixture, group: str) -> None:
    settings, num_prompt = settings_of(fixture, group)
    query, keys, values = (fixture[f"{group}_{name}"] for name in "qkv")
    prompt = slice(None, num_prompt)
    output = scaled_dot_product_attention(query[:, :, prompt], keys[:, :, prompt], values[:, :, prompt], is_causal=True)
    fixture.close(f"{group}_out_prefill", output, atol=1e-5)
    cache = kivi.prefill(keys[:, :, prompt], values[:, :, prompt], settings)
    counts, outputs = [cache.counts()], []
    for token in range(num_prompt, keys.shape[2]):
        step = slice(token, token + 1)
        output, cache = kivi.decode(cache, query[:, :, step], keys[:, :, step], values[:, :, step])
        outputs.append(output)
        counts.append(cache.counts())
    fixture.close(f"{group}_out_decode", torch.cat(outputs, dim=2), atol=1e-5)
    fixture.same(f"{group}_counts", counts)
    fixture.close(f"{group}_final_k", cache.keys(), atol=1e-6)
    fixture.close(f"{group}_final_v", cache.values(), atol=1e-6)


def settings_of(fixture: Fixture, group: str) -> tuple[kivi.Settings, int]:
    """KIVI's settings of a case, and the tokens of its prompt."""
    given = json.loads(fixture.text(f"{group}_cfg"))
    settings = kivi.Settings(
        group_size=given["group_size"],
        residual_length=given["residual_length"],
        key_bits=given["k_bits"],
        value_bits=given["v_bits"],
    )
    return settings, given["prefill_len"]
