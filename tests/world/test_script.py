"""Scripts hold what they promise, whatever the seed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidmem.world.script import PLACES, Script, ScriptConfig

seeds = st.integers(0, 2**40)


@given(seed=seeds, duration=st.floats(8, 400))
@settings(max_examples=40, deadline=None)
def test_two_things_never_hold_one_place_at_one_time(seed: int, duration: float) -> None:
    script = Script(ScriptConfig(seed=seed, duration=duration))
    for chapter in script.chapters():
        for index, one in enumerate(chapter.stays):
            for other in chapter.stays[index + 1 :]:
                if one.span.overlaps(other.span):
                    assert not one.places() & other.places()


@given(seed=seeds, duration=st.floats(8, 400))
@settings(max_examples=40, deadline=None)
def test_stays_lie_within_their_chapter_and_chapters_fill_the_script(seed: int, duration: float) -> None:
    script = Script(ScriptConfig(seed=seed, duration=duration))
    end = 0.0
    for chapter in script.chapters():
        assert chapter.span.start == end
        end = chapter.span.end
        assert all(chapter.span.start <= stay.span.start and stay.span.end <= end for stay in chapter.stays)
    assert end == duration


@given(seed=seeds, minutes=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_a_needle_appears_exactly_once(seed: int, minutes: int) -> None:
    script = Script(ScriptConfig(seed=seed, duration=minutes * 60.0, needle="rocket"))
    found = [stay for stay in script.stays() if stay.thing == "rocket"]
    assert len(found) == 1
    assert found[0].moves_to is None


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_a_chapter_is_the_same_whichever_was_asked_for_first(seed: int) -> None:
    config = ScriptConfig(seed=seed, duration=300.0)
    forward = list(Script(config).chapters())
    backward = Script(config)
    assert [backward.chapter(index) for index in range(4, -1, -1)][::-1] == forward


def test_a_day_of_the_world_is_not_made_to_see_its_last_minute() -> None:
    script = Script(ScriptConfig(seed=1, duration=86_400.0))
    assert script.chapter_at(86_399.0).index == 1439
    assert script.chapter.cache_info().currsize == 1


def test_a_mover_holds_both_places_and_none_between() -> None:
    stays = [stay for seed in range(30) for stay in Script(ScriptConfig(seed=seed, duration=120.0)).stays()]
    movers = [stay for stay in stays if stay.moves_to is not None]
    assert movers
    for stay in movers:
        assert stay.moves_at is not None
        assert stay.place_at(stay.moves_at) == stay.place
        assert stay.place_at(stay.moves_at + 0.5) is None
        assert stay.place_at(stay.moves_at + 1.0) == stay.moves_to
        assert stay.place in PLACES and stay.moves_to != stay.place


def test_no_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="duration above 0"):
        Script(ScriptConfig(seed=1, duration=0.0))
