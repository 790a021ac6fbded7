"""XMem's memory of tokens, beyond the parity numbers: objects that join late, and the bounds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.memory.similarity import affinity, anisotropic_similarity
from vidmem.memory.token_memory import TokenMemory, TokenMemoryConfig

HW, KEY_DIM, VALUE_DIM = 4, 5, 3


def write(memory: TokenMemory, t: int, num_objects: int) -> None:
    """Frame t. The first value channel of each object is the token's number, to find the value's key again."""
    random = torch.Generator().manual_seed(t)
    key = torch.randn(HW, KEY_DIM, generator=random)
    value = torch.randn(HW, num_objects, VALUE_DIM, generator=random)
    value[:, :, 0] = key[:, :1]
    memory.write(key, torch.rand(HW, generator=random) + 1, torch.rand(HW, KEY_DIM, generator=random), value)


def query(t: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(10_000 + t)
    return torch.randn(6, KEY_DIM, generator=random), torch.rand(6, KEY_DIM, generator=random)


@given(st.lists(st.integers(1, 12), max_size=3).map(sorted), st.integers(4, 7), st.integers(1, 3), st.integers(0, 1000))
def test_values_of_late_objects_stay_with_their_keys(joins: list[int], top: int, low: int, seed: int) -> None:
    memory = TokenMemory(TokenMemoryConfig(top_k=8, max_frames=top, min_frames=low, num_prototypes=3, max_elements=9))
    for t in range(25):
        if t:
            memory.read(*query(t + seed))
        write(memory, t + seed, 1 + sum(join <= t for join in joins))
        assert memory.working is not None and memory.long_term is not None
        assert len(memory.working) < top * HW and len(memory.long_term) <= 9
        for group in memory.groups:
            own_key = memory.working["key"][group.working["column"]]
            assert torch.equal(group.working["value"][:, :, 0], own_key[:, :1].expand(-1, group.num_objects))
            assert bool((group.long_term["column"] < len(memory.long_term)).all())
        assert torch.equal(memory.groups[0].long_term["column"], torch.arange(len(memory.long_term)))


def test_a_late_object_reads_only_what_it_has() -> None:
    memory = TokenMemory(TokenMemoryConfig(top_k=100, max_frames=9, min_frames=2, num_prototypes=3))
    for t in range(5):
        write(memory, t, 1 if t < 3 else 2)
    assert memory.working is not None
    key, selection = query(0)
    late = slice(3 * HW, 5 * HW)
    similarity = anisotropic_similarity(
        memory.working["key"][late], key, shrinkage=memory.working["shrinkage"][late], selection=selection
    )
    value = memory.groups[1].working["value"][:, 0]
    got = memory.read(key, selection)
    assert got.shape == (2, VALUE_DIM, 6)
    torch.testing.assert_close(got[1], (affinity(similarity).T @ value).T)


def test_the_first_frame_stays_and_the_newest_others() -> None:
    memory = TokenMemory(TokenMemoryConfig(max_frames=5, min_frames=3, num_prototypes=2))
    for t in range(5):
        write(memory, t, 1)
    witness = TokenMemory(TokenMemoryConfig(max_frames=5, min_frames=3, num_prototypes=2))
    for t in (0, 3, 4):
        write(witness, t, 1)
    assert memory.working is not None and witness.working is not None
    assert torch.equal(memory.working["key"], witness.working["key"])


def test_an_object_cannot_vanish() -> None:
    memory = TokenMemory()
    write(memory, 0, 2)
    with pytest.raises(ValueError, match="values for 1 objects given, but 2 are known"):
        write(memory, 1, 1)
    with pytest.raises(ValueError, match="empty"):
        TokenMemory().read(*query(0))


def test_settings_are_checked() -> None:
    for field, value in (("min_frames", 10), ("num_prototypes", 10_001)):
        with pytest.raises(ValueError, match=field):
            TokenMemoryConfig(**{field: value})
