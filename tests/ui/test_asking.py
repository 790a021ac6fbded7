"""Conversations without a browser, over small random models: each answer goes where it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr
import pytest
from random_models import write_preset

from vidmem.ui.asking import Asking, Talk, lay_out_talk
from vidmem.ui.limits import Limits
from vidmem.ui.player import timeline_of
from vidmem.ui.previews import Previews
from vidmem.ui.session import Opened, Session
from vidmem.ui.shell import Shell
from vidmem.ui.visits import Visit
from vidmem.world.video import render_file


@dataclass
class Asked:
    """The conversation's side of a page over a store of two videos."""

    asking: Asking
    parts: Talk
    videos: list[Opened]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("asking")
    session = Session([folder / "a.vidmem"], preset=str(write_preset(folder)), limits=Limits((folder,)))
    (store,) = session.stores()
    for number in range(2):
        render_file(folder / f"{number}.mp4", seed=number, duration=8, fps=1, size=(160, 90))
        session.ingest(store, folder / f"{number}.mp4").result(120)
    with gr.Blocks():
        shell = Shell(session, gr.State(), gr.State(), gr.HTML(), {}, Previews(session))
        parts = lay_out_talk()
        asking = Asking(shell, parts, timeline_of("#player"))
    yield Asked(asking, parts, [Opened(store.key, str(folder / f"{number}.mp4")) for number in range(2)])
    session.close()


def test_an_answer_that_ends_after_another_video_was_opened_goes_into_its_own_conversation(asked: Asked) -> None:
    first, second = asked.videos
    visit = Visit(first)
    answering = asked.asking.ask("Was there a dog?", visit)
    assert "Was there a dog?" in next(answering)[asked.parts.saying]
    assert asked.asking.open(visit)[asked.parts.stop].visible
    visit.opened = second
    assert not asked.asking.open(visit)[asked.parts.stop].visible
    assert list(answering) == [], "nothing is written over what is shown of the other video"
    assert visit.said(second.key) == ()
    assert [turn.asked for turn in visit.said(first.key)] == ["Was there a dog?"]
    visit.opened = first
    assert "Was there a dog?" in "".join(asked.asking.open(visit)[asked.parts.log].value)


def test_two_videos_can_be_asked_about_at_once_and_one_only_once(asked: Asked) -> None:
    first, second = asked.videos
    visit = Visit(first)
    one = asked.asking.ask("Was there a dog?", visit)
    next(one)
    assert list(asked.asking.ask("Was there a cat?", visit)) == []
    visit.opened = second
    *_, last = asked.asking.ask("Was there a cup?", visit)
    assert "Was there a cup?" in "".join(last[asked.parts.log].value)
    visit.opened = first
    *_, last = one
    (said,) = last[asked.parts.log].value
    assert "Was there a dog?" in said and "cat" not in said
    *_, last = asked.asking.ask("Was there a cat?", visit)
    assert [turn.asked for turn in visit.said(first.key)] == ["Was there a dog?", "Was there a cat?"]


def test_stop_ends_the_answer_of_the_video_that_is_shown(asked: Asked) -> None:
    first, second = asked.videos
    visit = Visit(first)
    answering = asked.asking.ask("Was there a dog?", visit)
    next(answering)
    visit.opened = second
    visit.stop()
    visit.opened = first
    visit.stop()
    list(answering)
    (turn,) = visit.said(first.key)
    assert turn.is_stopped and turn.answer.text == ""


def test_an_answer_that_nobody_waits_for_leaves_the_conversation_free(asked: Asked) -> None:
    visit = Visit(asked.videos[0])
    answering = asked.asking.ask("Was there a dog?", visit)
    next(answering)
    answering.close()
    assert not visit.is_answering and visit.said(visit.conversation) == ()


def test_what_can_not_be_answered_is_said_and_the_next_question_is_free(asked: Asked) -> None:
    visit = Visit()
    *_, last = asked.asking.ask("Was there a dog?", visit)
    assert "open a video" in last[asked.parts.saying] and not visit.is_answering
