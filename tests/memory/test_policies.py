from __future__ import annotations

import pytest
import torch

from vidmem.memory import Elements, policies, policy, policy_names
from vidmem.memory.policies import Latest, Level, MovieChat, MovieChatPlus, XMem
from vidmem.memory.policies.moviechat_reference import (
    consolidate_fragment,
    consolidate_windows,
    position_table,
    positioned,
)
from vidmem.memory.policies.xmem import above_threshold, most_frequent, most_used
from vidmem.memory.similarity import affinity, anisotropic_similarity

from .samples import NUM_TOKENS, frames

NOTHING = frames(0)


def test_policies_are_built_by_name_and_refuse_what_they_do_not_know() -> None:
    assert {"moviechat", "moviechat+", "xmem", "latest", "window", "uniform", "reservoir"} <= set(policy_names())
    assert policy("moviechat", merge_to=3) == MovieChat(merge_to=3)
    with pytest.raises(ValueError, match="no memory policy is called 'hippo': choose one of moviechat, "):
        policy("hippo")
    with pytest.raises(TypeError, match="num_rabbits"):
        policy("xmem", num_rabbits=2)


def test_the_options_that_are_listed_are_those_that_count() -> None:
    listed = {info.name: info.options for info in policies()}
    assert listed["latest"] == {"num_frames": 4}
    assert listed["reservoir"] == {"top_k": 32, "logit_scale": 100.0, "seed": 0}
    with pytest.raises(TypeError, match="top_k"):
        policy("latest", top_k=2)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("moviechat", "merge_to", 0),
        ("moviechat", "similarity", "l2"),
        ("moviechat", "read", "all"),
        ("moviechat+", "merge_to_relevant", 0),
        ("moviechat+", "relevance", "median"),
        ("xmem", "num_prototypes", 0),
        ("xmem", "top_k", 0),
        ("latest", "num_frames", 0),
        ("window", "top_k", 0),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        policy(name, **{option: value})


def test_moviechat_keeps_the_reference_averages_with_the_union_of_their_spans() -> None:
    leaving = frames(11)
    kept = MovieChat(merge_to=3).merged(leaving, NOTHING)
    want = consolidate_fragment(leaving.value, short_capacity=18, merge_to=3, max_frames=16)
    assert torch.equal(kept.value, want.merged)
    assert kept.span_seconds.tolist() == [[float(start), float(end)] for start, end in want.plan.groups]
    assert torch.equal(kept.key, want.plan.average(leaving.key))
    assert kept.usage.tolist() == kept.life.tolist() == [0.0] * 3


def test_moviechat_can_merge_by_keys() -> None:
    leaving = frames(3)
    leaving.key.copy_(torch.eye(6)[[0, 1, 1]])
    assert MovieChat(similarity="key").merged(leaving, NOTHING).span_seconds.tolist() == [[0.0, 1.0], [1.0, 3.0]]


def test_carried_averages_are_written_once_and_a_mixture_keeps_the_span_of_the_new() -> None:
    policy_ = MovieChat(merge_to=2, carry_over=True, similarity="key")
    east, north = torch.eye(6)[0], torch.eye(6)[1]

    def stretch(first: int, keys: list[torch.Tensor]) -> Elements:
        some = frames(len(keys), first=first)
        some.key.copy_(torch.stack(keys))
        return some

    long_term = policy_.merged(stretch(0, [east, east, north, north]), NOTHING)
    assert long_term.span_seconds.tolist() == [[0.0, 2.0], [2.0, 4.0]]
    # `east` alone remains of what was carried, so it is not told again; `north` goes on in the new frames.
    gained = policy_.merged(stretch(4, [north, north, north]), long_term)
    assert gained.span_seconds.tolist() == [[4.0, 7.0]]
    torch.testing.assert_close(gained.key, north[None])
    # Both carried averages become one, the new frames another.
    gained = policy_.merged(stretch(4, [-north, -north]), long_term)
    assert gained.span_seconds.tolist() == [[4.0, 6.0]]


def test_moviechat_forgets_the_oldest() -> None:
    held = frames(5)
    (change,) = MovieChat(merge_to=1).consolidate(frames(3, first=5), (held,), (Level(NUM_TOKENS, 3),), 5)
    assert change.kept is not None and change.kept.tolist() == [3, 4] and len(change.gained) == 1


