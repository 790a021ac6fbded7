"""What the page says is text: nothing from a model or a file name becomes markup."""

from __future__ import annotations

from vidmem.types import Answer, Hit, VideoId
from vidmem.ui import words
from vidmem.ui.session import Progress

BEACON = '<img src="http://203.0.113.7/x" onerror=alert(1)>'


def test_answers_errors_and_messages_are_escaped() -> None:
    for shown in (
        words.answer(BEACON),
        words.answer(BEACON, done=True),
        words.error(BEACON),
        words.status(Progress("failed", BEACON)),
    ):
        assert "<img" not in shown and "&lt;img" in shown


def test_a_bar_is_shown_only_while_there_is_something_to_wait_for() -> None:
    assert 'value="0.250"' in words.status(Progress("watching", "Watched 00:15 of 01:00", 0.25))
    assert "<progress" in words.status(Progress("opening", "Loading the models"))
    assert "<progress" not in words.status(Progress("ready", "Watched"))
    assert 'role="alert"' in words.status(Progress("failed", "no video in it"))


def test_evidence_is_captioned_with_its_span_and_score() -> None:
    hit = Hit(VideoId("0" * 16), "a.mp4", 61.0, 3661.5, 0.8123, 0)
    assert words.caption(hit) == "00:01:01-01:01:01  ·  0.81"
    early = Hit(VideoId("0" * 16), "a.mp4", 61.0, 61.2, 0.8123, 0)
    assert words.caption(early) == "01:01.000-01:01.200  ·  0.81"
    assert words.caption(early, hours=True) == "00:01:01.000-00:01:01.200  ·  0.81"


def test_each_stretch_of_evidence_is_a_button_that_names_its_time_and_picture() -> None:
    hits = [
        Hit(VideoId("0" * 16), "a.mp4", 61.0, 65.5, 0.8123, 0, thumbnail='/a store/"x"#1.jpg'),
        Hit(VideoId("0" * 16), "a.mp4", 3.0, 4.0, 0.5, 1),
    ]
    shown = words.evidence(hits)
    assert shown.count("<button") == 2 and 'data-seek="61.0"' in shown and 'data-seek="3.0"' in shown
    assert 'src="gradio_api/file=/a%20store/%22x%22%231.jpg"' in shown and shown.count("<img") == 1
    assert shown.index("★ 1") < shown.index("00:03-00:04") < shown.index("★ 2")


def test_an_answer_without_evidence_says_so() -> None:
    assert "Nothing in memory matches" in words.below(Answer("q", "No.", ()))
