"""`vidmem bench track`, small, from end to end, and what it is put together from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_track_speed import SMALL
from typer.testing import CliRunner

from vidmem.bench import track, track_exact, track_table
from vidmem.bench.kept import Kept
from vidmem.bench.report import beside
from vidmem.bench.track_clips import FPS, SIZE, TrackedClip, around, first_clear, tracked_clip
from vidmem.bench.track_exact import identical_masks
from vidmem.bench.track_package import propagated
from vidmem.bench.track_quality import (
    MEASURES,
    ClipScore,
    Followed,
    SeenOnce,
    follow,
    interval,
    quality_figures,
    score,
    switched,
)
from vidmem.bench.track_speed import drifting_boxes, random_model
from vidmem.cli import app
from vidmem.errors import BadInput
from vidmem.models.sam_config import write_config
from vidmem.models.tracker import SELECTIONS, Tracker
from vidmem.models.tracking.prompts import Prompt
from vidmem.world.tracking import DRAMAS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SAM 2 that knows nothing."""
    folder = tmp_path_factory.mktemp("sam")
    write_config(SMALL, folder / "config.json")
    weights = random_model(SMALL, 0).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def clip() -> TrackedClip:
    return tracked_clip(0, DRAMAS.index("doubles"), 20 / FPS)


# -- the clips --


def test_dramas_come_in_turn_and_a_number_gives_one_clip(clip: TrackedClip) -> None:
    again = tracked_clip(0, DRAMAS.index("doubles"), 20 / FPS)
    np.testing.assert_array_equal(clip.frames, again.frames)
    np.testing.assert_array_equal(clip.masks, again.masks)
    assert [tracked_clip(0, index, 0.1).drama for index in range(6)] == [*DRAMAS, DRAMAS[0]]
    for other in (tracked_clip(1, 1, 20 / FPS), tracked_clip(0, 6, 20 / FPS)):
        assert not np.array_equal(clip.frames, other.frames)


def test_a_clip_shows_what_is_followed_and_its_doubles(clip: TrackedClip) -> None:
    assert clip.frames.shape == (20, SIZE[1], SIZE[0], 3)
    assert clip.masks.shape == clip.frames.shape[:3] == clip.doubles.shape[1:]
    assert len(clip.doubles) >= 1 and clip.doubles.any((1, 2, 3)).all()
    assert not (clip.doubles & clip.masks).any()
    assert len(tracked_clip(0, DRAMAS.index("away"), 0.5).doubles) == 0


def test_the_prompt_is_the_box_of_the_first_mask(clip: TrackedClip) -> None:
    left, top, right, bottom = clip.prompt.box
    inside = clip.masks[0, top:bottom, left:right]
    assert inside.sum() == clip.masks[0].sum()
    assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
    np.testing.assert_array_equal(clip.boxes[0], [left, top, right - left, bottom - top])


def test_the_first_clear_sight_is_of_nearly_all() -> None:
    masks = np.zeros((5, 4, 25), bool)
    for index, area in enumerate((0, 89, 90, 100, 95)):
        masks[index].reshape(-1)[:area] = True
    assert first_clear(masks) == 2


def test_an_empty_mask_has_a_box_without_area() -> None:
    masks = np.zeros((2, 9, 9), bool)
    masks[1, 2:5, 3:9] = True
    np.testing.assert_array_equal(around(masks), [[0, 0, 0, 0], [3, 2, 6, 3]])


# -- what is counted --


def test_a_frame_is_switched_where_a_double_is_covered_more_than_the_true_one() -> None:
    truth, doubles, mask = np.zeros((4, 6, 6), bool), np.zeros((2, 4, 6, 6), bool), np.zeros((4, 6, 6), bool)
    truth[:, :, :2] = True
    doubles[0, :, :, 2:4] = doubles[1, :, :, 4:] = True
    mask[0, :, :3] = True  # twice as much of the true one
    mask[1, :, 1:6] = True  # of each double twice as much
    mask[2, :3, :] = True  # as much of each: no switch
    assert switched(mask, truth, doubles).tolist() == [False, True, False, False]
    assert not switched(mask, truth, doubles[:0]).any()


