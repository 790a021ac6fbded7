"""Work behind the caller: in order, several pieces at a time, with its errors raised where it is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from vidmem.pipelines.behind import Behind

NEVER = 600.0


def behind(
    work: Callable[[list[str]], None], *, together: int = 3, most_bytes: int = 100, patience: float = NEVER
) -> Behind[str]:
    return Behind("work", work, together=together, most_bytes=most_bytes, patience_seconds=patience)


def test_pieces_that_fill_a_group_are_done_together_and_the_rest_on_leaving() -> None:
    done: list[list[str]] = []
    with behind(done.append) as pieces:
        for piece in "abcdefg":
            pieces.give(piece)
    assert done == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


def test_a_group_is_full_of_bytes_too() -> None:
    done: list[list[str]] = []
    with behind(done.append) as pieces:
        for piece, num_bytes in (("a", 99), ("b", 1), ("c", 500), ("d", 1)):
            pieces.give(piece, num_bytes=num_bytes)
    assert done == [["a", "b"], ["c"], ["d"]]


def test_a_piece_does_not_wait_for_others_for_ever() -> None:
    begun = threading.Event()
    with behind(lambda group: begun.set(), patience=0.01) as pieces:
        pieces.give("a")
        assert begun.wait(60)


def test_the_caller_waits_while_a_full_group_waits() -> None:
    may_end, begun, given = threading.Event(), threading.Event(), []

    def work(group: list[str]) -> None:
        begun.set()
        assert may_end.wait(60)

    def give_all() -> None:
        with behind(work, together=2) as pieces:
            for piece in "abcdef":
                pieces.give(piece)
                given.append(piece)

    caller = threading.Thread(target=give_all)
    caller.start()
    assert begun.wait(60)
    caller.join(0.05)
    assert len(given) <= 3  # "d" fills a group, and "a" and "b" are not done
    may_end.set()
    caller.join(60)
    assert given == list("abcdef")


def test_one_by_one_a_piece_begins_once_what_follows_the_one_before_was_called() -> None:
    order: list[str] = []
    with behind(lambda group: order.extend(group), together=1) as pieces:
        for piece in "abc":
            pieces.give(piece, then=lambda piece=piece: order.append(piece.upper()))
        pieces.finish()
    assert order == ["a", "A", "b", "B", "c", "C"]


def test_what_follows_a_piece_is_called_in_the_callers_thread_once_it_is_done() -> None:
    done: list[str] = []
    followed: list[tuple[str, str]] = []

    def follow(piece: str) -> Callable[[], None]:
        def then() -> None:
            assert piece in done
            followed.append((piece, threading.current_thread().name))

        return then

    def work(group: list[str]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        done.extend(group)

    with behind(work) as pieces:
        pieces.finish()  # nothing is there yet
        for piece in "abcd":
            pieces.give(piece, then=follow(piece))
        pieces.finish()
        assert followed == [(piece, "MainThread") for piece in "abcd"]
    assert len(followed) == 4


def test_an_error_is_raised_where_the_work_is_waited_for_and_ends_it() -> None:
    done, followed = [], []

    def fail_at_b(group: list[str]) -> None:
        if "b" in group:
            raise OSError("no")
        done.extend(group)

    with behind(fail_at_b, together=2) as pieces:
        pieces.give("a")
        pieces.finish()
        pieces.give("b", then=lambda: followed.append("b"))
        with pytest.raises(OSError, match="no"):
            pieces.finish()
        with pytest.raises(OSError, match="no"):
            pieces.give("c")
    assert done == ["a"] and followed == []  # what comes behind a piece that failed is not done either


def test_leaving_raises_what_failed_and_notes_it_on_an_error_that_is_on_its_way() -> None:
    def fail(group: list[str]) -> None:
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"), behind(fail) as pieces:
        pieces.give("a")
    with pytest.raises(ValueError, match="the source") as raised, behind(fail) as pieces:
        pieces.give("a")
        raise ValueError("the source")
    assert "the disk" in raised.value.__notes__[0]


def test_leaving_with_an_error_does_what_was_handed_over() -> None:
    done: list[list[str]] = []
    with pytest.raises(ValueError, match="the source"), behind(done.append) as pieces:
        pieces.give("a")
        pieces.give("b")
        raise ValueError("the source")
    assert done == [["a", "b"]]


def test_the_work_has_one_core_and_all_other_threads_what_they_had() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen: list[int] = []
        with behind(lambda group: seen.append(torch.get_num_threads())) as pieces:
            pieces.give("a")
            pieces.finish()
            new = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            new.start()
            new.join()
        assert [*seen, torch.get_num_threads()] == [1, 2, 2]
    finally:
        torch.set_num_threads(before)
