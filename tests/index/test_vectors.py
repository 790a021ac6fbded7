"""The vector index at a size where vectors are looked at twice: what a flat scan finds is found."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from vidmem.index.catalogue import IndexRows
from vidmem.index.coarse import COARSE_FROM, MOST_WANTED
from vidmem.index.vectors import DamagedIndex, VectorIndex, as_held

DIM, SCENE = 33, 40
NUM_FRAMES = COARSE_FROM + 4000
VIDEOS = ("a", "b")
"""The first has nine tenths of the frames."""


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Scenes of frames that are much alike, all in one half of space."""
    chance = np.random.default_rng(0)
    scenes = chance.standard_normal((NUM_FRAMES // SCENE + 1, DIM)) / np.sqrt(1 + np.arange(DIM))
    frames = np.repeat(scenes, SCENE, axis=0)[:NUM_FRAMES]
    return _unit(frames + 0.1 * chance.standard_normal(frames.shape) + np.eye(DIM)[0])


@pytest.fixture(scope="module")
def queries(vectors: np.ndarray) -> np.ndarray:
    """Each near a frame, and in the other half of space, as texts are."""
    chance = np.random.default_rng(1)
    near = vectors[:: NUM_FRAMES // 20]
    return _unit(near + 0.1 * chance.standard_normal(near.shape) - 2 * np.eye(DIM)[0])


def _rows(vectors: np.ndarray, first: int, end: int) -> IndexRows:
    """Frames whose ids are three times their places, plus 1, and of a second each."""
    places = np.arange(first, end)
    names = [VIDEOS[int(place >= 0.9 * NUM_FRAMES)] for place in places]
    return IndexRows(3 * places + 1, names, np.stack([places, places + 1.0], axis=1), vectors[first:end])


@pytest.fixture(scope="module")
def index(vectors: np.ndarray) -> VectorIndex:
    made = VectorIndex(DIM)
    for first in range(0, NUM_FRAMES, 8192):
        made.add(_rows(vectors, first, min(first + 8192, NUM_FRAMES)))
    return made


def _best(vectors: np.ndarray, query: np.ndarray, k: int, passes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids and scores of a plain scan."""
    scores = np.where(passes, as_held(vectors) @ query, -np.inf)
    places = np.lexsort((np.arange(len(scores)), -scores))[:k]
    return 3 * places + 1, scores[places]


def test_vectors_are_held_as_verification_expects_them(vectors, index):
    np.testing.assert_array_equal(index.vectors(), as_held(vectors))


@pytest.mark.parametrize("k", [1, 64, MOST_WANTED])
def test_what_a_plain_scan_finds_is_found_with_its_scores(vectors, queries, index, k):
    for query in queries:
        ids, scores = _best(vectors, query, k, np.ones(NUM_FRAMES, bool))
        found = index.search(query, k)
        np.testing.assert_allclose(found.scores, scores, atol=2e-6)
        assert len(set(found.frame_ids) & set(ids)) >= k - 1  # equal to the last digit: either may be the last


@pytest.mark.parametrize(
    "filters",
    [
        {"video_ids": ["a"]},
        {"video_ids": ["b"]},
        {"start": 100.0},
        {"start": 5000.0, "end": 5600.0},
        {"video_ids": ["a"], "end": 100.0},
        {"video_ids": ["nobody's"]},
    ],
)
def test_filters_let_through_the_best_of_what_passes(vectors, queries, index, filters):
    names = filters.get("video_ids", VIDEOS)
    places = np.arange(NUM_FRAMES)
    passes = np.isin(np.where(places < 0.9 * NUM_FRAMES, *VIDEOS), names)
    passes &= (places + 1 > filters.get("start", 0)) & (places < filters.get("end", NUM_FRAMES))
    for query in queries[::4]:
        ids, scores = _best(vectors, query, min(64, int(passes.sum())), passes)
        found = index.search(query, 64, **filters)
        np.testing.assert_allclose(found.scores, scores, atol=2e-6)
        assert len(set(found.frame_ids) & set(ids)) >= len(ids) - 1


def test_what_passes_and_is_unlike_the_question_is_found_too(vectors, queries):
    """All candidates are of the one video, the filter asks for the other."""
    apart = vectors[np.argsort(vectors @ queries[0], kind="stable")]
    index = VectorIndex(DIM)
    index.add(_rows(apart, 0, NUM_FRAMES))
    found = index.search(queries[0], 64, video_ids=["a"])
    passes = np.arange(NUM_FRAMES) < 0.9 * NUM_FRAMES
    np.testing.assert_allclose(found.scores, _best(apart, queries[0], 64, passes)[1], atol=2e-6)


def test_equal_frames_come_in_the_order_of_their_ids(vectors):
    same = vectors.copy()
    same[10_000:10_100] = same[10_000]
    index = VectorIndex(DIM)
    index.add(_rows(same, 0, NUM_FRAMES))
    found = index.search(same[10_000], 100)
    assert found.frame_ids.tolist() == (3 * np.arange(10_000, 10_100) + 1).tolist()


def test_a_file_gives_the_same_answers_and_one_without_the_first_look_is_completed(tmp_path, queries, index):
    index.save(tmp_path / "index")
    again = VectorIndex.load(tmp_path / "index", DIM)
    size = (tmp_path / "index").stat().st_size
    bare = VectorIndex.load(_without_first_look(tmp_path, index), DIM)
    for read in (again, bare):
        read.describe(_rows(np.empty((NUM_FRAMES, 0)), 0, NUM_FRAMES))
        for query in queries:
            np.testing.assert_array_equal(read.search(query, 64).frame_ids, index.search(query, 64).frame_ids)
        read.save(tmp_path / "again")
        assert (tmp_path / "again").stat().st_size == size


def _without_first_look(folder: Path, index: VectorIndex) -> Path:
    """The file as versions wrote it that scanned all vectors in 16 bits."""
    bare = VectorIndex(DIM)
    bare._faiss, bare.last_frame_id = index._faiss, index.last_frame_id
    bare.save(folder / "bare")
    return folder / "bare"


def test_damage_to_the_first_look_is_noticed(tmp_path, index):
    index.save(tmp_path / "index")
    data = bytearray((tmp_path / "index").read_bytes())
    data[-5000] ^= 1
    (tmp_path / "index").write_bytes(data)
    with pytest.raises(DamagedIndex, match="damaged"):
        VectorIndex.load(tmp_path / "index", DIM)


def test_a_search_leaves_the_number_of_threads_as_it_was(queries, index):
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        index.search(queries[0], 5)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
