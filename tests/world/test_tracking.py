from __future__ import annotations

import numpy as np
import pytest

from vidmem.world.render import Renderer
from vidmem.world.script import Chapter
from vidmem.world.tracking import DRAMAS, Drama, TrackingScript, Walk, object_masks
from vidmem.world.truth import decode_mask, truth
from vidmem.world.video import frames

SIZE = (160, 90)
SEEDS = range(8)


def shares(chapter: Chapter, *, seconds: float = 20.0) -> np.ndarray:
    """Four times a second, how much of the first stay is seen, against the most that is ever seen of it, with the size
    that it then has: (N,)."""
    renderer, hero = Renderer(*SIZE), chapter.stays[0]
    times = np.arange(0, seconds, 0.25)
    share = np.array([object_masks(renderer, chapter, time)[0].sum() / hero.look(time)[0] ** 2 for time in times])
    return share / share.max()


@pytest.mark.parametrize("drama", DRAMAS)
def test_a_seed_gives_one_clip(drama: Drama) -> None:
    first, again, other = (TrackingScript(seed, 6.0, drama).chapter(0) for seed in (5, 5, 6))
    assert first == again
    assert first != other


@pytest.mark.parametrize("drama", DRAMAS)
def test_all_is_in_full_view_at_the_start(drama: Drama) -> None:
    renderer = Renderer(*SIZE)
    for seed in SEEDS:
        chapter = TrackingScript(seed, 20.0, drama).chapter(0)
        together = object_masks(renderer, chapter, 0.0)[0]
        alone = Chapter(0, chapter.span, chapter.background_seed, chapter.stays[:1])
        assert together.sum() > 0.9 * object_masks(renderer, alone, 0.0)[0].sum()


def test_masks_are_the_truth_s_and_never_overlap() -> None:
    script, renderer = TrackingScript(2, 20.0, "all"), Renderer(*SIZE)
    chapter = script.chapter(0)
    for seconds in np.arange(0, 20, 1.3):
        masks = object_masks(renderer, chapter, seconds)
        assert masks.shape == (len(chapter.stays), SIZE[1], SIZE[0])
        assert masks.sum(axis=0).max() <= 1
        told = {item.thing: np.zeros(masks.shape[1:], dtype=bool) for item in truth(script, seconds, SIZE).objects}
        for item in truth(script, seconds, SIZE).objects:
            told[item.thing] |= decode_mask(item.mask)
        for thing, wanted in told.items():
            mine = [mask for mask, stay in zip(masks, chapter.stays, strict=True) if stay.thing == thing]
            np.testing.assert_array_equal(np.any(mine, axis=0), wanted)


def test_a_walk_goes_through_its_knots_without_a_jump() -> None:
    walk = TrackingScript(3, 20.0, "stroll").chapter(0).stays[0]
    assert isinstance(walk, Walk)
    for seconds, x, y in walk.knots:
        assert walk.centre(seconds) == pytest.approx((x, y))
    way = np.array([walk.centre(time) for time in np.arange(0, 20, 0.01)])
    assert np.abs(np.diff(way, axis=0)).max() < 0.02
    speeds = np.diff(way, axis=0)
    assert np.abs(np.diff(speeds, axis=0)).max() < 0.002, "no corner at a knot"


def test_who_walks_comes_nearer_goes_away_and_faces_its_way() -> None:
    walks = [stay for seed in SEEDS for stay in TrackingScript(seed, 20.0, "stroll").chapter(0).stays]
    for walk in walks:
        assert isinstance(walk, Walk)
        sizes, ways = zip(*(walk.look(time) for time in np.arange(0, 20, 0.1)), strict=True)
        assert max(sizes) <= 1.3 * walk.size and min(sizes) >= 0.7 * walk.size
        assert np.abs(np.diff(sizes)).max() < 0.03 * walk.size, "no jump"
        lefts = {walk.knots[index + 1][1] < walk.knots[index][1] for index in range(len(walk.knots) - 2)}
        assert len(set(ways)) == (1 if walk.thing.startswith("sign ") else len(lefts))
    assert np.mean([walk.nearing > 0.1 for walk in walks]) > 0.5


def test_who_strolls_is_never_long_out_of_sight() -> None:
    for seed in SEEDS:
        assert np.median(shares(TrackingScript(seed, 20.0, "stroll").chapter(0))) > 0.8


def test_who_is_away_has_gone_and_come_back() -> None:
    for seed in SEEDS:
        seen = shares(TrackingScript(seed, 20.0, "away").chapter(0)) > 0.5
        gone = np.flatnonzero(~seen)
        assert len(gone) >= 2
        assert seen[gone[0] :].any(), "it returns"


def test_who_is_hidden_is_seen_in_part_or_not_at_all_for_a_while() -> None:
    for seed in SEEDS:
        share = shares(TrackingScript(seed, 20.0, "hidden").chapter(0))
        assert (share < 0.6).mean() > 0.1
        assert (share > 0.8).any()


def test_doubles_look_the_same_and_come_near() -> None:
    for seed in SEEDS:
        hero, *others = TrackingScript(seed, 20.0, "doubles").chapter(0).stays
        doubles = [stay for stay in others if stay.thing == hero.thing]
        assert doubles
        near = [
            min(np.hypot(*np.subtract(hero.centre(time), double.centre(time))) for time in np.arange(1, 20, 0.1))
            for double in doubles
        ]
        assert min(near) < 0.12


def test_a_clip_makes_frames_as_any_script() -> None:
    shown = list(frames(TrackingScript(4, 2.0, "all"), fps=10, size=SIZE))
    assert len(shown) == 20
    assert all(image.shape == (SIZE[1], SIZE[0], 3) for _, image in shown)
    assert sum(not np.array_equal(a, b) for (_, a), (_, b) in zip(shown, shown[1:], strict=False)) >= 15
