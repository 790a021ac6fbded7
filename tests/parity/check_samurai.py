"""SAMURAI against numbers from running its code. Tolerances are those of the fixtures' description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidmem.memory.tracking import kalman
from vidmem.memory.tracking.boxes import box_iou
from vidmem.memory.tracking.samurai import SamuraiState
from vidmem.memory.tracking.samurai_reference import CodedSamurai
from vidmem.memory.tracking.selection import Candidates, Limits, Reading

from .fixture import Fixture, padded
from .tracked import ABSENT, NOTHING, check_memories, check_pointers, logits_of_boxes

GEOMETRY = {"atol": 1e-4, "rtol": 1e-5}


def group_of(name: str) -> str:
    return name.split("_")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    return {"kf": check_filter, "geo": check_geometry, "seq": check_sequence, "edge": check_edges}.get(group)


def check_filter(fixture: Fixture, group: str) -> None:
    boxes, valid = fixture["kf_boxes"].double().tolist(), fixture["kf_valid"].tolist()
    predicted = posterior = kalman.initiate(boxes[0])
    trace: list[tuple[np.ndarray, ...]] = []
    for index, (box, seen) in enumerate(zip(boxes, valid, strict=True)):
        if index:
            predicted = kalman.predict(posterior)
            posterior = kalman.update(predicted, box) if seen else predicted
        mean, overlap = np.array(predicted.measurement), np.array(box_iou(predicted.measurement.box, box))
        projection = (mean, np.diag(kalman.measured_variances(predicted)), overlap)
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
    boxes = fixture["geo_xyxy"].double().tolist()
    measured = [kalman.measure(box) for box in boxes]
    fixture.close("geo_xyah", torch.tensor(measured), **GEOMETRY)
    fixture.close("geo_back", torch.tensor([one.box for one in measured]), **GEOMETRY)
    fixture.close("geo_iou", torch.tensor([[box_iou(box, other) for other in boxes] for box in boxes]), **GEOMETRY)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One frame of one object."""

    read: Reading
    chosen: int
    box: kalman.Box
    iou: float
    motion_iou: np.ndarray
    mixed: np.ndarray
    written: int
    """0: nothing but a prediction; 1: the filter began; 2: it took the box in."""
    state: SamuraiState


def check_sequence(fixture: Fixture, group: str) -> None:
    side, num_stable, num_memories, num_pointers = fixture.ints("seq_cfg_int")
    tracked_iou, present_above, weight, memory_iou, memory_score, memory_motion = fixture["seq_cfg_float"].tolist()
    strategy = CodedSamurai(
        Limits(num_memories, num_pointers),
        present_above=present_above,
        motion_weight=weight,
        num_stable=num_stable,
        min_tracked_iou=tracked_iou,
        min_memory_iou=memory_iou,
        min_memory_score=memory_score,
        min_memory_motion=memory_motion,
    )
    scores = fixture["seq_obj_logits"]
    offered = offers(fixture["seq_lowres_boxes"], fixture["seq_cand_ious"], scores, side, strategy)
    boxes = [torch.tensor(strategy.boxes(given)) for given in offered]
    fixture.same("seq_cand_boxes", torch.stack(boxes))
    steps = track(strategy, offered)
    check_choices(fixture, "seq", steps)
    unset = np.full(3, np.nan)
    fixture.same("seq_out_box", torch.tensor([boxes[0][0].tolist(), *(step.box for step in steps)]))
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
    absent = [[int(index > 0 and scores[index] <= 0) for index in given.frames] for given in read]
    fixture.same("seq_mem_noobj", padded(absent, fixture["seq_mem_noobj"], -1))


def check_edges(fixture: Fixture, group: str) -> None:
    side, num_stable, num_memories, num_pointers = fixture.ints("edge_cfg_int")
    strategy = CodedSamurai(Limits(num_memories, num_pointers), motion_weight=0.15, num_stable=num_stable)
    arrays = (fixture[f"edge_{name}"] for name in ("lowres_boxes", "cand_ious", "obj_logits"))
    check_choices(fixture, "edge", track(strategy, offers(*arrays, side, strategy)))


def check_choices(fixture: Fixture, prefix: str, steps: list[Step]) -> None:
    fixture.same(f"{prefix}_selected", [-1, *(step.chosen for step in steps)])
    fixture.same(f"{prefix}_stable_frames", [0, *(step.state.num_stable for step in steps)])
    fixture.same(f"{prefix}_kf_op", [0, *(step.written for step in steps)])


def offers(boxes: Tensor, ious: Tensor, scores: Tensor, side: int, strategy: CodedSamurai) -> list[Candidates]:
    masks = logits_of_boxes(boxes, side // 4)
    masks[scores <= strategy.present_above] = ABSENT
    return [
        Candidates(tuple(iou.tolist()), float(score), mask, side, (side, side))
        for iou, score, mask in zip(ious, scores, masks, strict=True)
    ]


def track(strategy: CodedSamurai, offered: list[Candidates]) -> list[Step]:
    """Frames 1 on; frame 0 is the prompt, its candidate 0 the mask."""
    state = strategy.prompted(None, 0, offered[0])
    steps = []
    for index, given in enumerate(offered[1:], 1):
        read = strategy.read(state, index)
        weighed = strategy.weigh(state, given)
        (choice,) = strategy.choose([state], [given], index)
        unset = np.full(len(given.ious), np.nan)
        steps.append(
            Step(
                read=read,
                chosen=choice.candidate,
                box=weighed.boxes[choice.candidate],
                iou=given.ious[choice.candidate],
                motion_iou=unset if weighed.motion_iou is None else np.array(weighed.motion_iou),
                mixed=unset if weighed.motion_iou is None else np.array(weighed.score),
                written=1 if weighed.predicted is None else 2 if choice.state.num_stable else 0,
                state=choice.state,
            )
        )
        state = choice.state
    return steps


def stacked(rows: tuple[np.ndarray, ...]) -> Tensor:
    return torch.from_numpy(np.stack(rows))
