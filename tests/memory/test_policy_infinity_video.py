from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory import Elements, Memory, MemoryConfig, policy
from vidmem.memory.continuous import capped_shares, continuous_attention, systematic_draws
from vidmem.memory.grouping import average_groups
from vidmem.memory.policies import InfinityVideo, Level
from vidmem.memory.policies.infinity_video import nearest_draw

from .samples import NUM_TOKENS, frames, same

NOTHING = frames(0)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def timeline(num: int, seed: int) -> Elements:
    """Elements of a memory that was pressed and read before: uneven weights, usage and life."""
    some, random = frames(num), generator(seed)
    some.weight.copy_(torch.randint(1, 9, (num, 1), generator=random).expand(-1, NUM_TOKENS))
    some.life.copy_(torch.randint(0, 9, (num,), generator=random))
    some.usage.copy_(torch.rand(num, generator=random).pow(4) * some.life)
    return some


@pytest.mark.parametrize(
    ("option", "value"),
    [("tau", 0.0), ("tau", 1.5), ("stickiness", -0.1), ("even", "space"), ("samples", "median"), ("top_k", 0)],
)
def test_options_that_make_no_sense_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        policy("infinity-video", **{option: value})


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["time", "coefficients"]),
    st.floats(0, 1),
    st.integers(0, 1000),
)
def test_pressed_elements_tell_of_every_frame_once_and_in_order(
    num: int, num_coefficients: int, even: str, stickiness: float, seed: int
) -> None:
    before = timeline(num, seed)
    pressed = InfinityVideo(even=even, stickiness=stickiness).pressed(before, num_coefficients, generator(seed))
    assert len(pressed) == min(num, num_coefficients)
    edges = pressed.span_seconds.tolist()
    assert [0.0] + [end for _, end in edges] == [start for start, _ in edges] + [float(num)]
    torch.testing.assert_close(pressed.weight.sum(0), before.weight.sum(0))
    # Each is the mean over its frames, so the mean over all frames is what it was.
    total = (before.value * before.weight[..., None]).sum(0)
    torch.testing.assert_close((pressed.value * pressed.weight[..., None]).sum(0), total, atol=1e-3, rtol=1e-4)
    for span, key in zip(edges, pressed.key, strict=True):
        inside = slice(int(span[0]), int(span[1]))
        weight = before.weight[inside, :1]
        torch.testing.assert_close(key, (before.key[inside] * weight).sum(0) / weight.sum())


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
def test_joining_the_nearest_draw_is_monotone_and_spares_what_is_drawn_for_certain(
    num: int, num_draws: int, seed: int
) -> None:
    num_draws = min(num, num_draws)
    shares = capped_shares(torch.rand(num, generator=generator(seed)) + 0.01, num_draws)
    drawn = systematic_draws(shares, num_draws, generator(seed))
    label = nearest_draw(shares, drawn, num_draws)
    assert bool((label.diff() >= 0).all()) and label[drawn].tolist() == list(range(num_draws))
    certain = shares >= (1 - 1e-9) / num_draws
    for place in range(num):
        ends = {max(0, int((drawn <= place).sum()) - 1), min(num_draws - 1, int((drawn < place).sum()))}
        assert int(label[place]) in ends
        if place not in drawn.tolist() and certain[drawn[label[place]]]:
            assert all(certain[drawn[end]] for end in ends)


def test_what_is_read_stays_fine_and_the_rest_is_pressed() -> None:
    some = frames(40)
    some.life.fill_(10.0)
    some.usage[[7, 8, 30]] = 9.0
    pressed = InfinityVideo(stickiness=0.9).pressed(some, 20, generator(0))
    spans = pressed.span_seconds.tolist()
    for read in (7, 8, 30):
        assert [read, read + 1] in spans
        assert torch.equal(pressed.value[spans.index([read, read + 1])], some.value[read])
    assert max(end - start for start, end in spans) >= 2


def test_elements_that_no_query_has_passed_over_count_as_read_like_the_rest() -> None:
    some = frames(6)
    some.life[:3] = 4.0
    some.usage[:3] = torch.tensor([0.0, 1.0, 2.0])
    density = InfinityVideo(stickiness=0.5).density(some)
    assert density.tolist() == pytest.approx([0.5, 1.0, 1.5, 1.0, 1.0, 1.0])
    assert InfinityVideo(stickiness=1.0).density(some).tolist() == pytest.approx([1e-6, 1.0, 2.0, 1.0, 1.0, 1.0])


@given(st.integers(1, 20), st.floats(0, 0.99), st.integers(0, 1000))
def test_averages_are_drawn_as_their_parts_together(num: int, stickiness: float, seed: int) -> None:
    some = timeline(num, seed)
    some.life.fill_(8.0)
    label = torch.rand(num, generator=generator(seed)).gt(0.5).cumsum(0).unique(return_inverse=True)[1]
    policy_ = InfinityVideo(stickiness=stickiness)
    want = torch.zeros(int(label[-1]) + 1, dtype=torch.float64).index_add_(0, label, policy_.density(some))
    torch.testing.assert_close(policy_.density(average_groups(some, label)), want, rtol=1e-5, atol=1e-5)