def test_the_truth_itself_scores_all_and_a_double_nothing(clip: TrackedClip) -> None:
    perfect = score(clip, Followed(clip.masks, 2.0, 1.0))
    assert perfect == ClipScore("doubles", 1.0, pytest.approx(20 / 21), 1.0, 1.0, 1.0, 1.0, 0, 19, 2.0, 1.0)
    mistaken = score(clip, Followed(clip.doubles[0], 2.0, 1.0))
    assert mistaken.switches == clip.doubles[0, 1:].any((1, 2)).sum() > 10
    assert mistaken.jf < 0.3 and mistaken.auc < 0.3


def test_only_the_prompted_frame_and_of_masks_the_last_do_not_count(clip: TrackedClip) -> None:
    masks = clip.masks.copy()
    masks[0] = masks[-1] = False
    scored = score(clip, Followed(masks, 1.0, 0.0))
    assert scored.jf == 1.0
    assert scored.auc == pytest.approx(20 / 21 * 18 / 19)
    assert scored.ao == scored.sr50 == scored.sr75 == scored.precision == pytest.approx(18 / 19)


def test_each_measure_of_boxes_is_its_own(clip: TrackedClip) -> None:
    """The whole mask moved by so many pixels that overlap and offset can be told from the boxes."""
    masks, (left, _, wide, _) = np.roll(clip.masks, 4, axis=2), clip.boxes[0]
    assert left + wide + 4 <= SIZE[0], "else it is not moved but cut"
    overlaps = (clip.boxes[1:, 2] - 4) / (clip.boxes[1:, 2] + 4)
    got = score(clip, Followed(masks, 1.0, 0.0))
    assert got.ao == pytest.approx(overlaps.mean())
    assert (got.sr50, got.sr75) == ((overlaps > 0.5).mean(), (overlaps > 0.75).mean())
    assert got.precision == 1.0


def test_side_by_side_each_selection_follows_as_alone_and_frames_are_seen_once(clip: TrackedClip) -> None:
    model = random_model(SMALL, 0)
    together = follow(model, clip)
    assert list(together) == list(SELECTIONS)
    assert len({followed.masks.tobytes() for followed in together.values()}) > 1, "else what is compared says little"
    for name, followed in together.items():
        tracker = Tracker(model, selection=name)
        for index, frame in enumerate(clip.frames):
            result = tracker.step(frame, index / FPS, prompts=() if index else (clip.prompt,))
            np.testing.assert_array_equal(followed.masks[index], result.objects[0].mask.numpy())
        assert 0 < followed.selection_seconds < followed.seconds


def test_a_picture_is_encoded_for_the_first_who_asks() -> None:
    model = random_model(SMALL, 0)
    seen, pictures = SeenOnce(model), torch.rand(2, 1, 3, 64, 64)
    first = seen.forward_image(pictures[0])
    assert seen.forward_image(pictures[0]) is first and seen.seconds > 0
    seen.forget()
    second = seen.forward_image(pictures[1])
    assert torch.equal(second["backbone_fpn"][-1], model.forward_image(pictures[1])["backbone_fpn"][-1])
    assert seen.image_size == 64


def scored(drama: str, jf: float, *, switches: int = 0) -> ClipScore:
    return ClipScore(drama, jf, jf / 2, jf / 3, jf / 4, jf / 5, jf / 6, switches, 10, 1.0, 0.02)


