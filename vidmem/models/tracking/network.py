"""The calls of one `sam2.modeling.sam2_base.SAM2Base`, for many pathways at once.

They compute what `SAM2VideoPredictor` computes for one object at a time, out of the model's own modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vidmem.errors import BadInput
from vidmem.memory.tracking.boxes import candidate_boxes
from vidmem.memory.tracking.selection import Candidates, Limits
from vidmem.models.tracking.bank import Bank, Place, Tokens

ABSENT = -1024.0
"""Logit of every pixel of an object that is taken to be absent, as in `sam2`."""
_PROMPT_CLAMP = 32.0
"""Largest logit of an earlier mask that goes with new clicks, as in `sam2`."""
_MASK_LOGIT = 10.0
"""Logit of a given mask's pixels, and the object score that goes with it, as in `sam2`."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """One picture as the network sees it, batch size 1."""

    image: Tensor
    """(1, C, h, w), the coarsest level, of which memory is made."""
    high_res: list[Tensor] | None
    """Finer levels for the mask decoder."""
    positions: Tensor
    """(h * w, 1, C), of the coarsest level."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Candidates of B pathways, M each."""

    masks: Tensor
    """(B, M, h, w) float32 logits at a quarter of the network's square."""
    ious: Tensor
    """(B, M) predicted."""
    tokens: Tensor
    """(B, M or 1, C), of which object pointers are made."""
    object_score: Tensor
    """(B, 1) logits."""


def candidates_of(decoded: Decoded, *, square: int, frame_size: tuple[int, int], boxes: bool) -> list[Candidates]:
    """What was decoded as a selection wants it: one for each pathway, with one transfer from the device for all.

    Args:
        square: side of the network's square in pixels.
        boxes: whether to find the boxes of all masks, which takes one more.
    """
    count, num_masks = decoded.ious.shape
    numbers = torch.cat([decoded.object_score, decoded.ious], dim=1).tolist()
    around = candidate_boxes(decoded.masks.flatten(0, 1), square) if boxes else []
    boxes_of = [tuple(around[first : first + num_masks]) or None for first in range(0, count * num_masks, num_masks)]
    return [
        Candidates(tuple(ious), score, masks, square, frame_size, own)
        for (score, *ious), masks, own in zip(numbers, decoded.masks, boxes_of, strict=True)
    ]


def limits_of(model: Any) -> Limits:
    """How much memory a `sam2.modeling.sam2_base.SAM2Base` attends to."""
    return Limits(
        num_memories=model.num_maskmem,
        num_pointers=model.max_obj_ptrs_in_encoder if model.use_obj_ptrs_in_encoder else 0,
        stride=model.memory_temporal_stride_for_eval,
        max_conditioning=model.max_cond_frames_in_attn,
    )


