"""Objects of the sample world by a tracker that knows the truth, so that what is judged is all that is made of it.

Things are found, named, recognised when they come back after they were followed no more, listed and placed, with the
embedded encoder, out of files and into a store.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from knowing_tracker import KnowingTracker

import vidmem
from vidmem.pipelines import VideoMemory, following
from vidmem.pipelines.loading import Models
from vidmem.pipelines.object_matching import place_in_words
from vidmem.pipelines.stored_tracking import NOTICE_SECONDS
from vidmem.world.tracking import TrackingScript
from vidmem.world.video import encode, frames
from vidmem.world.words import noun

SIZE = (640, 360)
SECONDS = 24.0
SEEDS = (5_100_000_001, 5_100_000_004)
STEP = 0.2


class World:
    """A clip in which a thing leaves and comes back, and the truth of it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.script = TrackingScript(seed, SECONDS, "away")
        self.path = folder / f"{seed}.mp4"
        encode(self.path, frames(self.script, fps=5, size=SIZE), fps=5, size=SIZE, duration=SECONDS)
        chapter = self.script.chapter(0)
        self.names = [noun(stay.thing) for stay in chapter.stays]
        self.tracker = KnowingTracker(self.script, SIZE)

    def seen(self, name: str) -> list[tuple[float, tuple[float, float, float, float]]]:
        """Times at which a thing is visible, and its box in pixels."""
        tracker, found = KnowingTracker(self.script, SIZE), []
        stay = self.script.chapter(0).stays[self.names.index(name)]
        tracker._stay_of[1] = id(stay)
        for index in range(round(SECONDS / STEP)):
            result = tracker.step(np.zeros((64, 64, 3), np.uint8), index * STEP)[1]
            if result.visible and result.box is not None:
                found.append((index * STEP, result.box))
        return found


@pytest.fixture(scope="module", params=SEEDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(request.param, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def memory(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VideoMemory]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Models, "tracker_for", lambda self, selection: world.tracker)
        patch.setattr(following, "PATIENCE_SECONDS", 1.0)  # what is away for longer must be recognised
        with vidmem.open(tmp_path_factory.mktemp("store") / "world.vidmem") as opened:
            opened.ingest(world.path, objects=True, progress=False)
            yield opened


def test_each_thing_is_one_object_with_its_name_however_often_it_comes_back(world: World, memory: VideoMemory) -> None:
    assert sorted(known.label for known in memory.objects()) == sorted(world.names)
    assert {known.origin for known in memory.objects()} == {"found"}
    assert any(len(known.spans) > 1 for known in memory.objects()), "something was away"


def test_it_is_seen_when_it_is_there_but_for_the_time_until_it_is_noticed(world: World, memory: VideoMemory) -> None:
    for known in memory.objects():
        there = np.array([seconds for seconds, _ in world.seen(known.label)])
        inside = np.zeros(len(there), dtype=bool)
        for span in known.spans:
            inside |= (there >= span.start - 1e-6) & (there < span.end)
            told = np.arange(round(span.start / STEP), round(span.end / STEP)) * STEP
            assert np.isclose(told[:, None], there).any(axis=1).mean() > 0.9, "nothing is told that is not so"
        missed = there[~inside]
        appearances = 1 + int((np.diff(there) > 1.0).sum())
        assert len(missed) * STEP <= appearances * NOTICE_SECONDS


def test_where_says_when_and_in_which_part_of_the_frame(world: World, memory: VideoMemory) -> None:
    for name in world.names:
        found = memory.where(f"the {name}")
        assert found is not None and found.from_track and found.what == name
        last_seconds, (left, top, right, bottom) = world.seen(name)[-1]
        (width, height) = SIZE
        assert found.last_seen == pytest.approx(last_seconds + STEP, abs=0.01)
        assert found.place == place_in_words((left / width, top / height, right / width, bottom / height))
        assert found.still_there == (last_seconds > SECONDS - 1.5 * STEP)
        assert found.thumbnail is not None and Path(found.thumbnail).is_file()


def test_words_find_the_object_that_they_mean(world: World, memory: VideoMemory) -> None:
    for name in world.names:
        first = memory.objects(f"a {name}")[0]
        assert (first.label, first.why) == (name, f"called {name!r}")
    assert memory.where("a tractor") is None, "never seen"