def test_a_sample_is_an_element_that_was_there_and_tells_of_its_stretch() -> None:
    some = frames(30)
    drawn = InfinityVideo(samples="draw").pressed(some, 11, generator(4))
    means = InfinityVideo().pressed(some, 11, generator(4))
    assert torch.equal(drawn.span_seconds, means.span_seconds)
    place = [int((some.key == key).all(1).nonzero()) for key in drawn.key]
    assert torch.equal(drawn.value, some.value[place])
    assert all(start <= at < end for (start, end), at in zip(drawn.span_seconds.tolist(), place, strict=True))


def filled(num_frames: int, **options: object) -> Memory:
    memory = Memory(
        MemoryConfig(
            working_max_frames=4,
            working_min_frames=2,
            max_elements=10,
            policy="infinity-video",
            policy_options=options,
        )
    )
    for first in range(num_frames):
        memory.write(frames(1, first=first))
    return memory


def test_frames_are_coefficients_of_their_own_while_there_is_room() -> None:
    held = filled(12).long_term.elements
    assert same(held[:3], held[:3]) and len(held) == 9
    assert torch.equal(held.value, frames(9).value)


def test_neither_the_first_nor_the_newest_frame_is_lost() -> None:
    for num_frames in range(5, 120, 7):
        memory = filled(num_frames, seed=num_frames)
        long_term, working = memory.long_term.elements, memory.working.elements
        assert long_term.span_seconds[0, 0] == 0.0
        assert long_term.span_seconds[-1, 1] == working.span_seconds[0, 0]
        assert float(long_term.weight[:, 0].sum()) + len(working) == num_frames


def test_evenly_in_time_all_fades_alike_and_evenly_in_coefficients_the_past_fades_first() -> None:
    alike, first = (
        filled(400, even=even, stickiness=0.0).long_term.elements.span_seconds.diff(dim=1)[:, 0]
        for even in ("time", "coefficients")
    )
    # The newest ones are still frames of their own, until memory is full again.
    pressed = alike[alike > 1]
    assert float(pressed.max()) < 3 * float(pressed.mean()) and float(pressed[0]) < 2 * float(pressed.mean())
    assert float(first[0]) > 100 * float(first[-1])


def test_the_same_seed_draws_the_same_and_another_one_does_not() -> None:
    once, again, other = (filled(90, seed=seed).long_term.elements for seed in (1, 1, 2))
    assert same(once, again)
    assert not torch.equal(once.span_seconds, other.span_seconds)


def test_all_equal_frames_and_zeros_are_pressed_without_nan() -> None:
    for number in (0.0, 1.0):
        memory = Memory(MemoryConfig(4, 4, 2, 5, policy="infinity-video"))
        some = frames(60)
        memory.write(Elements.fresh(some.key.fill_(number), some.value.fill_(number), some.span_seconds))
        held = memory.long_term.elements
        torch.testing.assert_close(held.value, torch.full_like(held.value, number))
        torch.testing.assert_close(held.key, torch.full_like(held.key, number))
        assert bool(memory.read(torch.ones(1, some.key.shape[1])).value.isfinite().all())


def test_one_element_is_the_mean_of_everything() -> None:
    (change,) = InfinityVideo().consolidate(frames(5), (NOTHING,), (Level(NUM_TOKENS, 1),), 0)
    assert change.kept is not None and len(change.kept) == 0
    assert change.gained.span_seconds.tolist() == [[0.0, 5.0]] and change.gained.weight.tolist() == [[5.0] * NUM_TOKENS]
    torch.testing.assert_close(change.gained.value[0], frames(5).value.mean(0))


def test_half_precision_tokens_are_averaged_in_float32() -> None:
    some = frames(6)
    half = Elements.fresh(some.key.half(), torch.full_like(some.value, 60_000.0).half(), some.span_seconds)
    pressed = InfinityVideo().pressed(half, 2, generator(0))
    assert pressed.value.dtype == pressed.key.dtype == torch.float16
    assert bool((pressed.value == 60_000.0).all())


def test_a_read_is_the_continuous_attention_of_the_paper() -> None:
    some, query = frames(9), torch.nn.functional.normalize(frames(2, seed=1).key, dim=1)
    scale = 5.0
    affinity = InfinityVideo(logit_scale=scale, top_k=9).affinity(some.key, query)
    value = some.value.flatten(1)
    sharp = query * scale * query.shape[1] ** 0.5
    torch.testing.assert_close(affinity.T @ value, continuous_attention(sharp, some.key, value))
