"""The tracker's recipe: what it draws is the world's truth, its loss is SAM 2's, it learns, and it resumes."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from small_sam import SMALL
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from vidmem.models.sam import build_sam, load_sam
from vidmem.recipes.install import install_tracker, keep_heads
from vidmem.recipes.tracker import Course, Phase, Trainer, judge, judged_clips, lessons, see_at, train
from vidmem.recipes.tracker_clips import HELD_OUT, ClipShape, draw_batch
from vidmem.recipes.tracker_grouping import Grouping
from vidmem.recipes.tracker_loss import Prediction, intersection_over_union, mask_loss
from vidmem.recipes.tracker_naming import NUM_NAMES, Naming
from vidmem.recipes.tracker_pointing import begin_pointing, listening
from vidmem.recipes.tracker_unroll import Plan, to_pixels, unroll

COURSE = Course(
    phases=(
        Phase("pixels", 1, 1e-3, clips=2, objects=2),
        Phase("points", 1, 1e-3, clips=2, objects=2),
        Phase("images", 1, 1e-3, clips=2, objects=2),
        Phase("memory", 1, 1e-3, clips=1, objects=2, frames=3),
        Phase("clips", 2, 1e-3, clips=1, objects=2, frames=3),
        Phase("recovery", 2, 1e-3, clips=1, objects=2, frames=3),
    ),
    processes=1,
    log_every=1,
    judge_every=8,  # at its end
)


def test_a_batch_is_drawn_again_the_same() -> None:
    shape = ClipShape(clips=2, frames=4, objects=3, side=64)
    first, again, other = (draw_batch(shape, seed) for seed in (7, 7, 8))
    assert first.frames.shape == (2, 4, 64, 64, 3) and first.masks.shape == (2, 3, 4, 64, 64)
    assert torch.equal(first.frames, again.frames) and torch.equal(first.masks, again.masks)
    assert first.frame_numbers == again.frame_numbers
    assert not torch.equal(first.frames, other.frames)


def test_every_object_is_seen_on_the_first_frame_and_some_are_lost_later() -> None:
    shape = ClipShape(clips=1, frames=6, objects=3, side=64)
    masks = torch.cat([draw_batch(shape, seed).masks[0] for seed in range(30)])  # (90, 6, 64, 64)
    seen = masks.flatten(2).sum(-1)
    assert seen[:, 0].min() >= 8
    assert (seen[:, 1:] == 0).any(), "what leaves or is hidden teaches the object's score"


def test_the_first_frame_may_lie_long_before_the_second() -> None:
    shape = ClipShape(clips=1, frames=4, objects=1, side=64)
    numbers = [draw_batch(shape, seed).frame_numbers for seed in range(20)]
    assert all(frame[0] == 0 and frame[2] == frame[1] + 1 and frame[3] == frame[1] + 2 for frame in numbers)
    gaps = {frame[1] for frame in numbers}
    assert 1 in gaps and max(gaps) > 30


def test_training_seeds_are_below_the_held_out_ones_and_those_below_the_benchmarks() -> None:
    assert HELD_OUT + 10**6 < 2**31


def _prediction(masks: torch.Tensor, present: float = 3.0) -> Prediction:
    return Prediction(masks, torch.full(masks.shape[:2], 0.5), torch.full((len(masks), 1), present))


def test_the_loss_is_twenty_focal_one_dice_two_iou_three_presence() -> None:
    torch.manual_seed(2)
    truth = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    truth[0, 0, 2:6, 1:5] = True
    logits = torch.randn(1, 3, 8, 8)
    full = [each.repeat_interleave(2, 2).repeat_interleave(2, 3) for each in (logits, truth)]
    share, wanted = logits.sigmoid(), truth.float().expand(1, 3, 8, 8)
    focal = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2.0).mean((2, 3))
    both, sums = (share * wanted).sum((2, 3)), share.sum((2, 3)) + wanted.sum((2, 3))
    dice = 1 - (2 * both + 1) / (sums + 1)
    hit, either = ((logits > 0) & truth).sum((2, 3)), ((logits > 0) | truth).sum((2, 3))
    off = (0.5 - hit / either).abs().mean()
    presence = -torch.tensor(3.0).sigmoid().log()
    expected = (20 * focal + dice).min() + 2 * off + 3 * presence
    torch.testing.assert_close(mask_loss(_prediction(full[0]), full[1]), expected)


def test_an_absent_object_is_only_taught_to_be_absent() -> None:
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)
    loss = mask_loss(_prediction(logits, present=-2.0), torch.zeros(2, 1, 8, 8, dtype=torch.bool))
    torch.testing.assert_close(loss, -3 * torch.tensor(2.0).sigmoid().log())
    loss.backward()
    assert logits.grad is not None and not logits.grad.any()


@torch.no_grad()
def test_a_mistaken_frame_is_remembered_with_the_other_object_of_its_clip() -> None:
    torch.manual_seed(5)
    model = Trainer(COURSE, SMALL).model.eval()
    two = draw_batch(ClipShape(2, 4, 2, 64), 3)
    one = replace(two, masks=two.masks[:, :1])
    for batch, is_other in ((two, True), (one, False)):
        pixels = to_pixels(batch.frames, SMALL, torch.device("cpu"))
        right, wrong = (
            {index: made.masks for index, made in unroll(model, batch, pixels, Plan("mask", mistaken=mistaken))}
            for mistaken in (range(0), range(2, 3))
        )
        assert all(torch.equal(right[index], wrong[index]) for index in (1, 2)), "what was before is as it was"
        assert torch.equal(right[3], wrong[3]) != is_other


def test_overlap_of_two_empty_masks_is_whole() -> None:
    empty, half = torch.zeros(1, 4, 4, dtype=torch.bool), torch.zeros(1, 4, 4, dtype=torch.bool)
    half[:, :2] = True
    assert intersection_over_union(empty, empty).item() == 1.0
    assert intersection_over_union(half, empty).item() == 0.0
    assert intersection_over_union(half, torch.ones_like(half)).item() == 0.5


@pytest.mark.parametrize(
    ("plan", "frames"),
    [
        (Plan("box"), [0, 1, 2]),
        (Plan("click", clicks=2), [0, 0, 0, 1, 2]),
        (Plan("mask"), [1, 2]),  # what is given is not predicted
        (Plan("mask", later=2), [1, 2, 2]),
    ],
)
def test_each_prompt_and_correction_gives_a_prediction(plan: Plan, frames: list[int]) -> None:
    trainer = Trainer(COURSE, SMALL)
    batch = draw_batch(ClipShape(2, 3, 2, 64), 3)
    made = unroll(trainer.model, batch, to_pixels(batch.frames, SMALL, torch.device("cpu")), plan)
    assert [index for index, _ in made] == frames
    assert all(prediction.masks.shape[0] == 4 and prediction.masks.shape[-2:] == (64, 64) for _, prediction in made)


def test_pixels_are_normalised_as_the_configuration_says() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 64, 64, 3), dtype=np.uint8)
    pixels = to_pixels(torch.from_numpy(frames), SMALL, torch.device("cpu"))
    red = (frames[0, 1, 5, 7, 0] / 255 - 0.485) / 0.229
    assert pixels.shape == (2, 3, 64, 64)
    assert pixels[1, 0, 5, 7].item() == pytest.approx(red, abs=1e-5)


def test_names_say_what_masks_show() -> None:
    batch = draw_batch(ClipShape(2, 3, 4, 64), 9)
    assert batch.names.shape == (2, 3, 64, 64) and 0 < batch.names.max() < NUM_NAMES
    for clip in range(2):
        for masks in batch.masks[clip]:
            assert len(batch.names[clip][masks].unique()) == 1, "an object is one thing from first to last"


def test_a_name_that_is_told_is_cheaper_than_another() -> None:
    naming = Naming(4)
    for head in (*naming.fine, naming.coarse):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    names = torch.zeros(1, 64, 64, dtype=torch.uint8)
    names[:, 16:48, 16:48] = 7
    levels = [torch.zeros(1, 4, side, side) for side in (16, 8, 4)]
    even = naming.loss(levels, names)
    assert even.item() == pytest.approx(2 * np.log(NUM_NAMES), rel=1e-5)
    naming.coarse.bias.data[7] = 3.0
    assert naming.loss(levels, names) < even
    naming.coarse.bias.data[7], naming.coarse.bias.data[8] = 0.0, 3.0
    assert naming.loss(levels, names) > even


def test_an_encoder_is_settled_without_changing_what_its_pixels_are_embedded_as() -> None:
    trainer = Trainer(COURSE, SMALL)
    batch = draw_batch(ClipShape(3, 1, 2, 64), 5)
    pixels, names = to_pixels(batch.frames, SMALL, torch.device("cpu")), batch.names.flatten(0, 1)
    with torch.no_grad():
        before = trainer.grouping(trainer.model.image_encoder(pixels)["backbone_fpn"])
        told = trainer.naming.loss(trainer.model.image_encoder(pixels)["backbone_fpn"], names)
        begin_pointing(trainer.model, trainer.grouping, trainer.naming, pixels)
        levels = trainer.model.image_encoder(pixels)["backbone_fpn"]
        torch.testing.assert_close(trainer.naming.loss(levels, names), told, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(trainer.grouping(levels), before, rtol=1e-3, atol=1e-4)
    for level in levels:
        torch.testing.assert_close(level.mean((0, 2, 3)), torch.zeros(SMALL.d_model), rtol=0, atol=1e-5)
        assert level.square().mean().item() == pytest.approx(1.0, abs=1e-4)


def test_a_decoder_begins_by_looking_where_it_is_pointed() -> None:
    trainer = Trainer(COURSE, SMALL)
    model, batch = trainer.model.eval(), draw_batch(ClipShape(2, 1, 3, 64), 6)
    pixels = to_pixels(batch.frames, SMALL, torch.device("cpu"))

    def apart() -> float:
        """How much a mask's token differs between the objects of an image, of its size."""
        with torch.no_grad(), listening(model) as heard:
            unroll(model, batch, pixels, Plan("click"))
        (tokens,) = heard.tokens
        assert tokens.shape == (6, 4, SMALL.d_model) and [level.shape[-1] for level in heard.levels] == [16, 8, 4]
        return float(tokens.reshape(2, 3, -1).std(1).mean() / tokens.square().mean().sqrt())

    torch.manual_seed(1)
    before = apart()
    begin_pointing(model, trainer.grouping, trainer.naming, pixels)
    torch.manual_seed(1)
    assert apart() > 3 * before
    unroll(model, batch, pixels, Plan("click"))
    assert not model.image_encoder._forward_hooks, "nobody listens any more"


