"""Objects in a store: what comes back of them, how they are found, and that they go with their video."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sqlite3
from pathlib import Path

import numpy as np
import object_world as things
import pytest
import store_world as world
from hypothesis import given, settings
from hypothesis import strategies as st

from vidmem.errors import NotFound
from vidmem.index import Look, ObjectId, ObjectUpdate, Store, Track, decode_mask
from vidmem.index.vectors import as_held
from vidmem.types import Span, VideoId

A, B = (world.video(number).video_id for number in range(2))
KEY = ("key", 0.3, "asked")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.vidmem"


@pytest.fixture
def store(path):
    """An open store of two videos, each of one clip."""
    with Store.open(path, world.IDENTITY) as opened:
        for number in range(2):
            opened.begin_video(world.video(number))
            world.append(opened, world.video(number).video_id, 0)
        yield opened


def add(store, video_id: VideoId, seed: int, num_pieces: int, *, together: bool = False) -> ObjectId:
    object_id = store.add_object(video_id, label="key", label_score=0.3, origin="asked")
    updates = [things.update(object_id, seed, piece) for piece in range(num_pieces)]
    for group in [updates] if together else [[update] for update in updates]:
        store.extend_objects(video_id, group)
    return object_id


@pytest.mark.parametrize("together", [False, True])
def test_gives_back_what_came_piece_by_piece(store, path, together):
    ids = [add(store, video, seed, 3 + seed, together=together) for seed, video in enumerate((A, B, A))]
    wanted = {
        number: things.expected(video, seed, 3 + seed, KEY)
        for seed, (number, video) in enumerate(zip(ids, (A, B, A), strict=True))
    }
    assert things.content(store) == wanted
    assert store.verify() == []
    assert len(things.crop_files(path)) == 3 + 4 + 5
    store.close()
    for read_only in (True, False):
        with Store.open(path, world.IDENTITY, read_only=read_only) as again:
            assert again.notices == [] and things.content(again) == wanted and again.verify() == []


def test_objects_of_some_videos(store):
    ids = [add(store, video, 0, 1) for video in (A, B, A)]
    assert [row.object_id for row in store.objects()] == ids
    assert [row.object_id for row in store.objects([A])] == [ids[0], ids[2]]
    assert store.objects([]) == []
    with pytest.raises(NotFound, match="nothing"):
        store.objects([A, VideoId("nothing")])


def test_an_object_without_pieces_is_there(store):
    object_id = store.add_object(A, origin="found")
    row = store.object(object_id)
    assert (row.label, row.origin, row.spans, row.tracked_from, row.tracked_until) == ("", "found", (), None, None)
    assert (row.num_looks, row.thumbnail_path) == (0, None) and "T" in row.added_at
    assert len(store.track_of(object_id)) == 0 and store.looks_of(object_id) == []
    store.extend_objects(A, [ObjectUpdate(object_id, Track.empty()), ObjectUpdate(object_id)])
    store.extend_objects(A, [])
    assert store.object(object_id) == row and store.verify() == []


def test_masks_of_looks_are_those_that_came(store):
    object_id = add(store, A, 7, 2)
    for piece, look in enumerate(store.looks_of(object_id)):
        assert np.array_equal(decode_mask(look.mask, look.mask_size), things.mask(7, piece))


def test_looks_are_in_time_order_and_the_newest_is_the_thumbnail(store):
    object_id = store.add_object(A, origin="found")
    store.extend_objects(A, [ObjectUpdate(object_id, looks=[things.look(0, piece) for piece in (4, 1)])])
    store.extend_objects(A, [ObjectUpdate(object_id, looks=[things.look(0, 2)])])
    looks = store.looks_of(object_id)
    assert [look.seconds for look in looks] == [1.5, 2.5, 4.5]
    path = store.object(object_id).thumbnail_path
    assert path == looks[-1].thumbnail_path and Path(path).read_bytes() == things.look(0, 4).crop


def test_a_track_between_two_times_is_half_open(store):
    object_id = add(store, A, 0, 4)
    seconds = store.track_of(object_id).seconds
    for start, end in ((None, None), (1.0, 2.0), (1.0 + 1 / 30, 3.0 + 2 / 30), (None, 1.0), (3.0, None), (0.5, 0.9)):
        chosen = np.ones(len(seconds), dtype=bool)
        if start is not None:
            chosen &= seconds >= start
        if end is not None:
            chosen &= seconds < end
        assert store.track_of(object_id, start, end).seconds.tolist() == seconds[chosen].tolist()


steps = st.lists(st.tuples(st.integers(-3, 4), st.integers(1, 6), st.booleans()), max_size=12)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_spans_that_touch_or_overlap_become_one(tmp_path_factory, steps):
    """Against the seconds that were seen, one by one; steps from the end of the last span, in whole seconds."""
    with Store.open(tmp_path_factory.mktemp("spans") / "a.vidmem", world.IDENTITY) as store:
        store.begin_video(world.video())
        object_id = store.add_object(A, origin="found")
        last, seen = (0, 0), set()
        waiting: list[Span] = []
        for gap, seconds, is_committed in steps:
            start = max(last[1] + gap, last[0])
            last = (last[0] if seen and start <= last[1] else start, max(last[1], start + seconds))
            seen |= set(range(start, start + seconds))
            waiting.append(Span(start, start + seconds))
            if is_committed:
                store.extend_objects(A, [ObjectUpdate(object_id, spans=waiting)])
                waiting = []
        store.extend_objects(A, [ObjectUpdate(object_id, spans=waiting)])
        spans = store.object(object_id).spans
        assert [second for span in spans for second in range(int(span.start), int(span.end))] == sorted(seen)
        assert all(earlier.end < later.start for earlier, later in zip(spans, spans[1:], strict=False))


def test_a_span_told_anew_from_its_beginning_is_the_longer_one(store):
    object_id = store.add_object(A, origin="found")
    for end in (2.0, 3.0, 5.0, 4.0):
        store.extend_objects(A, [ObjectUpdate(object_id, spans=[Span(1.0, end)])])
    assert store.object(object_id).spans == (Span(1.0, 5.0),)


def test_labels_come_with_updates_and_from_people(store):
    object_id = add(store, A, 0, 1)
    store.extend_objects(A, [ObjectUpdate(object_id, label="a red key", label_score=np.float32(0.75))])
    assert (store.object(object_id).label, store.object(object_id).label_score) == ("a red key", 0.75)
    store.label_object(object_id, "my key")
    assert (store.object(object_id).label, store.object(object_id).label_score) == ("my key", 1.0)
    store.extend_objects(A, [things.update(object_id, 0, 1)])
    assert store.object(object_id).label == "my key"


def test_numbers_of_numpy_are_taken_as_numbers(store):
    object_id = store.add_object(A, label_score=np.float32(0.5), origin="found")
    look = things.look(0, 0)
    box = tuple(np.array([0.25, 0.25, 0.5, 0.75], dtype=np.float32))
    odd = Look(np.float32(0.5), box, tuple(np.array(look.mask_size)), look.mask, look.crop, look.embedding)
    span = Span(np.float32(0.5), np.float64(1.5))
    store.extend_objects(A, [ObjectUpdate(object_id, None, [span], [odd])])
    (found,) = store.looks_of(object_id)
    assert (found.seconds, found.box, found.mask_size) == (0.5, (0.25, 0.25, 0.5, 0.75), look.mask_size)
    assert store.object(object_id).spans == (Span(0.5, 1.5),) and store.object(object_id).label_score == 0.5


def test_more_looks_come_together_than_files_may_be_open(store, path):
    object_id = store.add_object(A, origin="found")
    looks = [things.look(0, piece) for piece in range(300)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 200, hard))
    try:
        store.extend_objects(
            A, [ObjectUpdate(object_id, looks=looks[:299]), ObjectUpdate(object_id, looks=looks[299:])]
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [Path(look.thumbnail_path).read_bytes() for look in store.looks_of(object_id)] == [x.crop for x in looks]
    assert len(things.crop_files(path)) == 300 and store.verify() == []


# -- search --


def best_by_hand(looks: dict, query: np.ndarray, k: int) -> list[tuple[int, float]]:
    """Objects and their best scores, from all looks: `looks` has (object, look number) and its vector."""
    scores: dict[int, float] = {}
    for object_id, vector in looks:
        score = float(as_held(vector[None])[0] @ query)
        scores[object_id] = max(score, scores.get(object_id, -2.0))
    return sorted(scores.items(), key=lambda item: -item[1])[:k]


def test_search_equals_brute_force(store):
    """Objects with many looks that are much alike, so that the best looks are of few objects."""
    rng = np.random.default_rng(0)
    looks: dict[str, list] = {A: [], B: []}
    moments = {}
    for seed in range(24):
        video = (A, B)[seed % 2]
        object_id = store.add_object(video, origin="found")
        middle, count = rng.standard_normal(world.DIM), int(rng.choice([1, 3, 40]))
        made = []
        for piece in range(count):
            vector = middle + 0.05 * rng.standard_normal(world.DIM)
            vector = (vector / np.linalg.norm(vector)).astype(np.float32)
            one = things.look(seed, piece)
            made.append(Look(one.seconds, one.box, one.mask_size, one.mask, one.crop, vector))
            looks[video].append((object_id, vector))
            moments[object_id, one.seconds] = (vector, one.crop)
        store.extend_objects(video, [ObjectUpdate(object_id, looks=made)])
    for trial in range(60):
        query = rng.standard_normal(world.DIM).astype(np.float32)
        query /= np.linalg.norm(query)
        chosen = [None, [A], [B], [A, B], []][trial % 5]
        k = int(rng.integers(1, 30))
        wanted = best_by_hand(
            [look for video in (A, B) if chosen is None or video in chosen for look in looks[video]], query, k
        )
        hits = store.search_objects(query, k, chosen)
        assert [hit.object_id for hit in hits] == [object_id for object_id, _ in wanted]
        np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in wanted], atol=1e-5)
        for hit in hits:
            vector, crop = moments[hit.object_id, hit.seconds]
            assert as_held(vector[None])[0] @ query == pytest.approx(hit.score, abs=1e-5)
            assert (
                Path(hit.thumbnail_path).read_bytes() == crop and hit.video_id == store.object(hit.object_id).video_id
            )


def test_equally_alike_objects_are_in_the_order_of_their_looks(store):
    ids = [store.add_object(A, origin="found") for _ in range(4)]
    for object_id in reversed(ids):
        store.extend_objects(A, [ObjectUpdate(object_id, looks=[things.look(0, 0)])])
    assert [hit.object_id for hit in store.search_objects(things.vector(0, 0), 9)] == ids[::-1]


def test_search_refuses_what_it_cannot_answer(store):
    query = things.vector(0, 0)
    for _ in range(2):
        with pytest.raises(NotFound, match="no-such"):
            store.search_objects(query, 1, [VideoId("no-such")])
        for bad in (query[:-1], query * np.nan, query[None]):
            with pytest.raises(ValueError, match="query"):
                store.search_objects(bad, 1)
        with pytest.raises(ValueError, match="k=0"):
            store.search_objects(query, 0)
        assert store.search_objects(query, 5, [B]) == []
        add(store, A, 0, 1)


def test_the_search_of_frames_finds_no_objects(store):
    before = len(store.search(things.vector(0, 0), 100))
    add(store, A, 0, 3)
    assert len(store.search(things.vector(0, 0), 100)) == before == 2 * world.FRAMES


# -- going --


def test_removing_an_object_frees_all_of_it(store, path):
    gone, stays = add(store, A, 0, 3), add(store, A, 1, 2)
    assert len(store.search_objects(things.vector(0, 0), 9)) == 2
    store.remove_object(gone)
    assert things.content(store) == {stays: things.expected(A, 1, 2, KEY)}
    assert [hit.object_id for hit in store.search_objects(things.vector(0, 0), 9)] == [stays]
    assert len(things.crop_files(path)) == 2 and store.verify() == []
    for ask in (store.object, store.track_of, store.looks_of, store.remove_object):
        with pytest.raises(NotFound, match=f"No object {gone} in"):
            ask(gone)
    with pytest.raises(NotFound):
        store.label_object(gone, "x")
    newest = add(store, A, 2, 1)
    assert newest > stays  # an id is never given out twice, nor is the name of a file
    assert things.content(store)[newest] == things.expected(A, 2, 1, KEY)
    database = sqlite3.connect(path / "catalogue.sqlite")
    for table, rows in (("object_pieces", 3), ("object_spans", 3), ("looks", 3), ("look_embeddings", 3)):
        assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows,)
    database.close()


def test_removing_a_video_removes_its_objects(store, path):
    gone, stays = add(store, A, 0, 3), add(store, B, 1, 2)
    store.remove_video(A)
    assert things.content(store) == {stays: things.expected(B, 1, 2, KEY)}
    assert [hit.object_id for hit in store.search_objects(things.vector(0, 0), 9)] == [stays]
    assert all(B in name for name in things.crop_files(path)) and not (path / "crops" / A).exists()
    assert store.verify() == [] and gone != stays
    assert things.crop_files(path) and things.vector(0, 0).tobytes() not in (path / "catalogue.sqlite").read_bytes()


def test_state_counts_objects_and_the_bytes_of_their_crops(store, path):
    before = store.state()
    assert before.num_objects == 0
    add(store, A, 0, 3)
    after = store.state()
    crops = sum((path / name).stat().st_size for name in things.crop_files(path))
    assert after.num_objects == 1 and after.thumbs_bytes - before.thumbs_bytes == crops > 0
    assert after.total_bytes >= before.total_bytes + crops


# -- others --


def test_a_reader_follows_the_writer(store, path):
    query = things.vector(0, 0)
    with Store.open(path, world.IDENTITY, read_only=True) as reader:
        assert reader.objects() == [] and reader.search_objects(query, 3) == []
        with pytest.raises(NotFound):
            reader.object(ObjectId(1))
        first = add(store, A, 0, 2)
        assert things.content(reader) == {first: things.expected(A, 0, 2, KEY)}
        assert reader.search_objects(query, 3)[0].score == pytest.approx(1.0, abs=1e-3)
        second = add(store, B, 1, 2)
        assert {hit.object_id for hit in reader.search_objects(query, 3)} == {first, second}
        store.remove_object(first)
        assert [hit.object_id for hit in reader.search_objects(query, 3)] == [second]
        store.remove_video(B)
        assert reader.search_objects(query, 3) == [] and reader.objects() == []
        third = add(store, A, 0, 1)
        assert [hit.object_id for hit in reader.search_objects(query, 3)] == [third]
        for write in (
            lambda: reader.add_object(A, origin="asked"),
            lambda: reader.extend_objects(A, [things.update(third, 0, 1)]),
            lambda: reader.label_object(third, "x"),
            lambda: reader.remove_object(third),
        ):
            with pytest.raises(ValueError, match="read-only"):
                write()
        assert reader.notices == [] and reader.verify() == []


def _write_in_a_process(path: str, done) -> None:  # type: ignore[no-untyped-def]
    with Store.open(path, world.IDENTITY) as store:
        done.put(add(store, A, 0, 3))


def test_a_reader_sees_what_another_process_commits(store, path):
    store.close()
    processes = multiprocessing.get_context("spawn")
    with Store.open(path, world.IDENTITY, read_only=True) as reader:
        assert reader.objects() == []
        done = processes.Queue()
        writer = processes.Process(target=_write_in_a_process, args=(str(path), done))
        writer.start()
        object_id = done.get(timeout=120)
        writer.join(120)
        assert things.content(reader) == {object_id: things.expected(A, 0, 3, KEY)}
        assert reader.search_objects(things.vector(0, 2), 1)[0].seconds == 2.5


def test_a_store_without_objects_has_none_of_their_tables_and_is_of_the_old_format(store, path):
    def tables() -> set[str]:
        database = sqlite3.connect(path / "catalogue.sqlite")
        found = {row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        database.close()
        return found

    before, manifest = tables(), (path / "manifest.toml").read_text()
    assert not [name for name in before if "object" in name or "look" in name] and not (path / "crops").exists()
    assert store.verify() == [] and store.state().num_objects == 0
    add(store, A, 0, 1)
    assert tables() > before and (path / "manifest.toml").read_text() == manifest and Store.peek(path).format == 1


def test_objects_go_with_a_video_that_a_program_removes_that_does_not_know_them(store, path):
    """Such a program's own steps: its rows go, and what is not in its three folders is none of its business."""
    add(store, A, 0, 3)
    stays = add(store, B, 1, 2)
    store.close()
    with Store.open(path, world.IDENTITY, read_only=True) as reader:
        assert len(reader.search_objects(things.vector(0, 0), 9)) == 2
        database = sqlite3.connect(path / "catalogue.sqlite", isolation_level=None)
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("DELETE FROM videos WHERE video_id = ?", (A,))
        database.execute("UPDATE store SET removals = removals + 1")
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        database.close()
        assert [hit.object_id for hit in reader.search_objects(things.vector(0, 0), 9)] == [stays]
    with Store.open(path, world.IDENTITY) as again:
        assert things.content(again) == {stays: things.expected(B, 1, 2, KEY)} and again.verify() == []
        assert all(B in name for name in things.crop_files(path)) and not (path / "crops" / A).exists()


def test_a_new_store_from_which_all_was_removed_is_discarded_whole(path):
    store = Store.open(path, world.IDENTITY)
    store.begin_video(world.video())
    add(store, A, 0, 1)
    store.remove_video(A)
    store.discard()
    assert not path.exists()
