"""Plain streamed tracking gives what the `sam2` package's own video predictor gives on the whole clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lively_sam import HEIGHT, WIDTH, lively_sam, moving_clip, small_config
from torch.nn import functional

from vidmem.bench.track_package import PackageStream, package_predictor, write_folder
from vidmem.memory.tracking.selection import Limits, Reading
from vidmem.models.tracker import Tracker
from vidmem.models.tracking.network import limits_of
from vidmem.models.tracking.plain import Plain
from vidmem.models.tracking.prompts import Click, Prompt
from vidmem.models.tracking.results import FrameResult, at_frame_size

NUM_FRAMES = 20


@dataclass(frozen=True)
class Script:
    """What happens on which frames: prompts with the frame, prompts after it, objects removed after it."""

    first: Mapping[int, Sequence[Prompt]] = field(default_factory=dict)
    then: Mapping[int, Sequence[Prompt]] = field(default_factory=dict)
    removed: Mapping[int, int] = field(default_factory=dict)


def square(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


CLICK = Prompt(1, [Click(30, 20)])
BOX = Prompt(2, box=(60, 30, 80, 50))
MASK = Prompt(3, mask=square(20, 10, 45, 30))
BOTH = Prompt(4, [Click(30, 25), Click(70, 40, on=False)], box=(20, 10, 45, 30))

SCRIPTS = {
    "a click": Script({0: [CLICK]}),
    "a box": Script({0: [BOX]}),
    "a mask": Script({0: [MASK]}),
    "four objects": Script({0: [CLICK, BOX, MASK, BOTH]}),
    "objects that come later": Script({2: [CLICK], 5: [BOX]}, {9: [MASK]}),
    "a prompt again, made without memory": Script({0: [CLICK], 9: [Prompt(1, box=(28, 8, 60, 31))]}),
    "a click more on the first frame": Script(
        {}, {0: [CLICK, Prompt(1, [Click(30, 20), Click(70, 40, on=False)])]}
    ),
    "corrections": Script(
        {0: [CLICK, BOX]},
        {7: [Prompt(1, [Click(33, 22)]), Prompt(1, [Click(33, 22), Click(20, 50, on=False)])], 12: [
            Prompt(2, mask=square(40, 25, 70, 52))]},
    ),
    "an object removed": Script({0: [CLICK, BOX, MASK]}, {}, {8: 2}),
    "much at once": Script(
        {0: [CLICK, MASK], 4: [Prompt(1, [Click(33, 20)])], 6: [BOX, Prompt(1, [Click(38, 21)])]},
        {8: [Prompt(1, [Click(40, 20)]), Prompt(3, mask=square(25, 10, 55, 32))]},
    ),
    "prompts on many frames": Script({frame: [Prompt(1, [Click(30 + frame, 20)])] for frame in range(0, 12, 2)}),
}  # fmt: skip


def streamed(tracker: Tracker, clip: Sequence[np.ndarray], script: Script) -> list[FrameResult]:
    results = []
    for index, frame in enumerate(clip):
        result = tracker.step(frame, index / 8, prompts=script.first.get(index, ()))
        for prompt in script.then.get(index, ()):
            result = tracker.prompt(prompt)
        if index in script.removed:
            tracker.remove(script.removed[index])
        results.append(result)
    return results


def by_package(predictor: Any, folder: Path, num_frames: int, script: Script) -> list[Mapping[int, torch.Tensor]]:
    stream = PackageStream(predictor, folder)
    results = []
    for index in range(num_frames):
        result = stream.step(script.first.get(index, ()))
        for prompt in script.then.get(index, ()):
            result = stream.prompt(prompt)
        if index in script.removed:
            stream.remove(script.removed[index])
        results.append(result)
    return results


# One object goes through the same operations as in the package. Several go through them in one batch, whose last bits
# differ, and where memory is rounded to bfloat16 a last bit becomes a 256th (with float32 memory they agree to 4e-7).
_ALONE, _IN_A_BATCH = 1e-4, 1e-3


def assert_same(ours: Sequence[FrameResult], theirs: Sequence[Mapping[int, torch.Tensor]]) -> None:
    several = any(len(found.objects) > 1 for found in ours)
    for found, expected in zip(ours, theirs, strict=True):
        assert [one.object_id for one in found.objects] == list(expected)
        for one in found.objects:
            wanted = expected[one.object_id]
            # No pixel may differ, but for those of a batch whose logit is 0 but for that last bit.
            differs = one.mask != (wanted > 0)
            assert not (differs & (wanted.abs() > _IN_A_BATCH)).any() if several else not differs.any(), one
            enlarged = functional.interpolate(
                one.low_res_logits[None, None], size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False
            )
            torch.testing.assert_close(enlarged[0, 0], wanted, rtol=0, atol=_IN_A_BATCH if several else _ALONE)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    folder = tmp_path_factory.mktemp("clip")
    return folder, write_folder(moving_clip(NUM_FRAMES), folder)


@pytest.mark.parametrize("name", SCRIPTS)
def test_streamed_masks_are_those_of_the_package(clip: tuple[Path, list[np.ndarray]], name: str) -> None:
    folder, frames = clip
    config = small_config()
    model = lively_sam(config)
    ours = streamed(Tracker(model, selection="sam2"), frames, SCRIPTS[name])
    theirs = by_package(package_predictor(model, config), folder, NUM_FRAMES, SCRIPTS[name])
    assert_same(ours, theirs)
    shares = [one.mask.float().mean() for result in ours for one in result.objects]
    assert any(0 < share < 1 for share in shares), "an empty mask, or one of the whole frame, shows nothing"


VARIANTS: dict[str, dict[str, Any]] = {
    "stride 3": {"memory_temporal_stride_for_eval": 3},
    "few memories": {"num_maskmem": 3, "max_obj_ptrs_in_encoder": 4},
    "two conditioning frames": {"max_cond_frames_in_attn": 2},
    "prompted masks cut for memory": {"binarize_mask_from_pts_for_mem_enc": True},
    "single masks, stable or not": {"multimask_output_in_sam": False, "stability": True},
    "masks through the decoder": {"use_mask_input_as_output_without_sam": False},
    "unsigned ages": {"use_signed_tpos_enc_to_obj_ptrs": False, "proj_tpos_enc_in_obj_ptrs": False},
    "no ages": {
        "add_tpos_enc_to_obj_ptrs": False,
        "use_signed_tpos_enc_to_obj_ptrs": False,
        "proj_tpos_enc_in_obj_ptrs": False,
    },
    "soft absence": {"soft_no_obj_ptr": True, "no_obj_embed_spatial": False},
    "no object scores": {"pred_obj_scores": False, "pred_obj_scores_mlp": False, "fixed_no_obj_ptr": False},
    "one level of features": {"use_high_res_features_in_sam": False},
}


@pytest.mark.parametrize(
    ("name", "script"),
    [*((name, "much at once") for name in VARIANTS), ("two conditioning frames", "prompts on many frames")],
)
def test_every_switch_of_the_model_counts_as_in_the_package(
    clip: tuple[Path, list[np.ndarray]], name: str, script: str
) -> None:
    folder, frames = clip
    config = small_config(**VARIANTS[name])
    model = lively_sam(config)
    ours = streamed(Tracker(model, selection="sam2"), frames, SCRIPTS[script])
    theirs = by_package(package_predictor(model, config), folder, NUM_FRAMES, SCRIPTS[script])
    assert_same(ours, theirs)


def test_objects_without_overlap_are_those_of_the_package() -> None:
    config = small_config()
    predictor = package_predictor(lively_sam(config), config, non_overlap_masks=True)
    low_res = torch.randn(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    sizes = {"video_height": HEIGHT, "video_width": WIDTH, "device": torch.device("cpu")}
    _, expected = predictor._get_orig_video_res_output(sizes, low_res)
    assert torch.equal(at_frame_size(low_res, (HEIGHT, WIDTH), overlap=False), expected[:, 0] > 0)


def test_corrected_frames_may_condition_as_in_the_package(clip: tuple[Path, list[np.ndarray]]) -> None:
    folder, frames = clip
    config = small_config()
    model = lively_sam(config)
    script = SCRIPTS["corrections"]
    ours = streamed(Tracker(model, selection=Plain(limits_of(model), corrections_condition=True)), frames, script)
    predictor = package_predictor(model, config, add_all_frames_to_correct_as_cond=True)
    assert_same(ours, by_package(predictor, folder, NUM_FRAMES, script))


def test_objects_that_leave_and_return_are_those_of_the_package(clip: tuple[Path, list[np.ndarray]]) -> None:
    folder, frames = clip
    config = small_config()
    plain = streamed(Tracker(lively_sam(config), selection="sam2"), frames, SCRIPTS["four objects"])
    scores = sorted(one.object_score for result in plain[1:] for one in result.objects)
    model = lively_sam(config, absent_below=scores[len(scores) // 2])
    ours = streamed(Tracker(model, selection="sam2"), frames, SCRIPTS["four objects"])
    theirs = by_package(package_predictor(model, config), folder, NUM_FRAMES, SCRIPTS["four objects"])
    assert_same(ours, theirs)
    kinds = {change.kind for result in ours for change in result.changes}
    assert kinds == {"lost", "back"}


class Otherwise(Plain):
    """Reads as `change` has it."""

    change: Any

    def read(self, state: Any, frame: int) -> Reading:
        return type(self).change(Plain.read(self, state, frame))


def _swapped(reading: Reading) -> Reading:
    rows = list(reading.rows)
    rows[-1], rows[1 - len(rows)] = rows[1 - len(rows)], rows[-1]
    return Reading(reading.frames, tuple(rows), reading.pointer_frames, reading.distances)


@pytest.mark.parametrize(
    "change",
    [
        _swapped,
        lambda r: Reading(r.frames[:-1], r.rows[:-1], r.pointer_frames, r.distances),
        lambda r: Reading(r.frames, r.rows, r.pointer_frames[:-1], r.distances[:-1]),
        lambda r: Reading(r.frames, r.rows, r.pointer_frames, tuple(age + 1 for age in r.distances)),
    ],
)
def test_the_comparison_sees_one_memory_that_is_read_wrongly(clip: tuple[Path, list[np.ndarray]], change: Any) -> None:
    model = lively_sam(small_config())
    Otherwise.change = staticmethod(change)
    right = streamed(Tracker(model, selection="sam2"), clip[1], SCRIPTS["a box"])
    wrong = streamed(Tracker(model, selection=Otherwise(Limits())), clip[1], SCRIPTS["a box"])
    difference = max(
        float((a.objects[0].low_res_logits - b.objects[0].low_res_logits).abs().max())
        for a, b in zip(right, wrong, strict=True)
    )
    assert difference > 2 * _ALONE