def test_what_is_asked_for_is_near_its_own_pixels_only() -> None:
    grouping = Grouping(4)
    embedded = torch.zeros(1, 32, 2, 2)
    embedded[0, 0, 0] = 10.0  # the upper row is another object than the lower one
    upper = torch.tensor([[[True, True, False, False]]])
    right, wrong = embedded[:, :, 0, 0][:, None], embedded[:, :, 1, 1][:, None]
    assert grouping.apart(right, embedded, upper) < 0.3
    assert grouping.apart(wrong, embedded, upper) > 10
    assert grouping.apart(wrong, embedded, ~upper) < 0.3


def test_points_leave_the_encoder_as_it_is() -> None:
    course = Course((Phase("points", 3, 1e-3, clips=1, objects=2),))
    trainer, states = Trainer(course, SMALL), []
    for batch in lessons(course, 0, SMALL.image_size):
        trainer.learn(batch)  # the first step settles it
        states.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
    same = {name: torch.equal(states[0][name], states[-1][name]) for name in states[0]}
    assert all(is_same for name, is_same in same.items() if name.startswith("image_encoder"))
    assert not all(is_same for name, is_same in same.items() if name.startswith("sam_mask_decoder"))


@torch.no_grad()
def test_weights_know_no_side() -> None:
    trainer = Trainer(COURSE, SMALL)
    model, larger = trainer.model.eval(), replace(SMALL, image_size=128)
    batch = draw_batch(ClipShape(1, 3, 2, 128), 4)
    pixels = to_pixels(batch.frames, larger, torch.device("cpu"))
    made = build_sam(larger).eval()
    made.load_state_dict(model.state_dict())
    see_at(model, 128)
    found = []
    for one in (model, made):
        torch.manual_seed(1)
        found.append(unroll(one, batch, pixels, Plan("box")))
    for (_, ours), (_, wanted) in zip(*found, strict=True):
        assert torch.equal(ours.masks, wanted.masks) and ours.masks.shape[-1] == 128


