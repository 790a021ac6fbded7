from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import Qwen2Config, Qwen2Model

from vidmem.bench.random_families import FAMILIES, random_model
from vidmem.errors import BadInput
from vidmem.kv.attention import LayerAttention
from vidmem.kv.block import Layout
from vidmem.kv.rope import Rotary, grid_positions, place, rotate, text_positions
from vidmem.kv.tokens import Tokens
from vidmem.kv.writer import StreamWriter
from vidmem.models.kv_attention import install, rotary_of, run_text_model


def rotary_of_family(family: str) -> Rotary:
    return rotary_of(random_model(family).get_decoder(), interleaved=family == "qwen3_vl")


def patterns_of(num_axes: int) -> list[Tensor]:
    picture = grid_positions(3, 4) if num_axes == 3 else text_positions(12, 1)
    return [text_positions(5, num_axes), picture, text_positions(3, num_axes), picture, text_positions(4, num_axes)]


def forward(family: str, embeds: Tensor, positions: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Keys of all layers, as projected (hooked) and as cached: lists of (KV heads, S, D)."""
    decoder = random_model(family).get_decoder()
    raw: list[Tensor] = []
    hooks = []
    for layer in decoder.layers:
        projection = getattr(layer.self_attn, "k_norm", None) or layer.self_attn.k_proj
        hooks.append(projection.register_forward_hook(lambda _module, _inputs, out: raw.append(out)))
    index = positions[:, None] if len(positions) == 3 else positions
    cache = decoder(inputs_embeds=embeds, position_ids=index, use_cache=True).past_key_values
    for hook in hooks:
        hook.remove()
    heads, head_dim = cache.layers[0].keys.shape[1], cache.layers[0].keys.shape[-1]
    return [key.reshape(-1, heads, head_dim).transpose(0, 1) for key in raw], [layer.keys[0] for layer in cache.layers]


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_before_rope_turned_by_our_tables_are_the_models_keys(family: str) -> None:
    rotary = rotary_of_family(family)
    where = place(patterns_of(rotary.num_axes)).positions
    raw, cached = forward(family, torch.randn(1, where.shape[1], 64, generator=torch.manual_seed(1)), where)
    tables = rotary.tables(where)
    for mine, theirs in zip(raw, cached, strict=True):
        assert torch.equal(rotate(mine, *tables), theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_of_one_forward_serve_at_other_positions(family: str) -> None:
    rotary = rotary_of_family(family)
    patterns = patterns_of(rotary.num_axes)
    embeds = torch.randn(1, sum(pattern.shape[1] for pattern in patterns), 64, generator=torch.manual_seed(2))
    moved = place(patterns, start=40).positions
    raw, _ = forward(family, embeds, place(patterns).positions)
    _, cached = forward(family, embeds, moved)
    scale = max(float(key.abs().max()) for key in cached)
    for mine, theirs in zip(raw, cached, strict=True):
        assert float((rotate(mine, *rotary.tables(moved)) - theirs).abs().max()) < 1e-5 * max(scale, 1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_tables_are_the_models_own(family: str) -> None:
    rotary = rotary_of_family(family)
    where = torch.randint(0, 3000, (rotary.num_axes, 50), generator=torch.manual_seed(3))
    rope = random_model(family).get_decoder().rotary_emb
    index = where[:, None] if rotary.num_axes == 3 else where
    cos, sin = rope(torch.zeros(1, dtype=torch.float32), index)
    ours = rotary.tables(where)
    assert torch.equal(ours[0], cos[0]) and torch.equal(ours[1], sin[0])


def test_a_scaling_on_cosine_and_sine_stays_out_of_the_keys() -> None:
    """YaRN lengthens what it turns; position 0 would leave that in."""
    config = random_model("llava_onevision").config.text_config.to_dict()
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    torch.manual_seed(0)
    decoder = Qwen2Model(Qwen2Config(**{**config, "rope_parameters": yarn})).eval()
    install(decoder)
    rotary = rotary_of(decoder)
    assert rotary.scaling > 1.1
    embeds = torch.randn(20, 64, generator=torch.manual_seed(5))
    seen: list[Tensor] = []
    hook = decoder.layers[0].self_attn.k_proj.register_forward_hook(lambda _m, _i, out: seen.append(out[0]))
    opening = Tokens(embeds, text_positions(20, 1), torch.zeros(20, dtype=torch.bool))
    layout = Layout(3, 2, 16)
    hidden: list[Tensor] = []

    class Model:
        def run(self, tokens: Tokens, attention: LayerAttention) -> Tensor:
            hidden.append(run_text_model(decoder, tokens.embeds, attention))
            return hidden[-1]

    writer = StreamWriter(Model(), layout, rotary, opening)
    hook.remove()
    torch.testing.assert_close(writer.opening.keys[0].transpose(0, 1).flatten(1), seen[0], atol=1e-6, rtol=0)
    stock = decoder(inputs_embeds=embeds[None], position_ids=torch.arange(20)[None]).last_hidden_state[0]
    torch.testing.assert_close(hidden[0], stock, atol=1e-5, rtol=0)


def test_frequencies_that_change_with_length_are_refused() -> None:
    config = random_model("llava_onevision").config.text_config.to_dict()
    dynamic = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    with pytest.raises(BadInput, match="'dynamic'"):
        rotary_of(Qwen2Model(Qwen2Config(**{**config, "rope_parameters": dynamic})))


def test_float32_tables_turn_half_precision_keys_with_one_rounding() -> None:
    rotary = Rotary(1.0 / 100.0 ** torch.linspace(0, 1, 8))
    key = torch.randn(2, 30, 16, generator=torch.manual_seed(4)).bfloat16()
    tables = rotary.tables(text_positions(30, 1))
    exact = rotate(key.double(), *(table.double() for table in tables))
    assert rotate(key, *tables).dtype == torch.bfloat16
    assert torch.equal(rotate(key, *tables), exact.bfloat16())


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=8), st.integers(0, 9)
)
def test_patterns_stand_one_after_another(parts: list[tuple[bool, int, int]], start: int) -> None:
    patterns = [grid_positions(a, b) if is_grid else text_positions(a, 3) for is_grid, a, b in parts]
    placed = place(patterns, start=start)
    begin, lowest = 0, start
    for pattern in patterns:  # the slow way: nothing of a pattern lies below all that came before it
        end = begin + pattern.shape[1]
        mine = placed.positions[:, begin:end]
        assert torch.equal(mine, pattern + lowest)
        begin, lowest = end, int(mine.max()) + 1
    assert placed.next == lowest and begin == placed.positions.shape[1]


def test_placing_nothing_moves_nothing() -> None:
    placed = place([], start=7)
    assert placed.next == 7 and placed.positions.shape == (1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"inv_freq": torch.ones(8, dtype=torch.bfloat16)},
        {"inv_freq": torch.ones(8), "sections": (2, 3)},
        {"inv_freq": torch.ones(8), "sections": (2, 3, 4)},
        {"inv_freq": torch.ones(8), "interleaved": True},
    ],
)
def test_a_wrong_rotary_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Rotary(**wrong)  # type: ignore[arg-type]


def test_positions_of_other_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, S\)"):
        Rotary(torch.ones(4)).tables(torch.zeros(3, 5, dtype=torch.long))
