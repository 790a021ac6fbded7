"""How alerts on world video are held against the truth: what is told too much, too little, or too late."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from vidmem.bench.live_alerts import FPS, ToldEvent, score, truth
from vidmem.index import Change
from vidmem.world.script import THINGS, Script, ScriptConfig

CHANGES: tuple[Change, ...] = ("appears", "disappears")


def world(seed: int) -> Script:
    return Script(ScriptConfig(seed=seed, duration=150.0))


def perfect(script: Script, *, late: float = 0.0) -> list[ToldEvent]:
    """What is told by who sees all, at the next frame, or by so much later."""
    told = []
    for thing in THINGS:
        for change in CHANGES:
            for event, _ in truth(script, thing, change):
                at = -(-event.at * FPS // 1) / FPS + late
                told.append(ToldEvent(thing, change, at, at + 1.0, at + 1.25))
    return told


@given(st.integers(0, 1000))
def test_who_tells_all_that_happens_is_right(seed: int) -> None:
    script = world(seed)
    result = score(seed, script, THINGS, perfect(script))
    assert (result.precision, result.recall) == (1.0, 1.0) and result.right > 20
    assert result.asked == 2 * len(THINGS)
    assert all(1.0 <= delay <= 1.5 for delay in result.delays)
    assert [heard - delay for heard, delay in zip(result.heard, result.delays, strict=True)] == [0.25] * result.right


@given(st.integers(0, 1000))
def test_whoever_tells_nothing_misses_all_and_says_nothing_wrong(seed: int) -> None:
    result = score(seed, world(seed), THINGS, [])
    assert (result.right, result.recall, result.wrong) == (0, 0.0, ())
    assert len(result.missed) > 20


@given(st.integers(0, 1000), st.sampled_from(CHANGES))
def test_what_is_told_twice_or_of_what_is_not_there_is_wrong(seed: int, change: Change) -> None:
    script = world(seed)
    told = perfect(script)
    absent = next(thing for thing in THINGS if all(stay.thing != thing for stay in script.stays()))
    extra = ToldEvent(absent, change, 50.0, 51.0, 51.0)
    doubled = next(one for one in told if one.change == change and 10 < one.at < 100)
    result = score(seed, script, THINGS, [*told, extra, replace(doubled, at=doubled.at + 0.25)])
    assert result.recall == 1.0
    assert [(one.thing, one.change) for one in result.wrong].count((absent, change)) == 1
    assert len(result.wrong) == 2


@given(st.integers(0, 1000))
def test_what_is_told_much_too_late_is_missed_and_wrong(seed: int) -> None:
    script = world(seed)
    result = score(seed, script, THINGS, perfect(script, late=30.0))
    assert result.recall < 0.5 and result.precision < 0.5


def test_what_is_gone_for_a_moment_only_may_be_told_or_not() -> None:
    scripts = map(world, range(200))
    unsure = [
        (script, event)
        for script in scripts
        for thing in THINGS
        for event, is_sure in truth(script, thing, "disappears")
        if not is_sure and event.at < 140
    ]
    assert unsure
    script, event = unsure[0]
    told = [one for one in perfect(script) if (one.thing, one.change) != (event.thing, event.change)]
    assert event not in score(0, script, THINGS, told).missed
