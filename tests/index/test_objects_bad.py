"""Objects that are refused, damaged or cut short by a crash: the right error, all or nothing, no file left over."""

from __future__ import annotations

import shutil
import sqlite3

import numpy as np
import object_world as things
import pytest
import store_crash as crash
import store_world as world
from test_store_crash import FailingDisk, copy, run_to_death

from vidmem.errors import NotFound, StorageFull, StoreCorrupt
from vidmem.index import Look, ObjectId, ObjectUpdate, Store
from vidmem.types import Span, VideoId

A, B = (world.video(number).video_id for number in range(2))
KEY = ("key", 0.3, "asked")
KNOWN = ObjectId(1)


@pytest.fixture(scope="module")
def processes():
    return crash.context()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A closed store of two videos; the first has an object of two pieces."""
    path = tmp_path_factory.mktemp("objects") / "a.vidmem"
    with Store.open(path, world.IDENTITY) as store:
        for number in range(2):
            store.begin_video(world.video(number))
            world.append(store, world.video(number).video_id, 0)
        assert store.add_object(A, label="key", label_score=0.3, origin="asked") == KNOWN
        store.extend_objects(A, [things.update(KNOWN, 0, piece) for piece in range(2)])
    return path


@pytest.fixture
def path(filled, tmp_path):
    return copy(filled, tmp_path / "a.vidmem")


def change(path, *statements: str) -> None:
    database = sqlite3.connect(path / "catalogue.sqlite")
    with database:
        for statement in statements:
            database.execute(statement)
    database.close()


# -- what is refused --


def test_updates_that_do_not_follow_are_refused_and_nothing_of_them_is_kept(path):
    with Store.open(path, world.IDENTITY) as store:
        good = things.update(KNOWN, 0, 2)
        short = things.look(0, 2).embedding[:4]
        look = Look(2.5, (0, 0, 1, 1), (1, 1), b"\1", b"x", short / np.linalg.norm(short))
        for wrong, said in (
            (ObjectUpdate(KNOWN, things.track(0, 1)), "goes on at 1.0 s, which is not after 2.1"),
            (ObjectUpdate(KNOWN, things.track(0, 2)), "goes on at 2.0 s, which is not after 2.1"),
            (ObjectUpdate(KNOWN, spans=[Span(0.5, 9.0)]), "runs back"),
            (ObjectUpdate(KNOWN, looks=[look]), r"embedding is \(4,\), the store's are \(16,\)"),
        ):
            with pytest.raises(ValueError, match=said):
                store.extend_objects(A, [good, wrong])
        with pytest.raises(NotFound, match="No object 9"):
            store.extend_objects(A, [good, ObjectUpdate(ObjectId(9))])
        with pytest.raises(ValueError, match=f"of video {A}, not of {B}"):
            store.extend_objects(B, [good])
        for call in (
            lambda: store.extend_objects(VideoId("nothing"), []),
            lambda: store.add_object(VideoId("nothing"), origin="asked"),
        ):
            with pytest.raises(NotFound, match="nothing"):
                call()
        assert things.content(store) == {KNOWN: things.expected(A, 0, 2, KEY)}
        assert len(things.crop_files(path)) == 2 and store.verify() == []
        store.extend_objects(A, [good])
        assert things.content(store) == {KNOWN: things.expected(A, 0, 3, KEY)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seconds": -1.0}, "time"),
        ({"seconds": float("nan")}, "time"),
        ({"box": (0.5, 0.0, 0.4, 1.0)}, "box"),
        ({"box": (0.0, 0.0, 1.1, 1.0)}, "box"),
        ({"box": (0.0, 0.0, float("nan"), 1.0)}, "box"),
        ({"crop": b""}, "crop"),
        ({"mask_size": (9, 15)}, "not the 9 x 15 pixels"),
        ({"mask": b"\xff"}, "cut"),
        ({"embedding": np.ones(16)}, "unit length"),
        ({"embedding": np.full(16, np.nan)}, "unit length"),
        ({"embedding": np.ones((1, 1))}, "unit length"),
    ],
)
def test_what_is_no_look_is_refused(changes, said):
    names = ("seconds", "box", "mask_size", "mask", "crop", "embedding")
    values = {name: getattr(things.look(0, 0), name) for name in names}
    with pytest.raises(ValueError, match=said):
        Look(**values | changes)


def test_what_is_no_update_is_refused():
    for values in ({"label": "x"}, {"label_score": 0.5}):
        with pytest.raises(ValueError, match="come together"):
            ObjectUpdate(KNOWN, **values)
    for span in (Span(1.0, 1.0), Span(1.0, float("inf"))):
        with pytest.raises(ValueError, match="for some time"):
            ObjectUpdate(KNOWN, spans=[span])


# -- damage --


def test_verify_finds_a_damaged_and_a_lost_crop(path):
    names = sorted(things.crop_files(path))
    (path / names[0]).write_bytes(b"\xff\xd8other")
    (path / names[1]).unlink()
    with Store.open(path, world.IDENTITY, read_only=True) as store:
        assert store.verify() == [f"{names[0]} is damaged.", f"{names[1]} is gone."]
    with Store.open(path, world.IDENTITY) as store:
        assert store.notices == [f"1 files are gone from {path}: `vidmem info --verify` names them."]


DAMAGE = {
    "track": "UPDATE object_pieces SET data = zeroblob(length(data)) WHERE first_seconds = 1",
    "time": "UPDATE object_pieces SET last_seconds = 1.5 WHERE first_seconds = 1",
    "mask": "UPDATE looks SET mask = zeroblob(length(mask)) WHERE seconds = 1.5",
    "vector": "UPDATE look_embeddings SET vector = zeroblob(64) WHERE look_id = 2",
    "short vector": "UPDATE look_embeddings SET vector = zeroblob(60) WHERE look_id = 2",
    "lost vector": "DELETE FROM look_embeddings WHERE look_id = 2",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_verify_finds_damaged_rows(path, what):
    change(path, DAMAGE[what])
    with Store.open(path, world.IDENTITY, read_only=True) as store:
        assert store.verify() == ["Object 1 is damaged at 00:01: remove it and track it again."]
        store.close()
    with Store.open(path, world.IDENTITY) as store:  # and the cure is one
        store.remove_object(KNOWN)
        assert store.verify() == [] and store.search_objects(things.vector(0, 0), 3) == []


def test_reading_what_is_damaged_is_an_error_that_names_the_object(path):
    change(path, DAMAGE["track"], DAMAGE["mask"])
    with Store.open(path, world.IDENTITY, read_only=True) as store:
        assert len(store.track_of(KNOWN, 0.0, 1.0)) == things.SAMPLES  # the piece before
        with pytest.raises(StoreCorrupt, match=r"The track of object 1 in .* is damaged: put back a copy"):
            store.track_of(KNOWN)
        with pytest.raises(StoreCorrupt, match=r"The mask of object 1 in .* is damaged"):
            store.looks_of(KNOWN)
        assert store.object(KNOWN).num_looks == 2


@pytest.mark.parametrize("what", ["vector", "short vector"])
def test_damaged_vectors_are_not_searched(path, what):
    change(path, DAMAGE[what])
    with Store.open(path, world.IDENTITY) as store:
        for _ in range(2):
            with pytest.raises(StoreCorrupt):
                store.search_objects(things.vector(0, 0), 3)
        assert len(store.search(things.vector(0, 0), 9)) == 6  # frames are sound


def test_a_crop_outside_of_the_store_is_not_followed(path):
    change(path, "UPDATE looks SET crop_file = 'crops/../../secret.jpg'")
    with Store.open(path, world.IDENTITY, read_only=True) as store:
        for read in (
            store.objects,
            lambda: store.looks_of(KNOWN),
            lambda: store.search_objects(things.vector(0, 0), 1),
            store.verify,
        ):
            with pytest.raises(StoreCorrupt, match="do not trust"):
                read()


def test_files_that_no_look_names_are_leftovers(path):
    strays = [f"crops/{A}/99.jpg", "crops/gone/1.jpg", "crops/x.jpg"]
    (path / "crops" / "gone").mkdir()
    for name in strays:
        (path / name).write_bytes(b"x")
    with Store.open(path, world.IDENTITY, read_only=True) as store:
        said = " belongs to no committed clip: opening the store for writing removes it."
        assert sorted(store.verify()) == sorted(name + said for name in strays)
    with Store.open(path, world.IDENTITY) as store:
        assert store.verify() == [] and len(things.crop_files(path)) == 2 and not (path / "crops" / "gone").exists()


# -- crashes --


def check(path, num_pieces: set[int]) -> int:
    """The object has whole updates and nothing else, and takes the next one."""
    with Store.open(path, world.IDENTITY, read_only=True) as store:
        before = things.content(store)
    with Store.open(path, world.IDENTITY) as store:
        found = store.object(KNOWN).num_looks
        assert found in num_pieces
        assert things.content(store) == before == {KNOWN: things.expected(A, 0, found, KEY)}
        assert store.verify() == [] and len(things.crop_files(path)) == found
        assert len(store.search_objects(things.vector(0, found - 1), 9)) == 1
        store.extend_objects(A, [things.update(KNOWN, 0, found)])
        assert things.content(store) == {KNOWN: things.expected(A, 0, found + 1, KEY)}
    return found


def extend(store) -> None:
    store.extend_objects(A, [things.update(KNOWN, 0, piece) for piece in range(2, 4)])


def remove(store) -> None:
    store.remove_object(KNOWN)


def add(store) -> None:
    store.add_object(B, origin="found")


def test_killed_at_any_line_of_an_update(processes, filled, tmp_path):
    with Store.open(copy(filled, tmp_path / "count"), world.IDENTITY) as store:
        num_lines = crash.count_lines(lambda: extend(store))
    assert num_lines > 100
    held = []
    for line in [*range(1, num_lines, max(1, num_lines // 20)), num_lines]:
        path = copy(filled, tmp_path / "a.vidmem")
        assert run_to_death(processes, crash.act_and_die, str(path), extend, line)
        held.append(check(path, {2, 4}))
    assert held == sorted(held) and set(held) == {2, 4}


def test_killed_at_any_line_of_a_removal(processes, filled, tmp_path):
    with Store.open(copy(filled, tmp_path / "count"), world.IDENTITY) as store:
        num_lines = crash.count_lines(lambda: remove(store))
    held = []
    for line in [*range(1, num_lines, max(1, num_lines // 10)), num_lines]:
        path = copy(filled, tmp_path / "a.vidmem")
        assert run_to_death(processes, crash.act_and_die, str(path), remove, line)
        with Store.open(path, world.IDENTITY) as store:
            held.append(len(store.objects()))
            assert store.verify() == []
            assert things.content(store) == ({KNOWN: things.expected(A, 0, 2, KEY)} if held[-1] else {})
            assert len(things.crop_files(path)) == 2 * held[-1]
    assert held == sorted(held, reverse=True) and set(held) == {0, 1}


def test_killed_at_any_line_of_the_first_object(processes, filled, tmp_path):
    """Whose commit makes the tables: all of them, or none."""
    plain = copy(filled, tmp_path / "plain")
    with Store.open(plain, world.IDENTITY) as store:
        store.remove_object(KNOWN)
    names = ("look_embeddings", "looks", "object_spans", "object_pieces", "objects", "object_store")
    change(plain, *(f"DROP TABLE {name}" for name in names))
    with Store.open(copy(plain, tmp_path / "count"), world.IDENTITY) as store:
        num_lines = crash.count_lines(lambda: add(store))
    held = []
    for line in [*range(1, num_lines, max(1, num_lines // 10)), num_lines]:
        path = copy(plain, tmp_path / "a.vidmem")
        assert run_to_death(processes, crash.act_and_die, str(path), add, line)
        with Store.open(path, world.IDENTITY) as store:
            held.append(len(store.objects()))
            add(store)
            assert len(store.objects()) == held[-1] + 1 and store.verify() == []
    assert held == sorted(held) and set(held) == {0, 1}


def test_no_space_at_any_call_leaves_objects_as_they_were(filled, tmp_path):
    number, failed = 0, 0
    while failed == number:
        number += 1
        path = copy(filled, tmp_path / "a.vidmem")
        shutil.rmtree(path / "crops" / B, ignore_errors=True)
        with Store.open(path, world.IDENTITY) as store:
            with pytest.MonkeyPatch.context() as patch:
                FailingDisk(patch, number)
                try:
                    extend(store)
                except StorageFull:
                    failed += 1
            found = 2 if failed == number else 4
            assert things.content(store) == {KNOWN: things.expected(A, 0, found, KEY)}
            assert len(things.crop_files(path)) == found and store.verify() == []
        check(path, {found})
    assert number > 5


@pytest.mark.parametrize("happened", [False, True])
def test_a_commit_of_unknown_outcome_is_settled_by_the_next_opening(path, happened):
    store = Store.open(path, world.IDENTITY)
    catalogue = store._catalogue
    assert catalogue is not None
    real, before = catalogue._run, catalogue._connection.total_changes

    def fail(query, *values):  # type: ignore[no-untyped-def]
        if query != "COMMIT" or catalogue._connection.total_changes == before:
            return real(query, *values)
        if happened:
            real(query)
        raise KeyboardInterrupt

    catalogue._run = fail
    with pytest.raises(KeyboardInterrupt):
        extend(store)
    catalogue._run = real
    for write in (extend, remove, add):
        with pytest.raises(StorageFull, match="open it again"):
            write(store)
    store.close()
    assert check(path, {2, 4}) == 2 + 2 * happened
