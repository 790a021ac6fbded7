"""Objects with the embedded models, in clips of the sample world that no training saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vidmem
from vidmem.models.folders import missing_files
from vidmem.models.preset import load_preset
from vidmem.models.sam import SAM_FILES
from vidmem.pipelines import VideoMemory
from vidmem.pipelines.object_matching import place_in_words
from vidmem.world.render import Renderer
from vidmem.world.tracking import TrackingScript, object_masks
from vidmem.world.video import encode, frames
from vidmem.world.words import noun

SIZE = (640, 360)
SECONDS = 10.0
SEEDS = (5_100_000_001, 5_100_000_002, 5_100_000_003)

_PRESET = load_preset("tiny")
_MISSING = missing_files(_PRESET.tracker.model, SAM_FILES, revision=_PRESET.tracker.revision, base=_PRESET.base)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(_MISSING), reason=_MISSING)]


class Clip:
    """One thing that walks about among others."""

    def __init__(self, seed: int, folder: Path) -> None:
        script = TrackingScript(seed, SECONDS, "stroll")
        self.path = folder / f"{seed}.mp4"
        encode(self.path, frames(script, fps=10, size=SIZE), fps=10, size=SIZE, duration=SECONDS)
        self._chapter, self._renderer = script.chapter(0), Renderer(*SIZE)
        self.thing = noun(self._chapter.stays[0].thing)

    def mask(self, seconds: float) -> np.ndarray:
        return object_masks(self._renderer, self._chapter, seconds)[0]

    def box(self, seconds: float) -> tuple[float, float, float, float]:
        """As fractions of the frame."""
        rows, columns = np.nonzero(self.mask(seconds))
        (width, height) = SIZE
        left, right = columns.min() / width, (columns.max() + 1) / width
        return left, rows.min() / height, right, (rows.max() + 1) / height


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    return [Clip(seed, folder) for seed in SEEDS]


@pytest.fixture(scope="module")
def memory(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> VideoMemory:
    opened = vidmem.open(tmp_path_factory.mktemp("store") / "clips.vidmem")
    for clip in clips:
        opened.ingest(clip.path, progress=False)
    return opened


def overlap(one: np.ndarray, other: tuple[float, ...]) -> float:
    if np.isnan(one).any():
        return 0.0
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(sides.clip(min=0)))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def test_a_thing_that_is_pointed_at_is_followed_and_its_last_place_told(memory: VideoMemory, clips: list[Clip]) -> None:
    overlaps, places = [], []
    for clip in clips:
        left, top, right, bottom = clip.box(0.0)
        (width, height) = SIZE
        pixels = (left * width, top * height, (right - left) * width, (bottom - top) * height)
        done = memory.track(clip.path, 0.0, box=pixels, label=clip.thing, progress=False)
        track = memory._store.track_of(done.object_id)
        overlaps.append(
            np.mean([overlap(box, clip.box(at)) for at, box in zip(track.seconds, track.boxes, strict=True)])
        )
        found = memory.where(f"the {clip.thing}", video=clip.path.name)
        assert found is not None and found.from_track and found.object is not None
        assert found.object.object_id == done.object_id
        places.append(found.place == place_in_words(clip.box(float(track.seconds[-1]))))
    assert np.mean(overlaps) > 0.6, overlaps
    assert sum(places) >= 2, places


def test_things_that_nobody_points_at_are_found_and_named(memory: VideoMemory, clips: list[Clip]) -> None:
    clip = clips[0]
    (done,) = memory.find_objects(clip.path, progress=False)
    assert done.object_ids
    found = memory.objects(f"a {clip.thing}", video=clip.path.name)
    assert found
    track = memory._store.track_of(found[0].object_id)
    overlaps = [overlap(box, clip.box(at)) for at, box in zip(track.seconds, track.boxes, strict=True)]
    assert np.mean(overlaps) > 0.4
