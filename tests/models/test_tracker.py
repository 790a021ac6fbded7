from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lively_sam import HEIGHT, WIDTH, lively_sam, moving_clip, small_config
from PIL import Image
from safetensors.torch import save_model

from vidmem.errors import BadInput, MissingModel, NotFound
from vidmem.memory.tracking import Samurai
from vidmem.memory.tracking.boxes import candidate_boxes
from vidmem.memory.tracking.selection import Candidates, Reading
from vidmem.models.sam import build_sam
from vidmem.models.sam_config import SAM2_1, write_config
from vidmem.models.tracker import SELECTIONS, Click, Prompt, Tracker, selection_for
from vidmem.models.tracking.network import limits_of
from vidmem.models.tracking.results import FrameResult, boxes_around, pixel_boxes
from vidmem.types import View

CLICK = Prompt(1, [Click(30, 20)])
BOX = Prompt(2, box=(60, 30, 80, 50))


@pytest.fixture(scope="module")
def model() -> Any:
    return lively_sam(small_config())


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return moving_clip(16)


def run(tracker: Tracker, frames: Sequence[np.ndarray], prompts: Sequence[Prompt] = (CLICK, BOX)) -> list[FrameResult]:
    return [tracker.step(frame, index / 4, prompts=prompts if index == 0 else ()) for index, frame in enumerate(frames)]


def held(tracker: Tracker) -> tuple[int, int]:
    return tracker._bank.memories.num_held, tracker._bank.pointers.num_held


class Asked:
    """A selection whose readings must all be among what it kept the frame before."""

    def __init__(self, name: str, model: Any) -> None:
        self._inner = SELECTIONS[name](limits_of(model))
        self.present_above, self.reads_boxes = self._inner.present_above, self._inner.reads_boxes
        self.num_readings = 0

    def prompted(self, state: Any, frame: int, found: Candidates, *, initial: bool) -> Any:
        return self._inner.prompted(state, frame, found, initial=initial)

    def read(self, state: Any, frame: int) -> Reading:
        self.num_readings += 1
        reading, kept = self._inner.read(state, frame), self._inner.kept(state)
        assert kept.frames.issuperset(reading.frames)
        assert kept.pointer_frames.issuperset(reading.pointer_frames)
        return reading

    def choose(self, states: Any, found: Any, frame: int) -> Any:
        return self._inner.choose(states, found, frame)

    def kept(self, state: Any) -> Any:
        return self._inner.kept(state)


@pytest.mark.parametrize("name", SELECTIONS)
def test_memory_stays_bounded_however_long_the_stream(name: str, frames: list[np.ndarray]) -> None:
    model = lively_sam(small_config(), absent_below=0.15)
    selection = Asked(name, model)
    tracker = Tracker(model, selection=selection)
    sizes = []
    for index in range(90):
        prompts = [CLICK, BOX] if index == 0 else [CLICK] if index % 7 == 3 and index < 70 else []
        tracker.step(frames[index % len(frames)], float(index), prompts=prompts)
        sizes.append((tracker.memory_bytes, *held(tracker)))
    assert selection.num_readings > 90
    limits = limits_of(model)
    pathways = 3 if name == "sam2long" else 1
    assert max(sizes)[0] == sizes[60][0], "no more slots are made"
    assert max(memories for _, memories, _ in sizes) <= 2 * pathways * (8 + limits.num_memories + 2)
    assert max(pointers for _, _, pointers in sizes) <= 2 * pathways * (8 + limits.num_pointers + 2)


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_gets_the_boxes_that_it_reads(name: str, model: Any, frames: list[np.ndarray]) -> None:
    selection, seen = Asked(name, model), []
    choose = selection.choose
    selection.choose = lambda states, found, frame: (seen.extend(found), choose(states, found, frame))[1]
    run(Tracker(model, selection=selection), frames[:4])
    assert len(seen) >= 6
    for found in seen:
        alone = tuple(candidate_boxes(found.masks, found.square))
        assert found.boxes == (alone if name == "samurai" else None)


@pytest.mark.parametrize("name", SELECTIONS)
def test_each_object_is_followed_alone(name: str, model: Any, frames: list[np.ndarray]) -> None:
    together = run(Tracker(model, selection=name), frames)
    alone = run(Tracker(model, selection=name), frames, [CLICK])
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1].low_res_logits, one[1].low_res_logits, rtol=0, atol=1e-3)


def test_an_object_that_is_removed_gives_its_memory_back(model: Any, frames: list[np.ndarray]) -> None:
    tracker = Tracker(model)
    run(tracker, frames)
    tracker.remove(1)
    tracker.remove(2)
    assert held(tracker) == (0, 0)
    assert tracker.step(frames[0], 100.0).objects == ()
    assert tracker.step(frames[1], 101.0, prompts=[CLICK]).objects[0].object_id == 1


