"""MovieChat's loop, transcribed from its specification."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor


class NaiveMovieChat:
    """A list of frames. Each stretch merges its most similar neighbours, compared token by token, until few remain."""

    def __init__(self, merge_to: int, max_frames: int) -> None:
        self.merge_to, self.max_frames = merge_to, max_frames
        self.long_term: list[Tensor] = []

    def write(self, frames: Tensor) -> None:
        """One stretch (T, P, D)."""
        short = list(frames)
        while len(short) > self.merge_to:
            similarity = [float((left @ right.T).mean()) for left, right in pairwise(short)]
            at = similarity.index(max(similarity))
            short[at] = (short[at] + short[at + 1]) / 2
            del short[at + 1]
        self.long_term += short
        while len(self.long_term) > self.max_frames:
            self.long_term.pop(0)
