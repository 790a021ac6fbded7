"""Semantics: a few kept frames, with all others folded into whichever of them they are most like.

HERMES calls this the semantics retriever. A fold looks at the whole video, not at neighbours: what comes back later
is counted with what it looks like.

Source: HERMES (Faure et al., arXiv 2408.17443), section 3.3, after ToMe (Bolya et al., ICLR 2023), and its code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Which of G kept frames each of T frames went to: decided on features, to be applied to any tensor of T frames."""

    kept: Tensor
    """(G,) int64 places of the kept frames, ascending."""
    owner: Tensor
    """(B, T) int64, which of the G each frame is folded into; the kept ones into themselves."""

    def mean(self, frames: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean of every kept frame and all that are folded into it: (B, T, ...) to (B, G, ...).

        Computed in float32 (float64 stays), in the dtype of `frames`.

        Args:
            frames: (B, T, ...). Frames from T on are left out.
            weight: (B, T), above 0, how much each counts. None: all the same.
        """
        rows = frames[:, : self.owner.shape[1]].flatten(2)
        rows = rows.to(torch.float64 if frames.dtype == torch.float64 else torch.float32)
        weight = torch.ones_like(rows[..., 0]) if weight is None else weight[:, : self.owner.shape[1]].to(rows)
        total = rows.new_zeros(rows.shape[0], len(self.kept), rows.shape[2])
        total.scatter_add_(1, self.owner.unsqueeze(-1).expand_as(rows), rows * weight.unsqueeze(-1))
        mean = total / self.total(weight).unsqueeze(-1)
        return mean.to(frames.dtype).unflatten(2, frames.shape[2:])

    def total(self, weight: Tensor) -> Tensor:
        """Sum of weights (B, T) over what is folded together: (B, G)."""
        return weight.new_zeros(weight.shape[0], len(self.kept)).scatter_add_(1, self.owner, weight)

    def spread(self, means: Tensor) -> Tensor:
        """Put means (B, G, ...) back in the places of the frames they are of: (B, T, ...)."""
        flat = means.flatten(2)
        return flat.gather(1, self.owner.unsqueeze(-1).expand(-1, -1, flat.shape[-1])).unflatten(2, means.shape[2:])


def plan_fold(features: Tensor, kept: Tensor) -> Fold:
    """Let each frame that is not kept join the kept one that it is most like.

    Similarity is the cosine (0 with a vector of zeros, where the reference gives NaN) with all kept frames, earlier
    and later; the first of equals is taken. O(T G D).

    Args:
        features: (B, T, D).
        kept: (G,) int64 places, ascending, at least one unless T is 0.
    """
    num_streams, num_frames, _ = features.shape
    unit = functional.normalize(features.double(), dim=-1)
    owner = torch.empty(num_streams, num_frames, dtype=torch.int64, device=features.device)
    if num_frames:
        # Rounded: a matrix product adds in an order of its own, and equal frames must tie.
        owner.copy_((unit @ unit[:, kept].mT).float().argmax(dim=2))
    owner[:, kept] = torch.arange(len(kept), device=features.device)
    return Fold(kept, owner)


def fold_by_stride(features: Tensor, stride: int) -> Fold:
    """Keep every `stride`-th frame and fold the others: (B, T, D) to T // stride frames.

    As in HERMES's code the last of every `stride` frames is kept (the paper: the first), and frames that fill no
    group are left out. To keep about n, take a stride of T // n: that keeps n or more, under 2 n.
    """
    if stride < 1:
        raise ValueError(f"{stride=} must be at least 1")
    num_kept = features.shape[1] // stride
    kept = torch.arange(num_kept, device=features.device) * stride + stride - 1
    return plan_fold(features[:, : num_kept * stride], kept)
