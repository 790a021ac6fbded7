"""SAMURAI against numbers from running its code. Tolerances are those of the fixtures' description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidmem.memory.tracking import kalman
from vidmem.memory.tracking.boxes import box_iou, mask_boxes, present_masks
from vidmem.memory.tracking.samurai import SamuraiState
from vidmem.memory.tracking.samurai_reference import CodedSamurai
from vidmem.memory.tracking.strategy import Attention, Candidates

from .fixture import Fixture, padded
from .tracked import NOTHING, check_memories, check_pointers, frames, logits_of_boxes

GEOMETRY = {"atol": 1e-4, "rtol": 1e-5}


def group_of(name: str) -> str:
    return name.split("_")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    return {"kf": check_filter, "geo": check_geometry, "seq": check_sequence, "edge": check_edges}.get(group)


def check_filter(fixture: Fixture, group: str) -> None:
    boxes, valid = fixture["kf_boxes"].numpy(), fixture["kf_valid"].tolist()
    predicted = posterior = kalman.initiate(boxes[0])
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("pred", "post", "proj", "iou")}
    trace: list[tuple[np.ndarray, ...]] = []
    for index, (box, seen) in enumerate(zip(boxes, valid, strict=True)):
        if index:
            predicted = kalman.predict(posterior)
            posterior = kalman.update(predicted, box) if seen else predicted
        mean, variance = kalman.project(predicted)
        projection = (mean, np.diag(variance), box_iou(predicted.boxes, box))
        trace.append(
            (
                predicted.mean,
                predicted.covariance,
                *(part if index else np.zeros_like(part) for part in projection),
                posterior.mean,
                posterior.covariance,
            )
        )
    names = ("mean_pred", "cov_pred", "proj_mean", "proj_cov", "pred_box_iou", "mean_post", "cov_post")
    for name, column in zip(names, zip(*trace, strict=True), strict=True):
        fixture.close(f"kf_{name}", stacked(column), **GEOMETRY)


def check_geometry(fixture: Fixture, group: str) -> None:
    boxes = fixture["geo_xyxy"].numpy()
    measured = kalman.to_measurement(boxes)
    fixture.close("geo_xyah", torch.from_numpy(measured), **GEOMETRY)
    fixture.close("geo_back", torch.from_numpy(kalman.to_box(measured)), **GEOMETRY)
    fixture.close("geo_iou", torch.from_numpy(box_iou(boxes[:, None], boxes)), **GEOMETRY)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One frame of one object."""

    read: Attention
    chosen: int
    box: np.ndarray
    iou: float
    motion_iou: np.ndarray
    mixed: np.ndarray
    written: int
    """0: nothing but a prediction; 1: the filter began; 2: it took the box in."""
    state: SamuraiState


