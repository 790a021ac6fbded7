"""A clip run through SAM 2 frame by frame with everything that can be taught along the way, as its authors train it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from sam2.modeling.sam2_utils import sample_box_points, sample_random_points_from_errors
from torch import Tensor

from vidmem.recipes.tracker_clips import ClipBatch
from vidmem.recipes.tracker_loss import Prediction

PromptKind = Literal["click", "box", "mask"]
Points = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a clip is prompted: on its first frame, then with `clicks` that correct what came of it, and perhaps with
    one more such click on a later frame."""

    kind: PromptKind
    clicks: int = 0
    later: int | None = None
    mistaken: range = range(0)
    """Frames that are remembered as if another object of the clip had been followed on them."""


def plan_points(rng: random.Random, num_frames: int) -> Plan:
    return Plan("click" if rng.random() < 0.6 else "box")


def plan_image(rng: random.Random, num_frames: int) -> Plan:
    return Plan("click" if rng.random() < 0.6 else "box", clicks=rng.choice((0, 1, 2, 4)))


def plan_video(rng: random.Random, num_frames: int) -> Plan:
    kind: PromptKind = rng.choice(("click", "box", "mask"))
    clicks = 0 if kind == "mask" else rng.choice((0, 0, 1, 2))
    return Plan(kind, clicks, rng.randrange(1, num_frames) if rng.random() < 0.2 else None)


def plan_recovery(rng: random.Random, num_frames: int) -> Plan:
    """Memory that is wrong for a while, in half of the clips: what was pointed at is to be found again all the same.

    A tracker that learns from its own memory alone trusts the last frames, and what hid an object becomes the object.
    """
    plan = plan_video(rng, num_frames)
    if rng.random() < 0.5:
        return plan
    begin = rng.randrange(1, num_frames - 1)
    return replace(plan, later=None, mistaken=range(begin, min(begin + rng.randint(1, 6), num_frames - 1)))


def to_pixels(frames: Tensor, config: Any, device: torch.device) -> Tensor:
    """uint8 (..., S, S, 3) as the normalised float32 (F, 3, S, S) that the model takes, all frames in one row."""
    pixels = frames.to(device).flatten(0, -4).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(three, device=device).view(3, 1, 1) for three in (config.pixel_mean, config.pixel_std))
    return (pixels - mean) / std


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Of all frames of a batch, as `sam2` flattens them: one tensor (HW, B * T, C) a level, and their sizes."""

    levels: list[Tensor]
    positions: list[Tensor]
    sizes: list[tuple[int, int]]

    def of(self, rows: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        return [level[:, rows] for level in self.levels], [position[:, rows] for position in self.positions]


def encode(model: Any, pixels: Tensor) -> Features:
    _, levels, positions, sizes = model._prepare_backbone_features(model.forward_image(pixels))
    return Features(levels, positions, sizes)


def unroll(model: Any, batch: ClipBatch, pixels: Tensor, plan: Plan) -> list[tuple[int, Prediction]]:
    """Track all objects of a batch through its frames: every prediction on the way, with the frame's index.

    Boxes and clicks are drawn from torch's global generator. A given mask is no prediction.
    """
    num_clips, num_objects = batch.masks.shape[:2]
    features = encode(model, pixels)
    first_rows = torch.arange(num_clips, device=pixels.device).repeat_interleave(num_objects) * batch.num_frames
    made: list[tuple[int, Prediction]] = []
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    for index, number in enumerate(batch.frame_numbers):
        truth = batch.masks[:, :, index].flatten(0, 1)[:, None].to(pixels.device)
        clicks = plan.clicks if index == 0 else int(index == plan.later)
        kind = plan.kind if index == 0 else None
        frame = _Frame(model, features, first_rows + index, number, truth)
        is_last = index + 1 == batch.num_frames
        predictions, out = frame.track(memory, kind, clicks, total=max(64, number + 1), is_remembered=not is_last)
        made += [(index, prediction) for prediction in predictions]
        if index in plan.mistaken:
            out |= {name: _of_another(out[name], num_objects) for name in ("maskmem_features", "obj_ptr")}
        prompted = kind is not None or clicks > 0
        memory["cond_frame_outputs" if prompted else "non_cond_frame_outputs"][number] = out
    return made


def _of_another(rows: Tensor, num_objects: int) -> Tensor:
    """Rows (B * K, ...), with those of the next of its clip's K objects for each."""
    return rows.unflatten(0, (-1, num_objects)).roll(1, dims=1).flatten(0, 1)


class _Frame:
    """One frame of each clip, for each of its objects."""

    def __init__(self, model: Any, features: Features, rows: Tensor, number: int, truth: Tensor) -> None:
        self.model, self.number, self.truth = model, number, truth
        self.levels, self.positions = features.of(rows)
        self.sizes = features.sizes

    def track(
        self,
        memory: dict[str, dict[int, Any]],
        kind: PromptKind | None,
        clicks: int,
        *,
        total: int,
        is_remembered: bool,
    ) -> tuple[list[Prediction], Any]:
        """What was predicted, before and after each correcting click, and what memory keeps."""
        first = kind is not None
        points = self._first_points(kind) if kind in ("click", "box") else None
        out, found, fine, fused = self.model._track_step(
            frame_idx=self.number,
            is_init_cond_frame=first,
            current_vision_feats=self.levels,
            current_vision_pos_embeds=self.positions,
            feat_sizes=self.sizes,
            point_inputs=points,
            mask_inputs=self.truth.float() if kind == "mask" else None,
            output_dict=memory,
            num_frames=total,
            track_in_reverse=False,
            prev_sam_mask_logits=None,
        )
        predictions = [] if kind == "mask" else [_prediction(found)]
        for _ in range(clicks):
            points = self._corrected(points, found[4] > 0)
            found = self.model._forward_sam_heads(
                backbone_features=fused,
                point_inputs=points,
                mask_inputs=found[3].detach().clamp(-32, 32),
                high_res_features=fine,
                multimask_output=self.model._use_multimask(first, points),
            )
            predictions.append(_prediction(found))
        out |= {"pred_masks": found[3], "pred_masks_high_res": found[4], "obj_ptr": found[5]}
        self.model._encode_memory_in_output(self.levels, self.sizes, points, is_remembered, found[4], found[6], out)
        return predictions, out

    def _first_points(self, kind: PromptKind | None) -> Points:
        if kind == "box":
            coordinates, labels = sample_box_points(self.truth)
        else:
            coordinates, labels = sample_random_points_from_errors(self.truth, None)
        return {"point_coords": coordinates.float(), "point_labels": labels}

    def _corrected(self, points: Points | None, found: Tensor) -> Points:
        coordinates, labels = sample_random_points_from_errors(self.truth, found)
        if points is None:
            return {"point_coords": coordinates, "point_labels": labels}
        return {
            "point_coords": torch.cat([points["point_coords"], coordinates], dim=1),
            "point_labels": torch.cat([points["point_labels"], labels], dim=1),
        }


def _prediction(found: tuple[Any, ...]) -> Prediction:
    """Out of what `sam2` gives for its heads: all masks at full size, their IoUs, and the object's logit."""
    return Prediction(masks=found[1], ious=found[2], present=found[6])
