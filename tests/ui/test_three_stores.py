"""What the Memory screen shows of a memory: every store, in words that a person understands, and no more than fits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory import MemoryState, StoreState
from vidmem.pipelines import Contents, Held, Size, TierBytes
from vidmem.types import VideoId
from vidmem.ui.three_stores import MOST, Look, evenly, three_stores


def held(start: float, *, frames: float = 1.0, usage: float = 0.0, life: float = 0.0, placed: bool = False) -> Held:
    picture = f"/s/thumbs/v/{start:03.0f}.jpg"
    return Held(start, start + frames, start, picture, frames, usage, life, place=(0.5, -0.25) if placed else None)


def contents(num_working: int = 3, num_long_term: int = 4, *, usage: float = 0.0) -> Contents:
    def state(name: str, num: int, bound: float, unit: str) -> StoreState:
        return StoreState(name, num, num * 4, num * 1000, num * 2000, bound, unit, 0.0, 2.0)  # type: ignore[arg-type]

    return Contents(
        video_id=VideoId("0" * 16),
        name="street.mp4",
        policy="hippomm",
        until=60.0,
        num_frames=60,
        sensory=(held(58.0), held(59.0)),
        working=tuple(held(60.0 - n) for n in range(num_working, 0, -1)),
        long_term=tuple(held(float(n), usage=usage, life=4.0, placed=True) for n in range(num_long_term)),
        num_levels=1,
        state=MemoryState(
            state("sensory", 2, 8.0, "seconds"),
            state("working", num_working, 32.0, "frames"),
            state("long-term", num_long_term, 1024.0, "elements"),
        ),
    )


def look(told: Contents) -> Look:
    growth = [Size(float(n), n, min(n, 8), min(n, 32), max(0, n - 32)) for n in range(1, 61)]
    tiers = (
        TierBytes("accelerator", ()),
        TierBytes("ram", (("working", 12_345),)),
        TierBytes("disk", (("index", 10**6),)),
    )
    return Look(told, "Key frames of segments", growth, tiers)


def test_three_boxes_stand_in_the_order_that_a_frame_goes_through_them() -> None:
    told = three_stores(look(contents()))
    assert [box["title"] for box in told["boxes"]] == ["Sensory memory", "Working memory", "Long-term memory"]
    assert [len(box["held"]) for box in told["boxes"]] == [2, 3, 4]
    assert [box["full"] for box in told["boxes"]] == [
        "2 frames of the last 8 s",
        "3 frames, room for 32",
        "4 prototypes, room for 1,024",
    ]
    assert [box["share"] for box in told["boxes"]] == [
        0.25,
        pytest.approx(3 / 32, abs=1e-3),
        pytest.approx(4 / 1024, abs=1e-3),
    ]
    assert told["arrows"] == ["60 frames came in, all passed on", "57 frames moved on, 4 prototypes are kept"]
    assert all(box["says"].count(".") <= 2 for box in told["boxes"])


def test_what_the_page_gets_is_json_with_the_folder_of_pictures_once() -> None:
    told = three_stores(look(contents()))
    assert json.loads(json.dumps(told)) == told
    assert told["thumbnails"] == "/s/thumbs/v/"
    assert told["boxes"][2]["held"][1] == {
        "start": 1.0, "end": 2.0, "at": 1.0, "thumbnail": "001.jpg", "frames": 1.0, "usage": 0.0, "life": 4.0,
        "level": 0, "x": 0.5, "y": -0.25,
    }  # fmt: skip
    assert "x" not in told["boxes"][1]["held"][0]


def test_a_memory_that_nothing_was_consolidated_in_says_so() -> None:
    told = three_stores(look(contents(num_working=60, num_long_term=0)))
    assert told["arrows"][1] == "none has moved on yet" and told["boxes"][2]["held"] == []
    assert "moved on, 1 prototype is kept" in three_stores(look(contents(num_long_term=1)))["arrows"][1]


def test_what_was_used_is_told_once_something_was_asked() -> None:
    assert "ask something" in three_stores(look(contents()))["reads"]
    assert three_stores(look(contents(usage=0.5)))["reads"].startswith("4 of 4 prototypes were of use")


def test_of_many_prototypes_so_many_are_sent_and_that_is_said() -> None:
    told = three_stores(look(contents(num_long_term=1000)))
    assert len(told["boxes"][2]["held"]) == MOST
    assert told["boxes"][2]["note"] == f"Of 1,000 prototypes {MOST} are shown, evenly along the time."
    assert told["boxes"][2]["full"].startswith("1,000 prototypes")


@given(st.integers(0, 700), st.integers(2, 300))
def test_a_choice_is_even_in_order_and_has_both_ends(num: int, most: int) -> None:
    given_ones = [held(float(n)) for n in range(num)]
    chosen = [one.start for one in evenly(given_ones, most)]
    assert len(chosen) == min(num, most) and chosen == sorted(set(chosen))
    if num:
        assert chosen[0] == 0.0 and chosen[-1] == num - 1.0
    steps = {round(b - a) for a, b in zip(chosen, chosen[1:], strict=False)}
    assert not steps or max(steps) - min(steps) <= 1


def test_growth_says_whether_it_is_told_whole() -> None:
    assert three_stores(look(contents()))["growth"]["whole"] is True
    bit = Look(contents(), "", look(contents()).growth[:20], ())
    told = three_stores(bit)["growth"]
    assert told["whole"] is False and [len(line["sizes"]) for line in told["lines"]] == [20, 20, 20]
    assert [line["bound"] for line in told["lines"]] == [None, 32.0, 1024.0]


def test_tiers_are_told_fastest_first_and_the_archive_by_the_disk() -> None:
    told = three_stores(look(contents()))
    assert [(tier["name"], tier["total"]) for tier in told["tiers"]] == [
        ("GPU", "0 B"),
        ("RAM", "12.3 kB"),
        ("Disk", "1.0 MB"),
    ]
    assert "all 60 frames lie filed on disk, in 1.0 MB" in told["archive"]