def test_a_phase_may_be_taught_with_squares_of_its_own_side() -> None:
    course = Course((Phase("images", 1, 1e-3, 1, 2, side=128), Phase("clips", 1, 1e-3, 1, 2, frames=3)), processes=1)
    trainer, sides = Trainer(course, SMALL), []
    for batch in lessons(course, 0, SMALL.image_size):
        trainer.learn(batch)
        sides.append((batch.frames.shape[-2], trainer.model.image_size))
    assert sides == [(128, 128), (64, 64)] and trainer.kept.module.image_size == 64


def test_clips_that_are_seen_again_and_again_are_learnt() -> None:
    trainer = Trainer(Course((Phase("clips", 120, 1e-3, clips=1, objects=2, frames=3),)), SMALL)
    batch = draw_batch(ClipShape(1, 3, 2, 64), 15)
    losses = [trainer.learn(batch) for _ in range(120)]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:10])


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = Trainer(COURSE, SMALL)
    for batch in lessons(COURSE, 0, SMALL.image_size):
        whole.learn(batch)
    before = Trainer(COURSE, SMALL)
    for batch in islice(lessons(COURSE, 0, SMALL.image_size), 2):
        before.learn(batch)
    before.save(tmp_path / "tracker-state.pt")
    train(tmp_path, COURSE, SMALL)
    resumed = Trainer(COURSE, SMALL)
    resumed.resume(tmp_path / "tracker-state.pt")
    assert resumed.step == whole.step == COURSE.steps
    for part in ("model", "kept"):
        states = (getattr(trainer, part).state_dict() for trainer in (resumed, whole))
        for (name, value), wanted in zip(next(states).items(), next(states).values(), strict=True):
            torch.testing.assert_close(value, wanted, msg=f"{part} {name}")
    assert '"J"' in (tmp_path / "tracker.jsonl").read_text().splitlines()[-1]