def test_the_picture_may_come_squashed(model: Any, frames: list[np.ndarray]) -> None:
    first, second = Tracker(model), Tracker(model)
    assert first.view == View(64, 64)
    squashed = [np.array(Image.fromarray(frame).resize((64, 64))) for frame in frames[:4]]
    for index, (frame, square) in enumerate(zip(frames, squashed, strict=False)):
        prompts = [CLICK, BOX] if index == 0 else []
        whole = first.step(frame, float(index), prompts=prompts)
        small = second.step(torch.from_numpy(square), float(index), frame_size=(HEIGHT, WIDTH), prompts=prompts)
        assert all(torch.equal(a.mask, b.mask) for a, b in zip(whole.objects, small.objects, strict=True))


def test_the_image_is_encoded_once_a_frame_and_only_if_something_is_followed(
    model: Any, frames: list[np.ndarray]
) -> None:
    calls = []
    handle = model.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    tracker = Tracker(model)
    tracker.step(frames[0], 0.0)
    assert calls == []
    tracker.prompt(CLICK)
    tracker.prompt(BOX)
    tracker.prompt(Prompt(1, [Click(30, 20), Click(70, 40, on=False)]))
    assert len(calls) == 1
    tracker.step(frames[1], 1.0, prompts=[Prompt(3, box=(20, 10, 45, 30))])
    handle.remove()
    assert len(calls) == 2