class Network:
    """A model in evaluation mode with its constants. It keeps nothing of what it sees.

    Args:
        model: see `vidmem.models.sam.load_sam`.
        dtype: what the model computes in, by autocast if it is not float32.

    Raises:
        BadInput: the model begins without memory in a way that no published SAM 2 does.
    """

    def __init__(
        self,
        model: Any,
        *,
        dtype: torch.dtype,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        if model.num_maskmem < 2 or not model.directly_add_no_mem_embed:
            raise BadInput(
                f"this model can't track (num_maskmem = {model.num_maskmem}, directly_add_no_mem_embed ="
                f" {model.directly_add_no_mem_embed}): take one with memory, that begins from the image alone."
            )
        self.model = model
        self.device: torch.device = model.device
        self.square: int = model.image_size
        self._dtype = dtype
        self._mean = torch.tensor(mean, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(std, device=self.device).view(3, 1, 1)

    def running(self) -> torch.autocast:
        """The precision that all calls must be made in."""
        return torch.autocast(self.device.type, dtype=self._dtype, enabled=self._dtype != torch.float32)

    def see(self, square: np.ndarray | Tensor) -> Features:
        """Encode a uint8 RGB picture (S, S, 3) of the network's square."""
        pixels = torch.as_tensor(square).to(self.device).permute(2, 0, 1).float() / 255.0
        out = self.model.forward_image(((pixels - self._mean) / self._std)[None])
        levels = out["backbone_fpn"][-self.model.num_feature_levels :]
        return Features(
            image=levels[-1],
            high_res=list(levels[:-1]) or None,
            positions=out["vision_pos_enc"][-1].flatten(2).permute(2, 0, 1),
        )

    def without_memory(self, features: Features) -> Tensor:
        """What the mask decoder gets on a frame that is prompted anew: (1, C, h, w)."""
        return features.image + self.model.no_mem_embed.view(1, -1, 1, 1)

    def with_memory(self, features: Features, bank: Bank, places: Sequence[Place]) -> Tensor:
        """What the mask decoder gets on a tracked frame: (B, C, h, w), one for each of B pathways."""
        groups: dict[tuple[int, int, bool], list[int]] = {}
        for index, place in enumerate(places):
            groups.setdefault(place.shape, []).append(index)
        parts = [self._attend(features, bank.read([places[i] for i in members])) for members in groups.values()]
        if len(parts) == 1:
            return parts[0]
        order = torch.tensor([index for members in groups.values() for index in members], device=self.device)
        return torch.cat(parts)[order.argsort()]

    def _attend(self, features: Features, tokens: Tokens) -> Tensor:
        count = len(tokens.values)
        attended = self.model.memory_attention(
            curr=features.image.flatten(2).permute(2, 0, 1).expand(-1, count, -1),
            curr_pos=features.positions.expand(-1, count, -1),
            memory=tokens.values.transpose(0, 1),
            memory_pos=tokens.positions.transpose(0, 1),
            num_obj_ptr_tokens=tokens.num_pointers,
        )
        return attended.permute(1, 2, 0).unflatten(2, features.image.shape[2:])

    def decode(
        self,
        features: Features,
        attended: Tensor,
        *,
        present_above: float,
        points: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        initial: bool = False,
        single: bool = False,
    ) -> Decoded:
        """Candidates for B pathways.

        Args:
            attended: (B, C, h, w) of `with_memory`, or of `without_memory`.
            present_above: object score above which masks are not all absent.
            points: coordinates (1 or B, P, 2) in pixels of the network's square, and labels (1 or B, P) as in `sam2`.
            mask: logits (1, 1, S, S) or (1, 1, S / 4, S / 4) that go in as a prompt.
            initial: the frame is prompted anew.
            single: one candidate in any case.
        """
        model = self.model
        several = not single and self._offers_several(0 if points is None else points[1].shape[1], initial)
        sparse, dense = self._unprompted if points is None and mask is None else self._prompted(points, mask)
        masks, ious, tokens, object_score = model.sam_mask_decoder(
            image_embeddings=attended,
            image_pe=self._image_positions,
            sparse_prompt_embeddings=sparse.expand(len(attended), -1, -1),
            dense_prompt_embeddings=dense,
            multimask_output=several,
            repeat_image=False,
            high_res_features=features.high_res,
        )
        if model.pred_obj_scores:
            masks = torch.where((object_score > present_above)[:, None, None], masks, ABSENT)
        return Decoded(masks.float(), ious.float(), tokens, object_score.float())

    def _offers_several(self, num_points: int, initial: bool) -> bool:
        model = self.model
        return (
            model.multimask_output_in_sam
            and (initial or model.multimask_output_for_tracking)
            and model.multimask_min_pt_num <= num_points <= model.multimask_max_pt_num
        )

    def _prompted(self, points: tuple[Tensor, Tensor] | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        if points is None:
            points = torch.zeros(1, 1, 2, device=self.device), -torch.ones(1, 1, dtype=torch.int32, device=self.device)
        encoder = self.model.sam_prompt_encoder
        if mask is not None and mask.shape[-2:] != encoder.mask_input_size:
            mask = functional.interpolate(
                mask.float(), size=encoder.mask_input_size, align_corners=False, mode="bilinear", antialias=True
            )
        sparse, dense = encoder(points=points, boxes=None, masks=mask)
        return sparse, dense

    @cached_property
    def _unprompted(self) -> tuple[Tensor, Tensor]:
        return self._prompted(None, None)

    @cached_property
    def _image_positions(self) -> Tensor:
        return self.model.sam_prompt_encoder.get_dense_pe()

    def pointer(self, tokens: Tensor, object_score: Tensor, *, present_above: float) -> Tensor:
        """Object pointers (B, C) of chosen tokens (B, C) and object scores (B, 1)."""
        model = self.model
        pointer = model.obj_ptr_proj(tokens)
        if not model.pred_obj_scores or not model.use_obj_ptrs_in_encoder:
            return pointer
        present = object_score.sigmoid() if model.soft_no_obj_ptr else (object_score > present_above).float()
        if model.fixed_no_obj_ptr:
            pointer = present * pointer
        return pointer + (1 - present) * model.no_obj_ptr

    def given(self, features: Features, mask: Tensor, *, present_above: float) -> tuple[Decoded, Tensor]:
        """A given mask (1, 1, S, S) of 0 and 1 taken as it is: itself as the one candidate, and its pointer."""
        logits = mask * (2 * _MASK_LOGIT) - _MASK_LOGIT
        quarter = (self.square // 4, self.square // 4)
        low_res = functional.interpolate(logits, size=quarter, align_corners=False, mode="bilinear", antialias=True)
        one = torch.ones(1, 1, device=self.device)
        if self.model.use_obj_ptrs_in_encoder:
            prompt = self.model.mask_downsample(mask)
            seen = self.decode(features, features.image, present_above=present_above, mask=prompt, single=True)
            pointer = self.pointer(seen.tokens[:, 0], seen.object_score, present_above=present_above)
        else:
            pointer = torch.zeros(1, self.model.hidden_dim, device=self.device)
        return Decoded(low_res, one, pointer[:, None], _MASK_LOGIT * one), pointer

    def remember(self, features: Features, masks: Tensor, object_score: Tensor, binarise: Sequence[bool]) -> Tensor:
        """Memories (B, h * w, C) of B masks (B, 1, h, w), which are logits at a quarter of the square.

        Args:
            object_score: (B, 1); where it is not above 0 the memory says that the object was not there.
            binarise: for each mask, whether it is cut at 0.
        """
        model = self.model
        logits = functional.interpolate(masks, size=(self.square, self.square), mode="bilinear", align_corners=False)
        parts = logits.sigmoid() if not all(binarise) else logits
        if any(binarise):
            cut = torch.tensor(binarise, device=self.device).view(-1, 1, 1, 1)
            parts = torch.where(cut, (logits > 0).float(), parts)
        scaled = parts * model.sigmoid_scale_for_mem_enc + model.sigmoid_bias_for_mem_enc
        memory = model.memory_encoder(features.image, scaled, skip_mask_sigmoid=True)["vision_features"]
        if model.no_obj_embed_spatial is not None:
            absent = 1 - (object_score > 0).float()
            memory = memory + (absent * model.no_obj_embed_spatial)[..., None, None]
        return memory.flatten(2).transpose(1, 2)

    def clamped(self, masks: Tensor) -> Tensor:
        """Logits of an earlier mask as a prompt that goes with new clicks."""
        return masks.clamp(-_PROMPT_CLAMP, _PROMPT_CLAMP)