def test_figures_are_of_the_hard_clips_and_of_the_best_selection() -> None:
    dramas = ("stroll", "doubles", "hidden")
    plain = [scored(drama, jf, switches=2) for drama, jf in zip(dramas, (0.9, 0.5, 0.7), strict=True)]
    better = [scored(drama, jf, switches=1) for drama, jf in zip(dramas, (0.6, 0.6, 0.8), strict=True)]
    worse = [scored(drama, jf, switches=0) for drama, jf in zip(dramas, (1.0, 0.4, 0.7), strict=True)]
    figures = quality_figures({"sam2": plain, "samurai": better, "dam4sam": worse}, seed=0)
    value = {name.removeprefix("track_"): figure.value for name, figure in figures.items()}
    assert value["sam2_jf"] == pytest.approx(70) and figures["track_sam2_jf"].holds
    assert value["samurai_hard_jf"] == pytest.approx(70) and value["samurai_hard_auc"] == pytest.approx(35)
    assert [value[f"sam2_{what}"] for what in MEASURES] == pytest.approx([70 / part for part in range(1, 7)], rel=1e-5)
    assert value["dam4sam_hidden_jf"] == pytest.approx(70) and "sam2_away_jf" not in value
    assert value["samurai_gain"] == pytest.approx(10) and value["dam4sam_gain"] == pytest.approx(-5)
    assert value["samurai_gain_low"] == value["samurai_gain_high"] == pytest.approx(10)
    assert (value["dam4sam_gain_low"], value["dam4sam_gain_high"]) == (pytest.approx(-10), pytest.approx(0))
    assert value["best_gain"] == pytest.approx(10) and figures["track_best_gain"].holds
    assert value["sam2_switches"] == 6
    assert value["best_switches"] == pytest.approx(0.5), "of samurai, who gains most, not of who switches least"
    assert value["samurai_selection"] == pytest.approx(0.02)


def test_a_gain_below_its_target_does_not_hold() -> None:
    scores = {"sam2": [scored("all", 0.5)], "samurai": [scored("all", 0.549)]}
    assert not quality_figures(scores, seed=0)["track_best_gain"].holds


def test_the_interval_holds_the_mean_and_narrows_with_more_clips() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(3, 10, 20), rng.normal(3, 10, 2000)
    low, high = interval(many.tolist(), 0)
    # The normal interval is 1.96 deviations of the mean on either side.
    assert low == pytest.approx(many.mean() - 1.96 * many.std() / np.sqrt(2000), abs=0.03)
    assert high == pytest.approx(many.mean() + 1.96 * many.std() / np.sqrt(2000), abs=0.03)
    wide = interval(few.tolist(), 0)
    assert wide[1] - wide[0] > 5 * (high - low)
    assert interval(few.tolist(), 0) == wide != interval(few.tolist(), 1)


# -- streamed and whole --


def test_frames_with_the_package_s_masks_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, model, prompt = list(drifting_boxes(18, 1, seed=0)), random_model(SMALL, 0), Prompt(4, box=(0, 0, 106, 180))
    assert identical_masks(model, SMALL, frames, prompt) == 1.0

    def disturbed(*arguments: Any, **options: Any) -> Iterator[Mapping[int, torch.Tensor]]:
        for index, logits in enumerate(propagated(*arguments, **options)):
            other = logits[4].clone()
            other[5, 5] *= -1
            yield {4: other} if index in (3, 7, 17) else logits

    monkeypatch.setattr(track_exact, "propagated", disturbed)
    assert identical_masks(model, SMALL, frames, prompt) == 15 / 18


# -- what is measured, and kept --


