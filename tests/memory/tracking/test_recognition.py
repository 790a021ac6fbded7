"""Looks of objects: XMem's readout written out, and what is kept."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidmem.memory.tracking.recognition import Looks, counted, no_looks, recognise, remember, returned


def known(seed: int, num_looks: int, num_objects: int) -> Looks:
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(num_objects, (num_looks,), generator=generator)
    return remember(no_looks(6), torch.randn(num_looks, 6, generator=generator), index, max_looks=99)


@given(
    seed=st.integers(0, 2**31),
    num_looks=st.integers(0, 12),
    num_objects=st.integers(1, 4),
    num_queries=st.integers(1, 3),
    top_k=st.integers(1, 15),
)
@settings(max_examples=60, deadline=None)
def test_readout_is_the_softmax_of_the_most_alike_looks(
    seed: int, num_looks: int, num_objects: int, num_queries: int, top_k: int
) -> None:
    looks = known(seed, num_looks, num_objects)
    queries = torch.randn(num_queries, 6, generator=torch.Generator().manual_seed(seed + 1)) * 3
    got = recognise(looks, queries, num_objects, top_k=top_k, logit_scale=5.0)
    usage = [0.0] * num_looks
    for row, query in enumerate(queries):
        unit = query / query.norm()
        cosines = [float(key @ unit) for key in looks.key]
        ranked = sorted(range(num_looks), key=lambda place: -cosines[place])[:top_k]
        total = sum(math.exp(5 * cosines[place]) for place in ranked)
        share, nearest = [0.0] * num_objects, [-1.0] * num_objects
        for place in range(num_looks):
            owner = int(looks.object_index[place])
            nearest[owner] = max(nearest[owner], cosines[place])
            if place in ranked:
                given_by = math.exp(5 * cosines[place]) / total
                share[owner] += given_by
                usage[place] += given_by
        assert got.share[row].tolist() == pytest.approx(share, abs=1e-5)
        assert got.nearest[row].tolist() == pytest.approx(nearest, abs=1e-5)
    assert got.usage.tolist() == pytest.approx(usage, abs=1e-5)


def test_a_known_look_is_recognised_and_a_new_one_is_like_none() -> None:
    looks = remember(no_looks(3), torch.eye(3)[:2], torch.tensor([0, 1]))
    got = recognise(looks, torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]), 2)
    assert got.share[0].argmax() == 0 and got.share[0, 0] > 0.99
    assert got.nearest[0, 0] > 0.99
    assert got.nearest[1].max() < 0.1


@given(
    seed=st.integers(0, 2**31),
    num_looks=st.integers(0, 12),
    num_queries=st.integers(0, 4),
    lost=st.sets(st.integers(0, 3)),
    min_cosine=st.sampled_from([-0.9, 0.3, 0.7]),
    min_share=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_the_most_alike_pairs_of_things_and_lost_objects_go_together(
    seed: int, num_looks: int, num_queries: int, lost: set[int], min_cosine: float, min_share: float
) -> None:
    looks = known(seed, num_looks, 4)
    queries = torch.randn(num_queries, 6, generator=torch.Generator().manual_seed(seed + 1))
    units = queries / queries.norm(dim=1, keepdim=True)
    pairs, usage = [], [0.0] * num_looks
    for thing, unit in enumerate(units):
        weight = dict.fromkeys(lost, 0.0)
        cosines = dict.fromkeys(lost, -1.0)
        for key, owner in zip(looks.key, looks.object_index.tolist(), strict=True):
            if owner in lost:
                weight[owner] += math.exp(100 * (float(key @ unit) - 1))
                cosines[owner] = max(cosines[owner], float(key @ unit))
        total = sum(weight.values()) or 1.0
        for place, (key, owner) in enumerate(zip(looks.key, looks.object_index.tolist(), strict=True)):
            usage[place] += math.exp(100 * (float(key @ unit) - 1)) / total if owner in lost else 0.0
        pairs += [
            (cosines[owner], thing, owner)
            for owner in lost
            if cosines[owner] >= min_cosine and weight[owner] / total >= min_share
        ]
    wanted: list[int | None] = [None] * num_queries
    for _, thing, owner in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if wanted[thing] is None and owner not in wanted:
            wanted[thing] = owner
    got = returned(looks, queries, sorted(lost), min_cosine=min_cosine, min_share=min_share)
    assert got.objects == wanted
    read = [num_queries * (owner in lost) for owner in looks.object_index.tolist()]
    assert got.looks.usage.tolist() == pytest.approx(usage, abs=1e-4)
    assert got.looks.life.tolist() == pytest.approx(read, abs=1e-4)


def test_what_is_followed_elsewhere_does_not_return_and_doubles_are_not_guessed() -> None:
    looks = remember(no_looks(3), torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]]), torch.tensor([0, 1, 2]))
    apple, other = torch.tensor([[2.0, 0.1, 0.0]]), torch.tensor([[0.0, 0.5, 1.0]])
    assert returned(looks, apple, [1, 2]).objects == [1], "object 0 is as alike, but on the frame"
    assert returned(looks, torch.cat([apple, apple]), [1]).objects == [1, None]
    assert returned(looks, other, [1, 2]).objects == [None]
    assert returned(looks, apple, [0, 1], min_share=0.6).objects == [None]
    assert returned(looks, apple, []).objects == [None]
    assert returned(no_looks(3), apple, [4]).objects == [None]


@given(
    seed=st.integers(0, 2**31),
    num_written=st.integers(1, 40),
    max_looks=st.integers(2, 6),
    num_newest=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_first_newest_and_most_read_looks_stay(seed: int, num_written: int, max_looks: int, num_newest: int) -> None:
    num_newest = min(num_newest, max_looks - 1)
    generator = torch.Generator().manual_seed(seed)
    looks, naive = no_looks(4), []
    for step in range(num_written):
        key, owner = torch.randn(1, 4, generator=generator), int(torch.randint(2, (1,), generator=generator))
        looks = remember(looks, key, torch.tensor([owner]), max_looks=max_looks, num_newest=num_newest)
        naive.append({"key": key[0] / key[0].norm(), "owner": owner, "usage": 0.0, "life": 1e-7, "born": step})
        own = [look for look in naive if look["owner"] == owner]
        if len(own) > max_looks:
            middle = own[1 : len(own) - num_newest]
            least = min(middle, key=lambda look: (look["usage"] / look["life"], look["born"]))
            naive = [look for look in naive if look is not least]
        queries = torch.randn(2, 4, generator=generator)
        read = recognise(looks, queries, 2, top_k=2)
        looks = counted(looks, torch.ones(len(looks), dtype=torch.bool), read)
        for look, gave in zip(naive, read.usage.tolist(), strict=True):
            look["usage"] += gave
            look["life"] += 2
    assert looks.object_index.tolist() == [look["owner"] for look in naive]
    torch.testing.assert_close(looks.key, torch.stack([look["key"] for look in naive]))
    for owner in (0, 1):
        assert int((looks.object_index == owner).sum()) <= max_looks


def test_room_for_more_than_the_newest_is_needed() -> None:
    with pytest.raises(ValueError, match="max_looks=4 must be above num_newest=4"):
        remember(no_looks(3), torch.eye(3), torch.tensor([0, 0, 0]), max_looks=4)
