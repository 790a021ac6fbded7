"""The queue between receiving and consuming is bounded, and counts what it drops to the frame."""

from __future__ import annotations

import random
import threading
import time

import pytest

from vidmem.ingest.live.handover import Handover, Policy
from vidmem.ingest.live.item import Gap, LiveFrame


def frame(number: int) -> LiveFrame:
    return LiveFrame(float(number), (), 0.0, 0.0, 1)


def gap(start: float, end: float) -> Gap:
    return Gap(start, end, 1000.0 + start, 1000.0 + end, "why")


def left(handover: Handover) -> list[LiveFrame | Gap]:
    handover.close()
    items = []
    while (item := handover.get()) is not None:
        items.append(item)
    return items


def test_the_oldest_frames_make_room() -> None:
    handover = Handover(3, "drop-oldest")
    for number in range(10):
        handover.put(frame(number))
    assert [item.pts_seconds for item in left(handover) if isinstance(item, LiveFrame)] == [7.0, 8.0, 9.0]
    assert (handover.num_given, handover.num_dropped) == (10, 7)


def test_a_gap_is_never_dropped_and_keeps_its_place() -> None:
    handover = Handover(2, "drop-oldest")
    handover.put(frame(0))
    handover.put(gap(0, 5))
    for number in (5, 6, 7):
        handover.put(frame(number))
    kinds = [item if isinstance(item, Gap) else item.pts_seconds for item in left(handover)]
    assert kinds == [gap(0, 5), 6.0, 7.0]


def test_too_many_gaps_become_one_and_what_lay_between_is_counted() -> None:
    handover = Handover(2, "drop-oldest")
    for start in (0, 10, 20):
        handover.put(gap(start, start + 5))
        handover.put(frame(start + 6))
    items = left(handover)
    assert [item for item in items if isinstance(item, Gap)] == [gap(0, 15), gap(20, 25)]
    frames = sum(isinstance(item, LiveFrame) for item in items)
    assert handover.num_dropped + frames == handover.num_given == 3


@pytest.mark.parametrize("policy", ["drop-oldest", "block"])
def test_every_frame_is_taken_or_counted_as_dropped(policy: Policy) -> None:
    handover = Handover(4, policy)
    given = 3000

    def give() -> None:
        for number in range(given):
            handover.put(frame(number))
        handover.close()

    giver = threading.Thread(target=give)
    giver.start()
    taken, chance = [], random.Random(1)
    while (item := handover.get()) is not None:
        taken.append(item)
        assert handover.num_waiting <= 4
        if chance.random() < 0.01:
            time.sleep(0.001)
    giver.join()
    times = [item.pts_seconds for item in taken if isinstance(item, LiveFrame)]
    assert times == sorted(times)
    assert len(times) + handover.num_dropped == handover.num_given == given
    assert handover.num_dropped == 0 or policy == "drop-oldest"


@pytest.mark.parametrize("discard", [False, True])
def test_closing_wakes_whoever_waits_to_give_or_to_take(discard: bool) -> None:
    full, empty = Handover(1, "block"), Handover(1, "block")
    full.put(frame(0))
    got: list[object] = []
    waiting = [
        threading.Thread(target=full.put, args=(frame(1),)),
        threading.Thread(target=lambda: got.append(empty.get())),
    ]
    for thread in waiting:
        thread.start()
    for handover in (full, empty):
        handover.close(discard=discard)
    for thread in waiting:
        thread.join()
    assert got == [None]
    assert (full.num_given, full.num_dropped) == (2, 2 if discard else 1)


def test_an_error_comes_after_what_came_before_it() -> None:
    handover = Handover(4, "block")
    handover.put(frame(0))
    handover.close(OSError("gone"))
    assert handover.get() is not None
    with pytest.raises(OSError, match="gone"):
        handover.get()
