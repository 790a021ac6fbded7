from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.errors import BadInput
from vidmem.kv.block import Block, Layout
from vidmem.kv.recall import Budget, block_scores, choose, fuse, ranking, representative, top_groups
from vidmem.kv.representatives import Representatives
from vidmem.kv.rope import text_positions
from vidmem.types import Span

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30)
CASES = st.integers(1, 25).flatmap(
    lambda num: st.tuples(
        st.permutations(range(num)),
        st.lists(st.integers(1, 6), min_size=num, max_size=num),
        st.lists(st.integers(0, 3), min_size=num, max_size=num),
        st.integers(6, 60),
        st.integers(0, 2),
        st.sampled_from([0.25, 0.5, 1.0]),
    )
)


def test_scores_are_the_sum_over_query_heads_of_dot_products() -> None:
    chance = torch.manual_seed(0)
    keys, query = torch.randn(7, 2, 5, 8, generator=chance), torch.randn(6, 4, 8, generator=chance)
    got = block_scores(representative(keys), query)
    for block_id, block in enumerate(keys):
        want = 0.0
        for head in range(6):
            mean_query = sum(query[head, row] for row in range(4)) / 4
            mean_key = sum(block[head // 3, row] for row in range(5)) / 5
            want += float(mean_query @ mean_key)
        assert got[block_id] == pytest.approx(want, abs=1e-5)


@given(SCORES, st.none() | st.integers(0, 40))
def test_a_ranking_is_a_stable_sort(scores: list[float], limit: int | None) -> None:
    want = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    assert ranking(torch.tensor(scores), limit) == want[:limit]


def test_nothing_is_ranked_as_nothing() -> None:
    assert ranking(torch.empty(0)) == [] and fuse([]) == [] and fuse([[], []]) == []


@given(st.lists(st.permutations(range(12)).map(lambda order: order[:7]), min_size=1, max_size=4))
def test_fused_ranks_add_up(rankings: list[list[int]]) -> None:
    fused = fuse(rankings)
    assert sorted(fused) == sorted({block_id for order in rankings for block_id in order})
    score = {
        block_id: sum(1 / (61 + order.index(block_id)) for order in rankings if block_id in order) for block_id in fused
    }
    assert all(score[a] >= score[b] - 1e-12 for a, b in zip(fused, fused[1:], strict=False))


def test_one_ranking_fused_is_itself_and_agreement_wins() -> None:
    assert fuse([[4, 2, 9]]) == [4, 2, 9]
    assert fuse([[1, 2, 3], [9, 2, 8]])[0] == 2


@given(CASES)
def test_a_choice_keeps_its_budget_and_its_order(case: tuple[list[int], list[int], list[int], int, int, float]) -> None:
    order, sizes, events, num_tokens, num_neighbours, share = case
    chosen = choose(order, sizes, Budget(num_tokens, num_neighbours, share), events=events)
    assert chosen == sorted(set(chosen))
    spent = sum(sizes[block_id] for block_id in chosen)
    assert spent <= num_tokens
    # Nothing that would still fit was left: the budget is used.
    assert all(sizes[block_id] > num_tokens - spent for block_id in order if block_id not in chosen)


@given(CASES)
def test_no_event_takes_more_than_its_share_while_others_have_blocks(
    case: tuple[list[int], list[int], list[int], int, int, float],
) -> None:
    order, _, events, num_blocks, num_neighbours, share = case
    budget = Budget(num_blocks, num_neighbours, share)
    chosen = choose(order, [1] * len(order), budget, events=events)
    cap = int(share * num_blocks)
    taken = {event: sum(events[block_id] == event for block_id in chosen) for event in set(events)}
    if any(count > cap for count in taken.values()):
        # Only because no other event had a block left under its own cap.
        assert all(taken[event] >= min(cap, events.count(event)) for event in set(events))


@given(CASES)
def test_the_best_block_that_fits_is_chosen(case: tuple[list[int], list[int], list[int], int, int, float]) -> None:
    order, sizes, _, num_tokens, num_neighbours, _ = case
    chosen = choose(order, sizes, Budget(num_tokens, num_neighbours))
    fitting = [block_id for block_id in order if sizes[block_id] <= num_tokens]
    assert not fitting or fitting[0] in chosen


def test_a_budget_too_small_for_one_block_is_refused_in_a_sentence() -> None:
    with pytest.raises(BadInput, match="a budget of 4 tokens is too small for one block of 5"):
        choose([1, 0], [9, 5], Budget(4))
    assert choose([], [], Budget(0)) == []


def test_one_long_event_leaves_room_for_the_others() -> None:
    events = [0] * 90 + [1] * 5 + [2] * 5
    order = [*range(90), *range(90, 100)]
    chosen = choose(order, [10] * 100, Budget(200, max_event_share=0.5), events=events)
    assert chosen == [*range(10), *range(90, 100)]
    assert choose(order, [10] * 100, Budget(200), events=events) == list(range(20))


def test_neighbours_come_along_and_merge_into_runs() -> None:
    assert choose([5, 7, 20], [1] * 30, Budget(8, num_neighbours=1)) == [4, 5, 6, 7, 8, 19, 20, 21]
    assert choose([0], [1] * 3, Budget(3, num_neighbours=2)) == [0, 1, 2]


def test_a_budget_for_everything_brings_everything() -> None:
    assert choose([3, 1, 0, 2], [5] * 4, Budget(20, 1, 0.5), events=[0] * 4) == [0, 1, 2, 3]


@given(SCORES, st.integers(1, 12), st.integers(1, 4))
def test_groups_are_chosen_whole_and_in_order(scores: list[float], num_groups: int, size: int) -> None:
    chosen = top_groups(torch.tensor(scores), num_groups * size, size)
    assert chosen == sorted(set(chosen)) and len(chosen) <= num_groups * size
    means = {}
    for group in range(-(-len(scores) // size)):
        members = list(range(group * size, min((group + 1) * size, len(scores))))
        assert all(index in chosen for index in members) or not any(index in chosen for index in members)
        means[group] = sum(scores[index] for index in members) / len(members)
    taken = {index // size for index in chosen}
    worst = min(means[group] for group in taken)
    assert all(means[group] <= worst + 1e-6 for group in means if group not in taken)


def test_groups_that_do_not_fit_the_number_are_refused() -> None:
    with pytest.raises(ValueError, match="positive multiple"):
        top_groups(torch.zeros(9), 5, 2)


@pytest.mark.parametrize("wrong", [{"num_tokens": -1}, {"num_tokens": 5, "max_event_share": 0.0}])
def test_a_budget_of_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a budget needs"):
        Budget(**wrong)  # type: ignore[arg-type]


def test_representatives_are_kept_in_order_through_growth() -> None:
    layout = Layout(2, 2, 4)
    held, blocks = Representatives(layout), []
    for index in range(40):
        keys = torch.randn(2, 2, 1 + index % 3, 4, generator=torch.manual_seed(index))
        blocks.append(Block(keys, keys, text_positions(keys.shape[2], 1), Span(index, index + 1)))
        held.append(blocks[-1])
    assert len(held) == 40 and held.block_tokens == [len(block) for block in blocks]
    for layer_index in range(2):
        want = torch.stack([block.keys[layer_index].mean(1) for block in blocks])
        torch.testing.assert_close(held.of_layer(layer_index), want)
