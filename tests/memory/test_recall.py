from __future__ import annotations

import torch

from vidmem.memory.policies.hippomm_reference import recall_as_coded
from vidmem.memory.recall import most_similar, spans_around


def test_the_most_similar_come_first_and_of_equals_the_later() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 3.0], [5.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    hits = most_similar(torch.tensor([2.0, 0.0]), features, top_k=4)
    assert hits.index.tolist() == [2, 0, 4, 3]
    torch.testing.assert_close(hits.similarity, torch.tensor([1.0, 1.0, 0.5**0.5, 0.0]))
    assert most_similar(torch.ones(2), features, top_k=9).index.tolist() == [4, 2, 1, 0, 3]
    assert most_similar(torch.ones(2), features[:0], top_k=3).index.tolist() == []


def test_a_hit_is_told_by_the_time_of_its_own_frame_where_the_code_tells_another() -> None:
    features, key_seconds = torch.eye(6), torch.tensor([0.0, 2.0, 4.0])
    frame_seconds = torch.arange(6.0)
    query = torch.tensor([0.0, 3.0, 0.0, 2.0, 1.0, 0.0])
    hits = most_similar(query, features, top_k=3)
    assert spans_around(frame_seconds[hits.index]).tolist() == [[0.0, 2.0], [2.0, 4.0], [3.0, 5.0]]
    coded = recall_as_coded(query, features, key_seconds, top_k=3)
    assert coded.span_seconds.tolist() == [[1.0, 3.0]]  # key frame 1, not frame 1; frames 3 and 4 are dropped
    assert [index.tolist() for index in coded.key_index] == [[1]]
