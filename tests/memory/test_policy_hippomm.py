from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory import Elements, Memory, MemoryConfig, policy
from vidmem.memory.novelty import novel_frames
from vidmem.memory.policies import HippoMM
from vidmem.memory.similarity import affinity, cosine_similarity

from .samples import KEY_DIM, NUM_TOKENS, frames


def scenes(shown: list[int], *, noise: float = 0.0) -> Elements:
    """A video that shows scene after scene, one frame a second, with keys that tell them apart."""
    random = torch.Generator().manual_seed(1)
    some = frames(len(shown))
    some.key.copy_(torch.eye(KEY_DIM)[shown] + noise * torch.randn(len(shown), KEY_DIM, generator=random))
    return some


def remembered(video: Elements, max_elements: int, **options: object) -> Elements:
    config = MemoryConfig(
        working_max_frames=5, working_min_frames=1, max_elements=max_elements, policy="hippomm", policy_options=options
    )
    memory = Memory(config)
    memory.write(video)
    return memory.long_term.elements


@given(st.lists(st.integers(0, KEY_DIM - 1), min_size=6, max_size=40))
def test_each_scene_is_kept_once_as_it_first_was(shown: list[int]) -> None:
    held = remembered(scenes(shown), 20)
    num_left = 5 * ((len(shown) - 1) // 5)
    first = sorted({scene: shown.index(scene) for scene in shown[:num_left]}.values())
    assert held.span_seconds.tolist() == [[place, place + 1] for place in first]
    assert torch.equal(held.value, frames(len(shown)).value[first])


@given(st.integers(6, 40), st.floats(-0.5, 0.99))
def test_stretches_make_no_difference_while_there_is_room(num_frames: int, threshold: float) -> None:
    held = remembered(frames(num_frames), 50, threshold=threshold)
    num_left = 5 * ((num_frames - 1) // 5)
    places = novel_frames(frames(num_left).key, threshold=threshold)
    assert held.span_seconds[:, 0].tolist() == places.tolist()


def test_a_full_memory_holds_on_to_what_is_like_nothing_else() -> None:
    shown = [0] * 4 + [1] + [2] * 8 + [0] * 6 + [3] + [2] * 10
    held = remembered(scenes(shown, noise=0.05), 4, threshold=1.1)
    assert {shown[int(start)] for start in held.span_seconds[:, 0]} == {0, 1, 2, 3}
    # What is shown last is in working memory too; nothing of it was worth a place twice.
    assert held.span_seconds[:, 0].tolist() == [0.0, 4.0, 5.0, 19.0]


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 3), st.integers(0, 999))
def test_only_the_best_and_their_neighbours_are_read(num: int, top_k: int, num_neighbours: int, seed: int) -> None:
    key, query = frames(num, seed=seed).key, frames(2, seed=seed + 1).key
    policy_ = HippoMM(top_k=top_k, num_neighbours=num_neighbours, logit_scale=2.0)
    got = policy_.affinity(key, query)
    cosine = cosine_similarity(key, query)
    for column in range(2):
        hits = cosine[:, column].argsort(descending=True)[:top_k].tolist()
        near = {hit + step for hit in hits for step in range(-num_neighbours, num_neighbours + 1)} & {*range(num)}
        assert set(got[:, column].nonzero().flatten().tolist()) == near
        places = torch.tensor(sorted(near))
        want = affinity(2 * cosine[places, column : column + 1]).flatten()
        torch.testing.assert_close(got[places, column], want)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 999))
def test_a_query_never_sees_what_it_must_not(num: int, top_k: int, seed: int) -> None:
    readable = torch.rand(num, 3, generator=torch.Generator().manual_seed(seed)) < 0.4
    got = HippoMM(top_k=top_k).affinity(frames(num).key, frames(3, seed=1).key, readable)
    assert not bool(got[~readable].any())
    torch.testing.assert_close(got.sum(0), readable.any(0).float())


@pytest.mark.parametrize(("option", "value"), [("num_neighbours", -1), ("top_k", 0)])
def test_options_that_make_no_sense_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        policy("hippomm", **{option: value})


def test_keys_without_direction_are_kept_once() -> None:
    video = frames(11)
    video.key.zero_()
    held = remembered(video, 8)
    assert len(held) == 1 and held.value.shape[1] == NUM_TOKENS