def test_a_lost_object_is_said_once_with_its_time(frames: list[np.ndarray]) -> None:
    config = small_config()
    scores = sorted(result[1].object_score for result in run(Tracker(lively_sam(config)), frames, [CLICK])[1:])
    tracker = Tracker(lively_sam(config, absent_below=scores[len(scores) // 2]), selection="sam2")
    results = run(tracker, frames, [CLICK])
    assert {change.kind for result in results for change in result.changes} == {"lost", "back"}
    was_visible, lost_since = True, None
    for result in results:
        found = result[1]
        assert found.visible == (found.object_score > 0) == bool(found.mask.any())
        if not found.visible and was_visible:
            lost_since = result.seconds
        expected = [] if found.visible == was_visible else [("back" if found.visible else "lost", result.seconds)]
        assert [(change.kind, change.seconds) for change in result.changes] == expected
        assert found.lost_since == (None if found.visible else lost_since)
        was_visible = found.visible
    lost = next(change for result in results for change in result.changes if change.kind == "lost")
    assert str(lost).startswith("object 1 is lost at 00:0")


def test_boxes_are_around_masks() -> None:
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 1:4, 2:6] = True
    masks[1, 4, 6] = True
    assert pixel_boxes(masks) == [(2, 1, 6, 4), (6, 4, 7, 5), None]
    assert boxes_around(masks)[2].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (lambda: Prompt(5, [Click(95, 20)]), "outside the frame of 90 x 60"),
        (lambda: Prompt(5, [Click(float("nan"), 20)]), "outside the frame"),
        (lambda: Prompt(5, box=(60, 30, 100, 50)), "not inside the frame of 90 x 60"),
        (lambda: Prompt(5, box=(60, 30, 60, 50)), "no area"),
        (lambda: Prompt(5, mask=np.zeros((HEIGHT, WIDTH), bool)), "the mask is empty"),
        (lambda: Prompt(5, mask=np.ones((WIDTH, HEIGHT), bool)), "the mask is 60 x 90, the frame 90 x 60"),
        (lambda: Prompt(5, mask=np.eye(HEIGHT, WIDTH) * (np.arange(WIDTH) == 7)), "vanishes"),
        (lambda: Prompt(5), "give a mask, or clicks or a box"),
        (lambda: Prompt(5, [Click(1, 1)], mask=np.ones((HEIGHT, WIDTH), bool)), "and not both"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused_and_the_rest_goes_on(
    model: Any, frames: list[np.ndarray], prompt: Any, said: str
) -> None:
    tracker, undisturbed = Tracker(model), Tracker(model)
    tracker.step(frames[0], 0.0, prompts=[CLICK])
    undisturbed.step(frames[0], 0.0, prompts=[CLICK])
    with pytest.raises(BadInput, match=said):
        tracker.prompt(prompt())
    with pytest.raises(BadInput, match=said):
        tracker.step(frames[1], 1.0, prompts=[BOX, prompt()])
    assert tracker.object_ids == (1,)
    after, expected = tracker.step(frames[1], 1.0), undisturbed.step(frames[1], 1.0)
    assert torch.equal(after[1].low_res_logits, expected[1].low_res_logits)


def test_frames_that_do_not_fit_are_refused_and_the_stream_goes_on(model: Any, frames: list[np.ndarray]) -> None:
    tracker = Tracker(model)
    tracker.step(frames[0], 5.0, prompts=[CLICK])
    with pytest.raises(BadInput, match=r"the frame at 6 s is 50 x 60, those before 90 x 60"):
        tracker.step(np.ascontiguousarray(frames[1][:, :50]), 6.0)
    with pytest.raises(BadInput, match=r"the frame at 4 s does not come after the one at 5 s"):
        tracker.step(frames[1], 4.0)
    with pytest.raises(BadInput, match="give frames in the order of their times"):
        tracker.step(frames[1], 5.0)
    with pytest.raises(BadInput, match="a frame can't be at nan s"):
        tracker.step(frames[1], float("nan"))
    with pytest.raises(BadInput, match=r"float32 of shape \(60, 90, 3\): give uint8"):
        tracker.step(frames[1].astype(np.float32), 6.0)
    assert tracker.step(frames[1], 6.0).frame_index == 1
    tracker.step(frames[2], 1234567.25)
    with pytest.raises(BadInput, match=r"the frame at 7 s does not come after the one at 1234567\.25 s"):
        tracker.step(frames[3], 7.0)


def test_prompts_out_of_place_are_refused(model: Any, frames: list[np.ndarray]) -> None:
    tracker = Tracker(model)
    with pytest.raises(BadInput, match="no frame to prompt yet"):
        tracker.prompt(CLICK)
    tracker.step(frames[0], 1.0)
    tracker.step(frames[1], 2.0)
    with pytest.raises(BadInput, match=r"the frame at 1 s is gone: the present one, at 2 s"):
        tracker.prompt(CLICK, seconds=1.0)
    with pytest.raises(BadInput, match=r"the frame at 3 s is yet to come"):
        tracker.prompt(CLICK, seconds=3.0)
    with pytest.raises(BadInput, match="several prompts are for one object"):
        tracker.step(frames[2], 3.0, prompts=[CLICK, Prompt(1, box=(1, 1, 9, 9))])
    with pytest.raises(NotFound, match="there is no object 7: none are followed"):
        tracker.remove(7)
    assert tracker.prompt(CLICK, seconds=2.0).objects[0].object_id == 1


def test_an_unknown_selection_and_a_model_without_memory_are_refused(model: Any) -> None:
    with pytest.raises(BadInput, match="'sam3': take one of sam2, samurai, dam4sam, sam2long"):
        Tracker(model, selection="sam3")
    with pytest.raises(BadInput, match="this model can't track"):
        Tracker(lively_sam(small_config(directly_add_no_mem_embed=False)))


@pytest.mark.parametrize(("size", "weight"), [("tiny", 0.25), ("small", 0.25), ("base_plus", 0.25), ("large", 0.15)])
def test_samurai_trusts_motion_as_its_authors_do_for_each_size(size: str, weight: float) -> None:
    blocks = {"stages": (1, 1, 2, 1), "global_att_blocks": (3,)}  # shallow ones are as wide, and built in a moment
    model = build_sam(replace(SAM2_1[size], trunk=replace(SAM2_1[size].trunk, **blocks)))
    selection = selection_for(model, "samurai")
    assert isinstance(selection, Samurai)
    assert selection == Samurai(limits_of(model), motion_weight=weight)


def test_it_runs_in_bfloat16(model: Any, frames: list[np.ndarray]) -> None:
    exact = run(Tracker(model, selection="sam2"), frames[:4])
    results = run(Tracker(model, selection="sam2", dtype=torch.bfloat16), frames[:4])
    assert all(found.low_res_logits.dtype == torch.float32 for result in results for found in result.objects)
    for coarse, fine in zip(results, exact, strict=True):
        logits = fine[1].low_res_logits
        # Off by a quarter of the logits' own spread at most, and not at all only if nothing was rounded.
        torch.testing.assert_close(coarse[1].low_res_logits, logits, rtol=0, atol=logits.std().item() / 4)
        assert not torch.equal(coarse[1].low_res_logits, logits)


def test_a_saved_model_is_loaded_with_its_own_colours(tmp_path: Path, frames: list[np.ndarray]) -> None:
    config = replace(small_config(), pixel_mean=(0.1, 0.2, 0.3))
    model = lively_sam(config)
    write_config(config, tmp_path / "config.json")
    with pytest.raises(MissingModel, match=r"lacks model\.safetensors"):
        Tracker.load(tmp_path)
    save_model(model, str(tmp_path / "model.safetensors"))
    loaded = run(Tracker.load(tmp_path), frames[:3])
    same = run(Tracker(model, mean=config.pixel_mean), frames[:3])
    other = run(Tracker(model), frames[:3])
    assert torch.equal(loaded[2][1].low_res_logits, same[2][1].low_res_logits)
    assert not torch.equal(loaded[2][1].low_res_logits, other[2][1].low_res_logits)
