"""Semantics: every k-th frame, with the frames in between folded into whichever of them they are most like.

HERMES calls this the semantics retriever. A fold looks at the whole video, not at neighbours: what comes back later
is counted with what it looks like.

Source: HERMES (Faure et al., arXiv 2408.17443), section 3.3, after ToMe (Bolya et al., ICLR 2023), and its code. The
paper keeps the first of every k frames, the code the last, and so do we; frames that fill no group of k are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Which frames are folded into which: decided on features, to be applied to any tensor of as many frames."""

    stride: int
    """k, at least 1."""
    num_kept: int
    """G."""
    destination: Tensor
    """(B, S) int64: for each of the S = G (k - 1) other frames, in time order, which of the G kept ones it joins."""

    def mean(self, frames: Tensor) -> Tensor:
        """Mean of every kept frame and all that join it, each counted once: (B, T, ...) to (B, G, ...).

        Computed in float32 (float64 stays), in the dtype of `frames`.
        """
        groups = self._groups(frames.flatten(2))
        precision = torch.float64 if frames.dtype == torch.float64 else torch.float32
        total = groups[:, :, -1].to(precision, copy=True)
        others = groups[:, :, :-1].flatten(1, 2).to(precision)
        total.scatter_add_(1, self.destination.unsqueeze(-1).expand_as(others), others)
        count = torch.ones(total.shape[:2], dtype=precision, device=total.device)
        count.scatter_add_(1, self.destination, count.new_ones(self.destination.shape))
        return (total / count.unsqueeze(-1)).to(frames.dtype).unflatten(2, frames.shape[2:])

    def spread(self, means: Tensor) -> Tensor:
        """Put means (B, G, ...) back in the places of the frames they are of: (B, G k, ...)."""
        flat = means.flatten(2)
        others = flat.gather(1, self.destination.unsqueeze(-1).expand(-1, -1, flat.shape[-1]))
        groups = torch.cat([others.unflatten(1, (self.num_kept, self.stride - 1)), flat.unsqueeze(2)], dim=2)
        return groups.flatten(1, 2).unflatten(2, means.shape[2:])

    def _groups(self, frames: Tensor) -> Tensor:
        """(B, T, D) to (B, G, k, D), without the frames that fill no group."""
        return frames[:, : self.num_kept * self.stride].unflatten(1, (self.num_kept, self.stride))


def plan_fold(features: Tensor, stride: int) -> Fold:
    """Keep every `stride`-th frame and let each other one join the kept frame that it is most like.

    Similarity is the cosine (0 with a vector of zeros, where the reference gives NaN), over all kept frames of the
    video, earlier and later; the first of equals is taken. Of T frames, G = T // stride are kept and the last
    T - G stride are left out. To keep about n, take a stride of T // n: that keeps n or more, under 2 n.

    Args:
        features: (B, T, D).
        stride: at least 1.
    """
    if stride < 1:
        raise ValueError(f"{stride=} must be at least 1")
    num_streams, num_frames, _ = features.shape
    num_kept = num_frames // stride
    if stride == 1 or num_kept == 0:
        return Fold(stride, num_kept, torch.empty(num_streams, 0, dtype=torch.int64, device=features.device))
    unit = functional.normalize(features[:, : num_kept * stride].double(), dim=-1).unflatten(1, (num_kept, stride))
    # Rounded: a matrix product adds in an order of its own, and equal frames must tie.
    similarity = (unit[:, :, :-1].flatten(1, 2) @ unit[:, :, -1].mT).float()
    return Fold(stride, num_kept, similarity.argmax(dim=2))
