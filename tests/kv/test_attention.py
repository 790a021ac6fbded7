"""Attention against loops over single logits in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.kv import flash
from vidmem.kv.attention import Initial, Window, attend, causal_mask, join_initial, late_attend, window_attend
from vidmem.kv.rope import Rotary, rotate, text_positions

HEADS, KV_HEADS, DIM = 4, 2, 8
SCALE = DIM**-0.5
ROTARY = Rotary(1.0 / 100.0 ** torch.linspace(0, 1, DIM // 2))


def random_states(num_queries: int, num_keys: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.manual_seed(seed)
    query = torch.randn(HEADS, num_queries, DIM, generator=chance)
    return query, *torch.randn(2, KV_HEADS, num_keys, DIM, generator=chance).unbind()


def turned(x: Tensor, position: int) -> Tensor:
    """One vector (D,) turned to one position, pair by pair."""
    out = x.double().clone()
    for pair, frequency in enumerate(ROTARY.inv_freq.double()):
        angle, a, b = position * float(frequency), float(x[pair]), float(x[pair + DIM // 2])
        out[pair] = a * math.cos(angle) - b * math.sin(angle)
        out[pair + DIM // 2] = b * math.cos(angle) + a * math.sin(angle)
    return out


def softmax_of(seen: list[tuple[float, Tensor]]) -> Tensor:
    total = sum(math.exp(logit) for logit, _ in seen)
    return sum((math.exp(logit) / total * value.double() for logit, value in seen), torch.zeros(DIM).double())


@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 3))
def test_late_attention_is_causal_attention_of_rotated_vectors(num_queries: int, before: int, seed: int) -> None:
    num_keys = before + num_queries
    query, key, value = random_states(num_queries, num_keys, seed)
    out = late_attend(query, key, value, ROTARY.tables(text_positions(num_keys, 1) + 3), scale=SCALE)
    for head in range(HEADS):
        for row in range(num_queries):
            seen = []
            for index in range(before + row + 1):
                group = head // (HEADS // KV_HEADS)
                logit = turned(query[head, row], before + row) @ turned(key[group, index], index) * SCALE
                seen.append((float(logit), value[group, index]))
            torch.testing.assert_close(out[head, row].double(), softmax_of(seen), atol=2e-6, rtol=0)


@given(st.integers(1, 4), st.integers(0, 9), st.integers(1, 6), st.integers(0, 3), st.booleans())
def test_the_window_and_the_initial_tokens_share_one_softmax(
    num_queries: int, before: int, window_size: int, num_initial: int, masked: bool
) -> None:
    num_keys = before + num_queries
    query, key, value = random_states(num_queries, num_keys, seed=before)
    initial_key, initial_value = torch.randn(2, KV_HEADS, num_initial, DIM, generator=torch.manual_seed(9)).unbind()
    visible = torch.rand(num_queries, num_initial, generator=torch.manual_seed(8)) < 0.5 if masked else None
    outside = ROTARY.tables(torch.tensor([[window_size - 1]]))
    out = window_attend(
        query, key, value, ROTARY.tables(text_positions(num_keys, 1)), window_size=window_size, scale=SCALE,
        initial=Initial(initial_key, initial_value, outside, visible),
    )  # fmt: skip
    for head in range(HEADS):
        group = head // (HEADS // KV_HEADS)
        for row in range(num_queries):
            here, seen = before + row, []
            for index in range(max(here - window_size + 1, 0), here + 1):
                logit = turned(query[head, row], here) @ turned(key[group, index], index) * SCALE
                seen.append((float(logit), value[group, index]))
            for index in range(num_initial):
                if visible is None or visible[row, index]:
                    far = turned(query[head, row], window_size - 1) @ initial_key[group, index].double() * SCALE
                    seen.append((float(far), initial_value[group, index]))
            torch.testing.assert_close(out[head, row].double(), softmax_of(seen), atol=2e-6, rtol=0)


def test_a_window_over_everything_changes_nothing() -> None:
    query, key, value = random_states(4, 11)
    tables = ROTARY.tables(text_positions(11, 1))
    windowed = window_attend(query, key, value, tables, window_size=11, scale=SCALE)
    torch.testing.assert_close(windowed, late_attend(query, key, value, tables, scale=SCALE), atol=1e-6, rtol=0)


def test_moving_everything_changes_nothing() -> None:
    query, key, value = random_states(4, 11)
    here = late_attend(query, key, value, ROTARY.tables(text_positions(11, 1)), scale=SCALE)
    there = late_attend(query, key, value, ROTARY.tables(text_positions(11, 1) + 200), scale=SCALE)
    torch.testing.assert_close(here, there, atol=2e-5, rtol=0)


def test_a_mask_of_ones_own_is_obeyed() -> None:
    query, key, value = random_states(3, 7)
    mask = torch.zeros(3, 7, dtype=torch.bool)
    mask[:, 2] = True
    out = attend(query, key, value, scale=SCALE, mask=mask)
    assert torch.allclose(out, value[:, 2].repeat_interleave(2, 0)[:, None].expand(-1, 3, -1))


def test_the_causal_mask_is_right_aligned() -> None:
    assert causal_mask(2, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert causal_mask(2, 4, window_size=2).int().tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]


def test_half_precision_stays_what_it_is() -> None:
    exact = random_states(3, 7)
    tables = ROTARY.tables(text_positions(7, 1))
    want = late_attend(*exact, tables, scale=SCALE)
    out = late_attend(*(states.bfloat16() for states in exact), tables, scale=SCALE)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), want, atol=3e-2, rtol=0)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 3, "num_initial": -1}])
def test_a_window_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="size >= 1"):
        Window(**wrong)


def plainly(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Masked attention with its logits held, and the log of each softmax's sum."""
    group = len(query) // len(key)
    logits = SCALE * query @ key.repeat_interleave(group, 0).transpose(1, 2)
    logits = logits.masked_fill(~mask, float("-inf"))
    return logits.softmax(-1) @ value.repeat_interleave(group, 0), logits.logsumexp(-1)


