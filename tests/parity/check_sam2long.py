"""SAM2Long against numbers from running its code. Tolerances are those of the fixtures' description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vidmem.memory.tracking.boxes import enlarged, mask_boxes
from vidmem.memory.tracking.sam2long import Pathway
from vidmem.memory.tracking.sam2long_reference import PROMPT_SCORE, CodedSam2Long, coded_scales
from vidmem.memory.tracking.selection import Candidates, Choice, Limits, Reading

from .fixture import Fixture
from .tracked import ABSENT, logits_of_boxes

NAN = float("nan")
PROMPT_BOX = (20, 20, 60, 60)


def group_of(name: str) -> str:
    return name.split("_")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    if group.startswith("mod") and group[3:].isdigit():
        return check_scales
    return check_pathways if len(group) == 1 else None


@dataclass(slots=True)
class Trace:
    """One video. `history` of a slot: whose record it goes back to on each frame from the prompt on."""

    read: list[list[Reading]] = field(default_factory=list)
    histories_read: list[list[dict[int, int]]] = field(default_factory=list)
    choices: list[Sequence[Choice[Pathway]]] = field(default_factory=list)
    boxes: list[list[list[int]]] = field(default_factory=list)
    histories: list[dict[int, int]] = field(default_factory=list)
    states: list[Pathway] = field(default_factory=list)


def check_pathways(fixture: Fixture, prefix: str) -> None:
    num_frames, num_pathways, start, side, num_memories, num_pointers = fixture.ints(f"{prefix}_cfg_int")
    min_memory_iou, certain_above = fixture[f"{prefix}_cfg_float"].tolist()
    strategy = CodedSam2Long(
        Limits(num_memories, num_pointers),
        num_pathways=num_pathways,
        min_memory_iou=min_memory_iou,
        certain_above=certain_above,
    )
    ious, scores = fixture[f"{prefix}_cand_iou"], fixture[f"{prefix}_obj_logit"]
    trace = follow(strategy, ious, scores, start, side)
    check_tree(fixture, prefix, trace, start)
    check_reading(fixture, prefix, trace, scores, start)
    certain = [int(row.abs().max() > certain_above) if t > start + 1 else -1 for t, row in enumerate(scores)]
    fixture.same(f"{prefix}_certain", certain)
    rows = [[history.get(t, -1) for t in range(num_frames)] for history in trace.histories]
    fixture.same(f"{prefix}_final_history", rows)
    shown = [[0] * 4] * start + [list(PROMPT_BOX)]
    shown += [trace.boxes[t - start - 1][trace.histories[0][t]] for t in range(start + 1, num_frames)]
    fixture.same(f"{prefix}_final_box", shown)


def follow(strategy: CodedSam2Long, ious: Tensor, scores: Tensor, start: int, side: int) -> Trace:
    trace = Trace(histories=[{start: 0}])
    states: Sequence[Pathway] = [strategy.prompted(None, start, offer(0, ious[start, 0], scores[start, 0], side))]
    for frame in range(start + 1, len(ious)):
        trace.read.append([strategy.read(state, frame) for state in states])
        trace.histories_read.append(trace.histories)
        found = [offer(slot, ious[frame, slot], scores[frame, slot], side) for slot in range(len(states))]
        choices = strategy.choose(states, found, frame)
        trace.choices.append(choices)
        boxes = [mask_boxes(enlarged(given.masks, (side, side))).tolist() for given in found]
        trace.boxes.append([boxes[choice.pathway][choice.candidate] for choice in choices])
        # All copies of the first tracked frame are one record.
        trace.histories = [
            {**trace.histories[choice.pathway], frame: slot if frame > start + 1 else 0}
            for slot, choice in enumerate(choices)
        ]
        states = [choice.state for choice in choices]
    return trace


def offer(slot: int, ious: Tensor, score: Tensor, side: int) -> Candidates:
    """What the fixture's decoder answers: candidate j of slot q is a box at a place of its own."""
    boxes = torch.tensor([[2 + 10 * slot, 2 + 12 * j, 8 + 10 * slot, 10 + 12 * j] for j in range(len(ious))])
    masks = logits_of_boxes(boxes, side // 4) if score > 0 else torch.full((len(ious), side // 4, side // 4), ABSENT)
    return Candidates(tuple(ious.tolist()), float(score), masks, side, (side, side))


def check_tree(fixture: Fixture, prefix: str, trace: Trace, start: int) -> None:
    none = [-1] * len(trace.histories)
    grown = trace.choices[1:]
    before = [none] * (start + 2)
    fixture.same(f"{prefix}_parent", [*before, *([choice.pathway for choice in row] for row in grown)])
    fixture.same(f"{prefix}_child", [*before, *([choice.candidate for choice in row] for row in grown)])
    scores = [[NAN] * len(none)] * (start + 1) + [[choice.state.score for choice in row] for row in trace.choices]
    fixture.close(f"{prefix}_acc_score", torch.tensor(scores, dtype=torch.float64), atol=1e-5)


def check_reading(fixture: Fixture, prefix: str, trace: Trace, scores: Tensor, start: int) -> None:
    """Fill arrays like the fixture's, slot by slot, with what was read and how it was weighted."""
    ours = {
        name: torch.full_like(fixture[f"{prefix}_{name}"], NAN if "scores" in name else -1)
        for name in (
            "mem_frames",
            "mem_slots",
            "mem_tpos_row",
            "mem_frame_scores",
            "ptr_frames",
            "ptr_dist",
            "ptr_scores",
        )
    }
    for step, (readings, histories) in enumerate(zip(trace.read, trace.histories_read, strict=True)):
        for slot, (given, history) in enumerate(zip(readings, histories, strict=True)):
            place = (step + start + 1, slot)
            parents = {frame: run_of(trace, frame, history[frame], start) for frame in history}
            for kind, frames in (("mem_frame", given.frames), ("ptr", given.pointer_frames)):
                logits = [PROMPT_SCORE if t == start else float(scores[t, parents[t]]) for t in frames]
                ours[f"{kind}_scores"][place][: len(frames)] = torch.tensor(logits)
                scales = given.frame_scales if kind == "mem_frame" else given.pointer_scales
                assert scales == (coded_scales(logits) if len(given.frames) > 1 else ())
            slots = [history[t] for t in given.frames]
            for name, row in (
                ("mem_frames", given.frames),
                ("mem_slots", slots),
                ("mem_tpos_row", given.rows),
                ("ptr_frames", given.pointer_frames),
                ("ptr_dist", given.distances),
            ):
                ours[name][place][: len(row)] = torch.tensor(row, dtype=torch.int32)
    for name, array in ours.items():
        if "scores" in name:
            fixture.close(f"{prefix}_{name}", array, atol=1e-5)
        else:
            fixture.same(f"{prefix}_{name}", array)


def run_of(trace: Trace, frame: int, slot: int, start: int) -> int:
    """Which slot's run on a frame made a slot's record."""
    return trace.choices[frame - start - 1][slot].pathway if frame > start else 0


def check_scales(fixture: Fixture, group: str) -> None:
    in_bfloat16 = bool(fixture.ints(f"{group}_bf16")[0])
    frames = fixture[f"{group}_frame_scores"].tolist()
    pointers = fixture[f"{group}_ptr_scores"].tolist()
    for name, scores in (("frame", frames), ("ptr", pointers)):
        # One frame alone is the prompt's: then nothing is scaled, nor are pointers.
        scales = torch.tensor(coded_scales(scores) if len(frames) > 1 else [1.0] * len(scores))
        if in_bfloat16:
            scales = scales.bfloat16().float()
        fixture.close(f"{group}_{name}_scale", scales, atol=1e-3 if in_bfloat16 else 1e-6)
