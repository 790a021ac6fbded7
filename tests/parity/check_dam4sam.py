"""DAM4SAM against numbers from running its code. Tolerances are those of the fixtures' description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidmem.memory.tracking.boxes import enlarged, mask_boxes
from vidmem.memory.tracking.components import largest_component
from vidmem.memory.tracking.dam4sam import Dam4SamState, Judgement
from vidmem.memory.tracking.dam4sam_reference import CodedDam4Sam, raster_overlap
from vidmem.memory.tracking.selection import Candidates, Limits, Reading

from .fixture import Fixture, padded
from .tracked import ABSENT, NOTHING, check_memories, check_pointers, logits_of_boxes

NAN = float("nan")


def group_of(name: str) -> str:
    return name.split("_")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    return {"seq": check_sequence, "drm": check_anchors, "cc": check_components, "bbox": check_overlap}.get(group)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One frame of one object."""

    read: Reading
    chosen: int
    judged: Judgement
    state: Dam4SamState


def check_sequence(fixture: Fixture, group: str) -> None:
    num_frames, side, width, height, num_memories, step, max_anchors, num_pointers = fixture.ints("seq_cfg_int")
    strategy = CodedDam4Sam(Limits(num_memories, num_pointers), max_anchors=max_anchors, step=step)
    ious, scores = fixture["seq_cand_iou"], fixture["seq_obj_logit"]
    logits = logits_of_boxes(fixture["seq_lowres_boxes"], side // 4).amax(2)
    logits[scores <= strategy.present_above] = ABSENT
    offered = [
        Candidates(tuple(iou.tolist()), float(score), mask, side, (height, width))
        for iou, score, mask in zip(ious, scores, logits, strict=True)
    ]
    assert len(offered) == num_frames
    masks = torch.stack([enlarged(given.masks, (height, width)) for given in offered])
    fixture.same("seq_cand_masks_packed", packed(masks))
    steps = track(strategy, offered)
    check_judgements(fixture, steps, ious)
    sizes = [-1, *(int((given.masks[step.chosen] > 0).sum()) for given, step in zip(offered[1:], steps, strict=True))]
    fixture.same("seq_n_pixels_lowres", sizes)
    first = torch.from_numpy(np.unpackbits(fixture["seq_init_mask_packed"].numpy(), axis=-1)[:, :width]) > 0
    shown = [first, *(masks[index, step.chosen] for index, step in enumerate(steps, 1))]
    fixture.same("seq_out_box", torch.from_numpy(mask_boxes(torch.stack(shown))))
    check_readings(fixture, steps, scores)


def packed(masks: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(masks.numpy(), axis=-1))


def track(strategy: CodedDam4Sam, offered: list[Candidates]) -> list[Step]:
    """Frames 1 on; frame 0 is the prompt."""
    state = strategy.prompted(None, 0, offered[0])
    steps = []
    for index, given in enumerate(offered[1:], 1):
        read = strategy.read(state, index)
        (choice,) = strategy.choose([state], [given], index)
        steps.append(Step(read, choice.candidate, strategy.judge(state, given, choice.candidate, index), choice.state))
        assert choice.binarise == steps[-1].judged.is_anchor
        state = choice.state
    return steps


def check_judgements(fixture: Fixture, steps: list[Step], ious: Tensor) -> None:
    judged = [step.judged for step in steps]
    fixture.same("seq_selected", [-1, *(step.chosen for step in steps)])
    chosen = torch.stack([ious[index, step.chosen] for index, step in enumerate(steps, 1)])
    fixture.close("seq_iou", torch.cat([torch.tensor([NAN]), chosen]), atol=0)
    fixture.same("seq_n_pixels", [-1, *(one.num_pixels for one in judged)])
    ratios = [-1 if one.size_ratio is None else one.size_ratio for one in judged]
    fixture.close("seq_size_ratio", torch.tensor([NAN, *ratios]), atol=1e-5)
    fixture.same("seq_gate_passed", [0, *(int(one.is_reliable) for one in judged)])
    fixture.same("seq_n_alternatives", [0, *(one.num_alternatives for one in judged)])
    overlaps = [NAN if one.min_overlap is None else one.min_overlap for one in judged]
    fixture.close("seq_min_bbox_iou", torch.tensor([NAN, *overlaps]), atol=1e-5)
    fixture.same("seq_drm_added", [0, *(int(one.is_anchor) for one in judged)])
    added = [-1 if step.state.last_added is None else step.state.last_added for step in steps]
    fixture.same("seq_last_added", [-1, *added])


def check_readings(fixture: Fixture, steps: list[Step], scores: Tensor) -> None:
    read = [NOTHING, *(step.read for step in steps)]
    check_memories(fixture, "seq", read)
    check_pointers(fixture, "seq", read)
    anchors = {0} | {index for index, step in enumerate(steps, 1) if step.judged.is_anchor}
    absent = [[int(index > 0 and scores[index] <= 0) for index in given.frames] for given in read]
    fixture.same("seq_mem_noobj", padded(absent, fixture["seq_mem_noobj"], -1))
    binarised = [[int(index in anchors) for index in given.frames] for given in read]
    fixture.same("seq_mem_binarized", padded(binarised, fixture["seq_mem_binarized"], -1))


def check_anchors(fixture: Fixture, group: str) -> None:
    rows = []
    cases = (fixture["drm_cond_frames"].tolist(), fixture.ints("drm_frame_idx"), fixture.ints("drm_max"))
    for frames, frame, max_anchors in zip(*cases, strict=True):
        stored = sorted(index for index in frames if index >= 0)
        state = Dam4SamState((0,), tuple(index for index in stored if index))
        rows.append(CodedDam4Sam(max_anchors=max_anchors).anchors_for(state, frame))
    fixture.same("drm_selected", padded(rows, fixture["drm_selected"], -1))


def check_components(fixture: Fixture, group: str) -> None:
    parts = [torch.from_numpy(largest_component(mask.numpy() > 0)) for mask in fixture["cc_in"]]
    fixture.same("cc_out", torch.stack(parts))


def check_overlap(fixture: Fixture, group: str) -> None:
    pairs = zip(fixture["bbox_a_inclusive"].tolist(), fixture["bbox_b_inclusive"].tolist(), strict=True)
    fixture.close("bbox_iou", torch.tensor([raster_overlap(*pair) for pair in pairs]), atol=1e-6)