@given(st.integers(1, 4), st.integers(0, 9), st.integers(1, 6), st.integers(0, 3), st.sampled_from([None, 0.5, 0.0]))
def test_initial_tokens_can_be_put_under_a_softmax_that_is_done(
    num_queries: int, before: int, window_size: int, num_initial: int, share: float | None
) -> None:
    """What a GPU computes in two steps is what a CPU computes in one."""
    num_keys = before + num_queries
    query, key, value = random_states(num_queries, num_keys, seed=before)
    initial_key, initial_value = torch.randn(2, KV_HEADS, num_initial, DIM, generator=torch.manual_seed(9)).unbind()
    chance = torch.rand(num_queries, num_initial, generator=torch.manual_seed(8))
    visible = None if share is None else chance < share
    initial = Initial(initial_key, initial_value, ROTARY.tables(torch.tensor([[window_size - 1]])), visible)
    tables = ROTARY.tables(text_positions(num_keys, 1))
    at_once = window_attend(query, key, value, tables, window_size=window_size, scale=SCALE, initial=initial)
    mask = causal_mask(num_queries, num_keys, window_size=window_size)
    rotated = rotate(query, *(table[before:] for table in tables)), rotate(key, *tables)
    out, log_sum = plainly(*rotated, value, mask)
    torch.testing.assert_close(join_initial(out, log_sum, query, initial, scale=SCALE), at_once, atol=2e-6, rtol=0)


@pytest.mark.parametrize("window_size", [None, 40])
def test_torch_has_the_kernel_that_gpus_use(window_size: int | None) -> None:
    """On tensors without numbers: only that it takes and gives these shapes."""
    query = torch.empty(28, 30, 128, dtype=torch.bfloat16, device="meta")
    key = torch.empty(4, 100, 128, dtype=torch.bfloat16, device="meta")
    out, log_sum = flash.flash_attend(query, key, key, scale=0.1, window_size=window_size)
    assert (out.shape, out.dtype) == (query.shape, torch.bfloat16)
    assert (log_sum.shape, log_sum.dtype) == ((28, 30), torch.float32)
    assert not flash.is_usable(query) and not flash.is_usable(torch.zeros(1, 1, 8, dtype=torch.bfloat16))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("window_size", [None, 64, 1000])
@pytest.mark.parametrize(("num_queries", "num_keys"), [(1, 300), (37, 300), (300, 300)])
def test_the_kernel_of_gpus_computes_what_a_mask_does(window_size: int | None, num_queries: int, num_keys: int) -> None:
    chance = torch.manual_seed(0)
    query = torch.randn(8, num_queries, 64, generator=chance)
    key, value = torch.randn(2, 2, num_keys, 64, generator=chance).unbind()
    there = [states.to("cuda", torch.bfloat16) for states in (query, key, value)]
    out, log_sum = flash.flash_attend(*there, scale=SCALE, window_size=window_size)
    right, right_sum = plainly(query, key, value, causal_mask(num_queries, num_keys, window_size=window_size))
    torch.testing.assert_close(out.float().cpu(), right, atol=0.03, rtol=0.02)
    torch.testing.assert_close(log_sum.cpu(), right_sum, atol=0.03, rtol=0.02)
