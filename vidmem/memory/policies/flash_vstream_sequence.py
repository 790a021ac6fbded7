"""Flash-VStream's other ways to keep K frames of a stream: merge or drop one of the two most alike, frame by frame.

Not used by a policy; what the parity numbers are compared with. Cosines of whole frames, float64 on the CPU, so that
equal frames tie exactly and the first of equals wins on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True, eq=False)
class KeptFrames:
    """What is left of T frames."""

    frames: Tensor
    """(min(T, K), P, D)."""
    members: tuple[tuple[int, ...], ...]
    """Frame numbers that each kept frame was made of, in the order of merging."""
    similarities: tuple[float, ...]
    """Cosines of kept neighbours."""


def reduce_neighbours(frames: Tensor, num_kept: int, *, drop_later: Sequence[bool] | None = None) -> KeptFrames:
    """Let each frame beyond the first K = `num_kept` in, and reduce the most similar neighbours to one.

    The two become their plain average, however many frames they stand for, or one of them goes. Three cosines change,
    so a frame takes O(P D) beside choosing the maximum.

    Args:
        frames: (T, P, D).
        num_kept: at least 1.
        drop_later: for each frame beyond the first K whether the later of the two goes, or else the earlier. None:
            they are averaged.
    """
    kept = _Kept(frames, num_kept)
    rows = kept.rows
    similarities = [_cosine(left, right) for left, right in pairwise(rows)]
    for step, number in enumerate(range(len(rows), len(frames))):
        kept.append(number)
        similarities.append(_cosine(rows[-2], rows[-1]))
        at = max(range(len(similarities)), key=similarities.__getitem__)
        gone = at if drop_later is None else at + drop_later[step]
        if drop_later is None:
            kept.merge(at, at + 1)
        kept.remove(gone)
        # The two cosines at what is gone become one, unless it was at an end.
        similarities[max(gone - 1, 0) : gone + 1] = [0.0] if 0 < gone < len(rows) else []
        for left in (gone - 1, gone):
            if 0 <= left < len(similarities):
                similarities[left] = _cosine(rows[left], rows[left + 1])
    return KeptFrames(kept.frames_like(frames), tuple(kept.members), tuple(similarities))


def reduce_pairs(frames: Tensor, num_kept: int, *, drop_later: Sequence[bool] | None = None) -> KeptFrames:
    """As `reduce_neighbours`, for the most similar two of all: a merged frame takes the place of the later one.

    O(K P D) a frame: the cosines of what is new.
    """
    kept = _Kept(frames, num_kept)
    rows = kept.rows
    pairs = _PairSimilarity(rows, num_kept)
    for step, number in enumerate(range(len(rows), len(frames))):
        kept.append(number)
        pairs.append(rows[-1])
        left, right = pairs.most_similar()
        if drop_later is None:
            kept.merge(left, right)
            pairs.replace(right, rows[right])
        gone = right if drop_later is not None and drop_later[step] else left
        kept.remove(gone)
        pairs.remove(gone)
    return KeptFrames(
        kept.frames_like(frames), tuple(kept.members), tuple(_cosine(left, right) for left, right in pairwise(rows))
    )


class _PairSimilarity:
    """Cosines of all pairs of a list of rows. The rows stay where they are in their room as the list moves up."""

    def __init__(self, rows: Sequence[Tensor], num_kept: int) -> None:
        width = rows[0].numel() if rows else 0
        self._unit = torch.zeros(num_kept + 1, width, dtype=torch.float64)
        self._similarity = torch.zeros(num_kept + 1, num_kept + 1, dtype=torch.float64)
        self._slots: list[int] = []
        self._free = list(range(num_kept, -1, -1))
        for row in rows:
            self.append(row)

    def append(self, row: Tensor) -> None:
        self._slots.append(self._free.pop())
        self.replace(len(self._slots) - 1, row)

    def replace(self, at: int, row: Tensor) -> None:
        slot = self._slots[at]
        self._unit[slot] = functional.normalize(row, dim=0)
        self._similarity[slot] = self._similarity[:, slot] = self._unit @ self._unit[slot]

    def remove(self, at: int) -> None:
        self._free.append(self._slots.pop(at))

    def most_similar(self) -> tuple[int, int]:
        """Places of the first most similar two, row by row, the earlier first."""
        slots = torch.tensor(self._slots)
        above = torch.ones(len(slots), len(slots), dtype=torch.bool).triu(1)
        similarity = self._similarity[slots][:, slots].masked_fill(~above, -100.0)
        left, right = divmod(int(similarity.argmax()), len(slots))
        return left, right


class _Kept:
    """The list of kept frames: their rows, and what each was made of."""

    def __init__(self, frames: Tensor, num_kept: int) -> None:
        if num_kept < 1:
            raise ValueError(f"{num_kept=} must be at least 1")
        self._all = frames.flatten(1)
        self.rows: list[Tensor] = []
        self.members: list[tuple[int, ...]] = []
        for number in range(min(num_kept, len(frames))):
            self.append(number)

    def append(self, number: int) -> None:
        self.rows.append(self._all[number].to("cpu", torch.float64))
        self.members.append((number,))

    def merge(self, left: int, right: int) -> None:
        """Make the average of two the later of them."""
        self.rows[right] = (self.rows[left] + self.rows[right]) / 2
        self.members[right] = self.members[left] + self.members[right]

    def remove(self, at: int) -> None:
        del self.rows[at], self.members[at]

    def frames_like(self, frames: Tensor) -> Tensor:
        if not self.rows:
            return frames
        return torch.stack(self.rows).reshape(-1, *frames.shape[1:]).to(frames)


def _cosine(left: Tensor, right: Tensor) -> float:
    # A product and a sum, not `dot`: see merging._similarity.
    return float((left * right).sum()) / (max(float(left.norm()), 1e-8) * max(float(right.norm()), 1e-8))
