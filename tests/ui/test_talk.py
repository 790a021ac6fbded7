"""What the conversation says is text, and evidence is what was found: nothing from a model becomes markup."""

from __future__ import annotations

import re

from vidmem.pipelines.finding import WEAK
from vidmem.types import Answer, Hit, Reading, VideoId
from vidmem.ui import talk
from vidmem.ui.talk import Turn

BEACON = '<img src="http://203.0.113.7/x" onerror=alert(1)>'
VIDEO = VideoId("0" * 16)


def hit(start: float, end: float, **more: object) -> Hit:
    return Hit(VIDEO, "a.mp4", start, end, 0.8123, 0, **more)  # type: ignore[arg-type]


def turn(text: str, *hits: Hit, asked: str = "When?", reading: Reading | None = None, hours: bool = False) -> Turn:
    return Turn(asked, Answer(asked, text, hits, {"total": 1.5}, reading), hours)


def test_questions_answers_and_reasons_are_escaped() -> None:
    for shown in (
        talk.said(turn(BEACON, hit(1, 2, why=BEACON), asked=BEACON)),
        talk.saying(BEACON, BEACON),
        talk.trouble(BEACON, BEACON),
    ):
        assert "<img" not in shown and "&lt;img" in shown


def test_each_stretch_of_evidence_is_a_button_that_names_its_time_and_picture() -> None:
    found = [hit(61.0, 65.5, thumbnail='/a store/"x"#1.jpg', why="seen"), hit(3.0, 4.0)]
    shown = talk.said(turn("Yes.", *found))
    assert shown.count("<button") == 2 and 'data-seek="61.0"' in shown and 'data-seek="3.0"' in shown
    assert 'src="gradio_api/file=/a%20store/%22x%22%231.jpg"' in shown and shown.count("<img") == 1
    assert shown.index("★ 1") < shown.index("★ 2") and "01:01-01:05" in shown
    assert "00:01:01-00:01:05" in talk.said(turn("Yes.", *found, hours=True))


def test_evidence_of_a_whole_store_names_its_video_and_leads_there() -> None:
    found = Answer("When?", "Yes.", (hit(61.0, 65.5, why="seen"),), {})
    shown = talk.said(Turn("When?", found, False, store="/k.vidmem", is_of_store=True))
    assert f'data-choose="open" data-store="/k.vidmem" data-video="{VIDEO}" data-seek="61.0"' in shown
    assert "<span>a.mp4</span>" in shown and "go to 01:01-01:05 of a.mp4" in shown


def test_where_all_is_weak_it_says_so_and_shows_no_best_guess() -> None:
    shown = talk.said(turn("No.", hit(1, 2, why=WEAK, thumbnail="/x.jpg")))
    assert talk.NOTHING in shown and "vm-chip" not in shown and shown.index(talk.NOTHING) < shown.index("No.")
    assert talk.saying("When?", "No", is_weak=True).index(talk.NOTHING) > 0
    some = talk.said(turn("Yes.", hit(1, 2, why=WEAK), hit(3, 4, why="looks like 'a dog'")))
    assert talk.NOTHING not in some and some.count('vm-chip"') == 2


def test_what_was_read_is_told_with_its_numbers() -> None:
    reading = Reading("kv", [(VIDEO, float(second)) for second in range(100)], 97, 2, 2100)
    shown = talk.said(turn("Yes.", hit(1, 2, why="looks like 'a dog'"), reading=reading))
    words = re.sub(r"<[^>]+>", " ", shown)
    for part in (
        "100 frames",
        "97 KV blocks",
        "2 elements",
        "2100 tokens",
        "0.81",
        "long-term",
        "looks like",
        "1.50 s",
    ):
        assert part in words
    assert shown.count("data-seek") == 1 + 60 and "and 40 more" in words


def test_a_question_that_was_understood_otherwise_says_how() -> None:
    asked = Turn("Where was it?", Answer("Where was the dog?", "Left.", ()), False)
    assert "Understood as: <q>Where was the dog?</q>" in talk.said(asked)
    assert "Understood" not in talk.said(turn("Left."))