def check_sequence(fixture: Fixture, group: str) -> None:
    side, num_stable, num_memories, num_pointers = fixture.ints("seq_cfg_int")
    tracked_iou, min_object_logit, weight, memory_iou, memory_logit, memory_motion = fixture["seq_cfg_float"].tolist()
    strategy = CodedSamurai(
        num_memories=num_memories,
        num_pointers=num_pointers,
        motion_weight=weight,
        num_stable=num_stable,
        min_tracked_iou=tracked_iou,
        min_memory_iou=memory_iou,
        min_memory_logit=memory_logit,
        min_memory_motion=memory_motion,
    )
    assert min_object_logit == strategy.min_object_logit
    logits = fixture["seq_obj_logits"]
    boxes = boxes_of(fixture["seq_lowres_boxes"], logits, side)
    fixture.same("seq_cand_boxes", boxes)
    steps = track(strategy, boxes, fixture["seq_cand_ious"], logits)
    check_choices(fixture, "seq", steps)
    unset = np.full(3, np.nan)
    fixture.same("seq_out_box", torch.stack([boxes[0, 0], *(torch.from_numpy(step.box) for step in steps)]))
    fixture.close("seq_best_iou", torch.tensor([np.nan, *(step.iou for step in steps)]), atol=1e-3)
    motion = [np.nan, *(step.motion_iou[step.chosen] for step in steps)]
    fixture.close("seq_kf_score", torch.tensor(motion), atol=1e-3)
    fixture.close("seq_kf_iou", stacked((unset, *(step.motion_iou for step in steps))), atol=1e-3)
    fixture.close("seq_weighted", stacked((unset, *(step.mixed for step in steps))), atol=1e-3)
    filters = [step.state.motion for step in steps if step.state.motion]
    variances = [np.diagonal(motion.covariance) for motion in filters]
    for name, first, rows in (
        ("mean", np.full(8, np.nan), [motion.mean for motion in filters]),
        ("cov_diag", np.full(8, np.nan), variances),
    ):
        fixture.close(f"seq_kf_{name}", stacked((first, *rows)), atol=1e-3, rtol=1e-4)
    read = [NOTHING, *(step.read for step in steps)]
    check_memories(fixture, "seq", read)
    check_pointers(fixture, "seq", read)
    absent = [[int(index > 0 and logits[index] <= 0) for index in frames(given.memories)] for given in read]
    fixture.same("seq_mem_noobj", padded(absent, fixture["seq_mem_noobj"], -1))


def check_edges(fixture: Fixture, group: str) -> None:
    side, num_stable, num_memories, num_pointers = fixture.ints("edge_cfg_int")
    strategy = CodedSamurai(
        num_memories=num_memories, num_pointers=num_pointers, motion_weight=0.15, num_stable=num_stable
    )
    logits = fixture["edge_obj_logits"]
    boxes = boxes_of(fixture["edge_lowres_boxes"], logits, side)
    check_choices(fixture, "edge", track(strategy, boxes, fixture["edge_cand_ious"], logits))


def check_choices(fixture: Fixture, prefix: str, steps: list[Step]) -> None:
    fixture.same(f"{prefix}_selected", [-1, *(step.chosen for step in steps)])
    fixture.same(f"{prefix}_stable_frames", [0, *(step.state.num_stable for step in steps)])
    fixture.same(f"{prefix}_kf_op", [0, *(step.written for step in steps)])


def boxes_of(low: Tensor, logits: Tensor, side: int) -> Tensor:
    """Candidates' boxes in the model square, out of boxes on the decoder's grid of a quarter of it."""
    masks = logits_of_boxes(low, side // 4)
    return torch.stack(
        [
            mask_boxes(present_masks(mask, logit, (side, side), threshold=CodedSamurai.min_object_logit))
            for mask, logit in zip(masks, logits, strict=True)
        ]
    )


def track(strategy: CodedSamurai, boxes: Tensor, ious: Tensor, logits: Tensor) -> list[Step]:
    """Frames 1 on, frame 0 is the prompt."""
    state = strategy.prompt(None, 0, boxes[0, 0].numpy())
    steps = []
    for index in range(1, len(logits)):
        given = Candidates(ious[index, None].numpy(), logits[index, None].numpy(), boxes[index, None].numpy())
        (read,) = strategy.attend(state, index)
        assert given.boxes is not None
        scores = strategy.score([state], given.ious, given.boxes)
        (choice,) = strategy.choose([state], index, [given])
        (branch,) = choice.branches
        counts = bool(scores.is_moving[0])
        began = state.num_stable == 0
        steps.append(
            Step(
                read=read,
                chosen=branch.candidate,
                box=given.boxes[0, branch.candidate],
                iou=float(given.ious[0, branch.candidate]),
                motion_iou=scores.motion_iou[0] if counts else np.full(len(ious[index]), np.nan),
                mixed=scores.mixed[0] if counts else np.full(len(ious[index]), np.nan),
                written=1 if began else 2 if choice.state.num_stable else 0,
                state=choice.state,
            )
        )
        state = choice.state
    return steps


def stacked(rows: tuple[np.ndarray, ...]) -> Tensor:
    return torch.from_numpy(np.stack(rows))