def test_moviechat_plus_keeps_more_of_what_the_question_is_about() -> None:
    leaving = frames(6)
    leaving.key.copy_(torch.eye(6))
    towards, away = leaving.key[4], -torch.ones(6)
    for question, num in ((towards, 3), (away, 1), (None, 1)):
        policy_ = MovieChatPlus(question=question, relevance="max", relevance_threshold=0.9)
        assert len(policy_.merged(leaving, NOTHING)) == num
    mean = MovieChatPlus(question=towards, relevance="mean", relevance_threshold=0.9)
    assert len(mean.merged(leaving, NOTHING)) == 1


def test_a_position_table_too_small_is_said() -> None:
    table = position_table(torch.randn(3, 4), num_side=3)
    with pytest.raises(ValueError, match="10 frames do not fit the 9 slots"):
        positioned(torch.zeros(10, 2, 4), table)
    with pytest.raises(ValueError, match="num_side=4"):
        position_table(torch.randn(3, 4), num_side=4)


def test_xmem_keeps_the_most_read_frames_in_time_order_with_values_of_all() -> None:
    leaving = frames(6)
    leaving.life.fill_(10.0)
    leaving.usage.copy_(torch.tensor([1.0, 5.0, 0.0, 2.0, 9.0, 0.0]))
    kept = XMem(num_prototypes=2, logit_scale=4.0).prototypes(leaving)
    assert kept.span_seconds.tolist() == [[1.0, 2.0], [4.0, 5.0]]
    assert torch.equal(kept.key, leaving.key[[1, 4]])
    shrinkage = torch.full((6,), 2.0 * 6**0.5)
    weight = affinity(anisotropic_similarity(leaving.key, leaving.key[[1, 4]], shrinkage=shrinkage))
    torch.testing.assert_close(kept.value, torch.einsum("np,ntd->ptd", weight, leaving.value))
    assert bool((weight > 0).all())


def test_affinity_of_unit_keys_is_the_softmax_of_scaled_cosines_in_both_policies() -> None:
    some = frames(7)
    want = (some.key @ some.key[2:4].T * 20).softmax(0)
    torch.testing.assert_close(XMem(logit_scale=20.0, top_k=7).affinity(some.key, some.key[2:4]), want)
    torch.testing.assert_close(MovieChat(logit_scale=20.0, top_k=7).affinity(some.key, some.key[2:4]), want)


def test_the_latest_frames_are_read_in_equal_shares_whatever_is_asked() -> None:
    shares = Latest(num_frames=2).affinity(frames(5).key, frames(1, seed=1).key)
    assert shares.squeeze(1).tolist() == [0.0, 0.0, 0.0, 0.5, 0.5]
    readable = torch.tensor([[True, False], [True, False], [False, False]])
    assert Latest(num_frames=1).affinity(frames(3).key, frames(2).key, readable).T.tolist() == [[0, 1, 0], [0, 0, 0]]


def test_of_equally_used_the_earlier_becomes_prototype_and_the_newer_survives() -> None:
    frequency = torch.tensor([0.5, 0.0, 0.5, 0.0, 0.0, 0.5])
    assert most_used(frequency, 4).tolist() == [0, 2, 5, 1]
    assert most_frequent(frequency, 4).tolist() == [0, 2, 4, 5]
    assert most_frequent(torch.zeros(5), 2).tolist() == [3, 4]


def test_the_strict_threshold_drops_ties_and_nothing_when_nothing_has_to_go() -> None:
    assert above_threshold(torch.zeros(4), 3).tolist() == []
    assert above_threshold(torch.tensor([0.0, 1.0]), 2).tolist() == [0, 1]
    with pytest.raises(ValueError, match="num_prototypes=3"):
        most_used(torch.zeros(2), 3)


def test_rounds_of_the_onevision_port_end_only_with_whole_windows() -> None:
    windows = [frames(4, first=first).value for first in range(0, 24, 4)]
    rounds = consolidate_windows(windows, short_capacity=10, merge_to=2)  # 8 new frames: two windows
    assert len(rounds.long) == 6
    assert [window for window, _ in rounds.merges] == [1] * 6 + [3] * 8 + [5] * 8
    assert len(consolidate_windows(windows, short_capacity=9, merge_to=2).long) == 0