def test_a_course_goes_on_from_what_was_installed(tmp_path: Path) -> None:
    before = Trainer(COURSE, SMALL)
    for batch in islice(lessons(COURSE, 0, SMALL.image_size), 3):
        before.learn(batch)
    before.save(tmp_path / "tracker-state.pt")
    install_tracker(tmp_path, tmp_path, SMALL)
    keep_heads(tmp_path, tmp_path / "heads.safetensors")
    after = Trainer(COURSE, SMALL)
    after.go_on(tmp_path / "sam", tmp_path / "heads.safetensors")
    assert after.step == 3
    wanted = before.kept.module.state_dict()
    for name, value in (*after.model.state_dict().items(), *after.kept.module.state_dict().items()):
        torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-4)
    for part in ("grouping", "naming"):
        for name, value in getattr(after, part).state_dict().items():
            torch.testing.assert_close(value, getattr(before, part).state_dict()[name], rtol=1e-3, atol=1e-4)
    after.learn(next(lessons(COURSE, after.step, SMALL.image_size)))
    assert COURSE.at(after.step)[0].lesson == "memory"


def test_what_is_installed_is_the_kept_model(tmp_path: Path) -> None:
    trainer = Trainer(COURSE, SMALL)
    for batch in islice(lessons(COURSE, 0, SMALL.image_size), 2):
        trainer.learn(batch)
    trainer.save(tmp_path / "tracker-state.pt")
    install_tracker(tmp_path, tmp_path / "tiny", SMALL)
    loaded, config = load_sam(tmp_path / "tiny" / "sam")
    assert config == SMALL
    for name, value in trainer.kept.module.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    clips = judged_clips(SMALL.image_size, count=1)
    assert 0 <= judge(loaded, SMALL, clips)["J"] <= 1
