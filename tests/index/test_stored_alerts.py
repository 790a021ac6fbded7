"""Standing questions in a store: kept, told, gone with what they are about; and stores to which none was put."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import store_world as world

from vidmem.errors import NotFound
from vidmem.index import AlertId, AlertRow, NewTold, Store, Told
from vidmem.types import Hit, Span

A, B = (world.video(number).video_id for number in range(2))
DOG = AlertRow("a dog appears", "a dog", "appears", False, False, 2.0, None, "me")
CUP = AlertRow("tell me when the cup is gone", "a cup", "disappears", False, True, 2.0, "rtsp://door/1", "me")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.vidmem"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path, world.IDENTITY) as opened:
        for number in range(2):
            opened.begin_video(world.video(number))
            world.append(opened, world.video(number).video_id, 0)
        yield opened


def tables(store: Store) -> list[str]:
    with store._transaction() as catalogue:
        rows = catalogue.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return [row[0] for row in rows if "alert" in row[0]]


def new_told(alert_id: AlertId, store: Store, video_id: str = A) -> NewTold:
    frame = store.frames_between(video_id, 0.0, 1.0)[0]  # type: ignore[arg-type]
    hit = Hit(frame.video_id, "rtsp://door/1", 1.0, 2.0, 0.5, 1, thumbnail=frame.thumbnail_path, wall_start=1.7e9)
    return NewTold(alert_id, "A dog appeared.", hit)


def test_a_store_to_which_none_was_put_is_as_it_was_before_there_were_any(store: Store) -> None:
    assert store.alerts() == store.told() == []
    assert store.alert_progress(A) is None
    with pytest.raises(NotFound, match="No standing question 1"):
        store.remove_alert(AlertId(1))
    assert tables(store) == []


def test_what_was_asked_and_told_is_there_again(store: Store, path: Path) -> None:
    dog, cup = store.add_alert(DOG), store.add_alert(CUP)
    told = store.note_checked(A, 8.0, {dog.alert_id: "{}", cup.alert_id: "x"}, [new_told(dog.alert_id, store)])
    assert [one.text for one in told] == [DOG.text]
    store.close()
    with Store.open(path, world.IDENTITY, read_only=True) as again:
        assert again.alerts() == [replace(dog, told=1), cup]
        assert again.told() == told
        assert again.told(cup.alert_id) == []
        progress = again.alert_progress(A)
        assert progress is not None and (progress.until, progress.sights) == (8.0, {1: "{}", 2: "x"})
        assert again.alert_progress(B) is None
        assert again.verify() == []


def test_a_question_in_the_same_words_is_the_one_that_is_there(store: Store) -> None:
    dog = store.add_alert(DOG)
    assert store.add_alert(DOG) == dog
    assert store.add_alert(replace(DOG, source="rtsp://other/1")).alert_id != dog.alert_id


def test_a_question_that_is_told_once_is_done_and_may_be_asked_again(store: Store) -> None:
    cup = store.add_alert(CUP)
    store.note_checked(A, 8.0, {}, [new_told(cup.alert_id, store)])
    assert [(one.is_done, one.told) for one in store.alerts()] == [(True, 1)]
    again = store.add_alert(CUP)
    assert again.alert_id != cup.alert_id and not again.is_done


def test_what_was_removed_meanwhile_is_not_told(store: Store) -> None:
    dog, cup = store.add_alert(DOG), store.add_alert(CUP)
    store.note_checked(A, 4.0, {dog.alert_id: "{}"}, [new_told(dog.alert_id, store)])
    assert store.remove_alert(dog.alert_id).told == 1
    assert store.told() == []
    told = store.note_checked(
        A, 8.0, {dog.alert_id: "{}"}, [new_told(dog.alert_id, store), new_told(cup.alert_id, store)]
    )
    assert [one.alert_id for one in told] == [cup.alert_id]
    progress = store.alert_progress(A)
    assert progress is not None and progress.sights == {}
    # A number is never given out twice.
    assert store.add_alert(DOG).alert_id > cup.alert_id
    assert store.verify() == []


def test_with_a_video_goes_what_was_told_of_it(store: Store) -> None:
    dog = store.add_alert(DOG)
    for video_id in (A, B):
        store.note_checked(video_id, 8.0, {dog.alert_id: "{}"}, [new_told(dog.alert_id, store, video_id)])
    store.remove_video(A)
    assert [one.evidence.video_id for one in store.told()] == [B]
    assert store.alert_progress(A) is None and store.alert_progress(B) is not None
    with pytest.raises(NotFound):
        store.note_checked(A, 9.0, {}, [])
    assert [alert.told for alert in store.alerts()] == [1]
    assert store.verify() == []


def test_evidence_whose_picture_is_gone_has_none(store: Store) -> None:
    dog = store.add_alert(DOG)
    (told,) = store.note_checked(A, 8.0, {}, [new_told(dog.alert_id, store)])
    assert told.evidence.thumbnail is not None
    Path(told.evidence.thumbnail).unlink()
    (after,) = store.told()
    assert isinstance(after, Told) and after.evidence == replace(told.evidence, thumbnail=None)


def test_the_newest_are_told_oldest_first(store: Store) -> None:
    dog = store.add_alert(DOG)
    for until in range(5):
        store.note_checked(A, float(until), {}, [new_told(dog.alert_id, store)])
    numbers = [one.told_id for one in store.told()]
    assert numbers == sorted(numbers) and len(numbers) == 5
    assert [one.told_id for one in store.told(limit=2)] == numbers[-2:]


def test_what_was_told_is_a_reason_to_stay(store: Store) -> None:
    dog = store.add_alert(DOG)
    store.note_checked(A, 8.0, {}, [new_told(dog.alert_id, store)])
    assert store.shown_spans(A, 0.0, 8.0, but="") == [Span(1.0, 2.0)]
    assert store.shown_spans(A, 2.0, 8.0, but="") == store.shown_spans(B, 0.0, 8.0, but="") == []