def test_what_was_measured_is_measured_anew_only_of_something_else(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept", {"seed": 1})
    assert kept.made("clip-1", lambda: [1, 2.5]) == [1, 2.5]
    assert kept.made("clip-1", lambda: [3]) == [1, 2.5]
    assert kept.made("clip-2", lambda: [3]) == [3]
    assert Kept(kept.folder, {"seed": 2}).made("clip-1", lambda: [4]) == [4]
    assert kept.figures("speed", lambda: {"a": beside(2.0, "ms")}) == {"a": beside(2.0, "ms")}
    assert kept.figures("speed", dict) == {"a": beside(2.0, "ms")}
    assert Kept(None, {}).made("clip-1", lambda: [5]) == [5]


def test_a_clip_that_was_followed_is_not_followed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = track.Job("nothing", 0, 0.2, Kept(tmp_path, {}))
    monkeypatch.setattr(track, "_loaded", lambda name: None)
    monkeypatch.setattr(track, "follow_by_all", lambda model, clip: {"sam2": scored(clip.drama, 0.25)})
    first = track._followed(job, 1)
    monkeypatch.setattr(track, "follow_by_all", lambda model, clip: pytest.fail("followed again"))
    assert track._followed(job, 1) == first == {"sam2": scored("doubles", 0.25)}


def test_one_part_is_measured_alone(folder: Path) -> None:
    result = track.run(3, model=folder, parts=["exact"], quick=True)
    assert list(result["figures"]) == ["track_identical_masks"]
    assert track_table.rows(result)[1:] == []
    with pytest.raises(BadInput, match="'clip' is no part of this: take some of parity, speed"):
        track.run(3, model=folder, parts=["clip"], quick=True)


# -- the command --


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    return json.loads(json.dumps(track.run(3, model=folder, quick=True)))


@pytest.mark.slow
@pytest.mark.timeout(900)  # five processes, all import torch
def test_bench_track_gives_every_figure(result: dict[str, Any]) -> None:
    figures = result["figures"]
    for name in SELECTIONS:
        for what in (*MEASURES, "hard_jf", "hard_auc", "stroll_jf", "doubles_jf", "switches"):
            assert figures[f"track_{name}_{what}"]["value"] >= 0.0
        assert 0 < figures[f"track_{name}_selection"]["value"] < 1
    targets = {name: figure["target"] for name, figure in figures.items() if figure["target"] is not None}
    parity = {name: targets.pop(name) for name in list(targets) if name.startswith(("track_parity_", "track_metric_"))}
    assert all(target == (1.0 if "parity" in name else 1e-6) for name, target in parity.items()) and len(parity) > 10
    assert targets == {
        "track_sam2_jf": 70.0,
        "track_best_gain": 5.0,
        "track_best_switches": 0.5,
        **{f"track_{name}_selection": 0.03 for name in SELECTIONS},
        "track_speed_to_package": 1.0,
        "track_peak_to_package": 0.25,
        "track_identical_masks": 1.0,
        "track_tensor_bytes_growth": 0.02,
        "track_resident_growth": 0.02,
    }
    assert figures["track_identical_masks"]["value"] == 1.0
    assert figures["track_tensor_bytes_growth"]["value"] < 0.02


@pytest.mark.slow
@pytest.mark.timeout(900)  # five processes, all import torch
def test_all_four_selections_are_in_one_table(result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    heading, *body = track_table.rows(result)
    assert [row[0] for row in body] == list(SELECTIONS)
    assert {len(row) for row in body} == {len(heading)}
    in_table = dict(zip(heading, body[1], strict=True))
    assert in_table["J&F"] == f"{result['figures']['track_samurai_jf']['value']:.1f}"
    assert in_table["AO"] == f"{result['figures']['track_samurai_ao']['value']:.1f}"
    assert in_table["away"] == "", "two clips are of the first two dramas"
    assert "track_dam4sam_auc" not in track_table.others(result)
    assert {"track_sam2_jf", "track_best_gain"} <= track_table.others(result).keys(), "what has a target is told"
    monkeypatch.setattr(track, "run", lambda *args, **options: result)
    done = CliRunner().invoke(app, ["bench", "track", "--quick"])
    assert done.exit_code == 0
    assert "sam2long" in done.output and "track_identical_masks" in done.output


def test_a_missing_model_is_said_in_one_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "track", "--quick", "--model", str(tmp_path / "nothing")])
    assert done.exit_code == 4
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1
    assert "nothing" in done.stderr
