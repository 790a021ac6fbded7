"""Whether a thing is there, clip by clip: what is told, and how often the video-LLM is asked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.index import Change
from vidmem.pipelines.sight import Clue, Look, Sight, Step, clue_of, confirmed, is_due, passed, refused

FPS = 2
GONE = 2.0
SHOWN, NOT_SHOWN = 3.0, -9.0
"""Nats of the encoder for a frame that shows the thing, and for one that does not."""

Told = tuple[str, float]
"""The change, and when it happened."""


def clip(index: int, odds: Sequence[float]) -> Look:
    """The clip of second `index`, its frames evenly over it."""
    starts = index + np.arange(len(odds)) / len(odds)
    return Look(starts, starts + 1 / len(odds), np.array(odds) / 20, np.array(odds))


def after(sight: Sight, look: Look, says: Callable[[Clue], bool]) -> tuple[Step, Clue | None, bool]:
    """One clip further: the step, what was suspected, and whether the video-LLM was asked."""
    clue = clue_of(sight, look)
    if clue is None or not is_due(sight, clue):
        return Step(passed(sight, look, clue)), clue, False
    is_there = says(clue) == (clue.change == "appears")
    if not clue.is_so(12.0 if is_there else -12.0):
        return Step(refused(sight, look, clue)), clue, True
    return confirmed(sight, look, clue, GONE), clue, True


def watched(clips: Sequence[Sequence[float]], says: Callable[[int, Clue], bool]) -> tuple[list[Told], list[Sight]]:
    """What is told of some clips, and the sight after each. `says` confirms or refuses."""
    sight, told, sights = Sight(), [], []
    for index, odds in enumerate(clips):
        step, clue, _ = after(sight, clip(index, odds), lambda clue, index=index: says(index, clue))  # type: ignore[misc]
        if step.is_told:
            assert clue is not None
            told.append((clue.change, clue.at))
        sight = step.sight
        sights.append(sight)
    return told, sights


odds_of_clip = st.lists(st.sampled_from([-9.0, -2.1, -1.5, -0.2, 0.1, 0.4, 5.0]), min_size=FPS, max_size=FPS)
any_clips = st.lists(odds_of_clip, min_size=1, max_size=40)
whatever = st.randoms(use_true_random=False)


def seen(*presences: tuple[float, float], seconds: int) -> list[list[float]]:
    """Nats of frames that show a thing in these stretches."""
    times = np.arange(seconds * FPS) / FPS
    shown = [SHOWN if any(start <= time < end for start, end in presences) else NOT_SHOWN for time in times]
    return [shown[first : first + FPS] for first in range(0, len(shown), FPS)]


def test_a_thing_that_comes_and_goes_is_told_twice_each() -> None:
    told, _ = watched(seen((1.5, 5.0), (9.0, 12.0), seconds=16), lambda *_: True)
    assert told == [("appears", 1.5), ("disappears", 5.0), ("appears", 9.0), ("disappears", 12.0)]


def test_what_hides_for_a_moment_is_not_told_again() -> None:
    told, _ = watched(seen((1.0, 4.0), (5.0, 5.5), (6.5, 9.0), seconds=14), lambda *_: True)
    # It is told to be gone when it hides, for nobody knows that it will be back. Then it was there for 2.5 s.
    assert told == [("appears", 1.0), ("disappears", 4.0), ("disappears", 9.0)]


@given(any_clips, whatever)
def test_an_alert_is_told_once_for_each_appearance(clips: list[list[float]], random: object) -> None:
    answers = random.choices([True, False], k=len(clips))  # type: ignore[attr-defined]
    told, sights = watched(clips, lambda index, _: answers[index])
    times = {kind: [at for change, at in told if change == kind] for kind in ("appears", "disappears")}
    for earlier, later in zip(times["appears"], times["appears"][1:], strict=False):
        gone = [sight.since for sight in sights if not sight.is_there and sight.since is not None]
        assert any(earlier < at <= later - GONE for at in gone)
    for earlier, later in zip(times["disappears"], times["disappears"][1:], strict=False):
        assert later - earlier >= GONE
    assert [at for _, at in told] == sorted(at for _, at in told)


@given(any_clips, whatever)
def test_nothing_is_told_that_was_not_confirmed(clips: list[list[float]], random: object) -> None:
    assert watched(clips, lambda *_: False)[0] == []
    answers = random.choices([True, False], k=len(clips))  # type: ignore[attr-defined]
    confirmations: list[Told] = []

    def says(index: int, clue: Clue) -> bool:
        if answers[index]:
            confirmations.append((clue.change, clue.at))
        return answers[index]

    told, _ = watched(clips, says)
    assert set(told) <= set(confirmations)


@given(any_clips, whatever)
def test_a_sight_out_of_the_store_goes_on_as_if_nothing_had_been(clips: list[list[float]], random: object) -> None:
    answers = random.choices([True, False], k=len(clips))  # type: ignore[attr-defined]
    sight = kept = Sight()
    for index, odds in enumerate(clips):
        said = answers[index]
        step, again = (after(one, clip(index, odds), lambda _, said=said: said)[0] for one in (sight, kept))  # type: ignore[misc]
        assert again == step
        sight, kept = step.sight, Sight(**json.loads(json.dumps(dataclasses.asdict(step.sight))))


@given(any_clips, whatever)
def test_changes_take_turns_and_a_clue_names_frames_of_its_clip(clips: list[list[float]], random: object) -> None:
    answers = random.choices([True, False], k=len(clips))  # type: ignore[attr-defined]
    sight = Sight()
    for index, odds in enumerate(clips):
        look, said = clip(index, odds), answers[index]
        step, clue, was_asked = after(sight, look, lambda _, said=said: said)  # type: ignore[misc]
        if clue is not None:
            assert clue.change == ("disappears" if sight.is_there else "appears")
            assert 1 <= len(clue.frames) <= 4 and list(clue.frames) == sorted(set(clue.frames))
            assert clue.best in clue.frames and clue.at <= look.ends[-1]
        assert (step.sight.is_there != sight.is_there) == (was_asked and said)
        sight = step.sight


def test_what_looks_like_it_all_day_is_asked_about_ever_less() -> None:
    asked = []
    watched([[1.0, 1.0]] * 200, lambda index, _: bool(asked.append(index)))  # type: ignore[func-returns-value]
    assert asked[:6] == [0, 1, 3, 7, 15, 31]
    assert all(later - earlier == 32 for earlier, later in zip(asked[6:], asked[7:], strict=False))


def test_what_grows_is_asked_about_at_once() -> None:
    asked: list[int] = []

    def says(index: int, _: Clue) -> bool:
        asked.append(index)
        return index == 20

    told, _ = watched([[1.0, 1.0]] * 20 + [[1.0, 1.6]], says)
    assert asked == [0, 1, 3, 7, 15, 20]
    # It was there as far as the encoder can tell, from the clip's first frame on.
    assert told == [("appears", 20.0)]


def test_the_encoder_losing_sight_is_no_going_while_the_video_llm_sees_it() -> None:
    clips = seen((0.0, 3.0), seconds=3) + [[-1.0, -1.0]] * 10 + seen((0.0, 3.0), seconds=3) + [[-1.0, -1.0]] * 4
    told, _ = watched(clips, lambda index, clue: clue.change == "appears" or index >= 16)
    assert told == [("appears", 0.0), ("disappears", 16.0)]


def test_one_frame_at_the_end_of_a_clip_is_not_enough_at_a_high_rate() -> None:
    first = clip(0, [SHOWN] * 10)
    sight = confirmed(Sight(), first, clue_of(Sight(), first) or pytest.fail(), GONE).sight
    assert clue_of(sight, clip(1, [SHOWN] * 9 + [NOT_SHOWN])) is None
    clue = clue_of(sight, clip(1, [SHOWN] * 5 + [NOT_SHOWN] * 5))
    assert clue is not None and clue.at == pytest.approx(1.5) and clue.frames == (6, 7, 8, 9)


def test_neither_model_is_sure_alone() -> None:
    def clue(change: Change, strength: float) -> Clue:
        return Clue(change, 0.0, (0,), 0, strength)

    assert clue("appears", 3.0).is_so(5.0) and clue("disappears", 3.0).is_so(-5.0)
    assert clue("appears", -1.6).is_so(9.5), "the video-LLM is so sure that the encoder may doubt"
    assert not clue("appears", 1.1).is_so(4.0), "both only think so"
    assert not clue("appears", 20.0).is_so(0.5) and not clue("disappears", 20.0).is_so(-0.5)
    assert not clue("appears", 3.0).is_so(-9.0) and not clue("disappears", 3.0).is_so(9.0)


def test_what_the_encoder_hardly_knows_is_asked_about_when_it_comes_and_when_it_goes() -> None:
    asked: list[int] = []
    clips = [[NOT_SHOWN] * 2] * 2 + [[-2.0, -1.5]] + [[-1.6, -1.7]] * 8 + [[-1.5, NOT_SHOWN]] + [[NOT_SHOWN] * 2] * 3
    told, _ = watched(clips, lambda index, _: not asked.append(index))  # type: ignore[func-returns-value]
    assert told == [("appears", 2.0), ("disappears", 11.5)] and asked == [2, 11]


def test_the_video_llm_sees_the_frame_before_a_thing_came_and_none_before_it_went() -> None:
    assert clue_of(Sight(), clip(0, [NOT_SHOWN, SHOWN])) == Clue("appears", 0.5, (0, 1), 1, SHOWN)
    assert clue_of(Sight(is_there=True), clip(0, [SHOWN, NOT_SHOWN])) == Clue("disappears", 0.5, (1,), 1, -NOT_SHOWN)
