"""Windows: cuts of a recording where its picture last changed or its sound last paused, within a longest length.

Source: HippoMM (Lin et al., arXiv 2504.10739) and its code, which takes SSIM of grey pictures for the similarity.
Where the code's segments share the frame they meet at (`policies.hippomm_reference`), ours are half-open.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

PAUSE_SECONDS = 0.5
"""Length of the pieces of sound whose level is measured."""
SILENT_DB = -100.0
"""Level of a piece without any sound."""


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """When to cut. The defaults are those of the published configuration."""

    similarity_threshold: float = 0.95
    """Similarity of neighbouring frames below which the picture changed."""
    max_seconds: float = 30.0
    """No window is longer."""
    min_seconds: float = 10.0
    """No window is shorter but the last: a cut that comes earlier is put off to here."""
    pause_db: float = -40.0
    """Level below which the sound pauses."""

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ValueError(f"min_seconds={self.min_seconds} must be in (0, {self.max_seconds}], up to max_seconds")


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Mono sound that begins with the recording."""

    samples: Tensor
    """(S,) in [-1, 1]."""
    samples_per_second: float

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.samples_per_second


def cut_windows(
    frame_seconds: Sequence[float],
    similarity: Tensor,
    sound: Sound | None = None,
    *,
    config: WindowConfig | None = None,
) -> list[tuple[float, float]]:
    """Cut a recording into windows that meet: spans in seconds, the first from the first frame on (or 0).

    Each ends with the *last* change of picture within the longest length from its start, at the first frame of what is
    new; with sound the last pause decides instead, where there is one. Pauses are looked for in pieces counted back
    from the longest length; the piece at the very start is none. Where nothing changes the longest length is taken.

    Args:
        frame_seconds: (T,) ascending; empty: the sound alone is cut.
        similarity: (T - 1,) of each frame and the next.
        sound: None: the picture alone decides.

    Returns:
        Half-open spans without gaps. None if nothing lasts any time, as with a single frame.
    """
    config = config or WindowConfig()
    origin = float(frame_seconds[0]) if len(frame_seconds) else 0.0
    # Time since the first frame: pieces of sound are whole numbers of samples in it, whatever the first frame's time.
    times = [float(time) - origin for time in frame_seconds]
    total = times[-1] if times else sound.seconds if sound else 0.0
    changes = ((similarity < config.similarity_threshold).nonzero().flatten() + 1).tolist()
    pauses = None if sound is None else _Pauses(sound, config.pause_db)
    cuts = [0.0]
    while cuts[-1] < total:
        start = cuts[-1]
        end = min(start + config.max_seconds, total)
        pause = None if pauses is None else pauses.last(start, end)
        cut = _last_change(times, changes, start, end) if pause is None else pause
        if cut - start < config.min_seconds:
            cut = min(start + config.min_seconds, total)
        cuts.append(cut)
    frame_at = dict(zip(times, frame_seconds, strict=True))
    seconds = [float(frame_at.get(cut, cut + origin)) for cut in cuts]  # the frame's own, unrounded, at a change
    return list(pairwise(seconds))


def _last_change(times: Sequence[float], changes: Sequence[int], start: float, end: float) -> float:
    """Time of the last frame of `changes` in [start, end] whose predecessor is in it too, `end` if there is none."""
    first, stop = bisect_left(times, start), bisect_right(times, end)
    latest = bisect_left(changes, stop) - 1
    return times[changes[latest]] if latest >= 0 and changes[latest] > first else end


class _Pauses:
    """Where sound falls below a level, from one running sum of its energy."""

    def __init__(self, sound: Sound, threshold_db: float) -> None:
        self._rate, self._threshold_db = sound.samples_per_second, threshold_db
        self._num_piece = int(PAUSE_SECONDS * sound.samples_per_second)
        self._energy = functional.pad(sound.samples.cpu().double().square().cumsum(0), (1, 0))

    def last(self, start: float, end: float) -> float | None:
        """When the last piece below the level begins, of whole pieces counted back from `end` and begun after `start`.

        Beyond the end of the sound there is silence.
        """
        first, stop = int(start * self._rate), int(end * self._rate)
        begins = torch.tensor(range(stop - self._num_piece, first, -self._num_piece), dtype=torch.int64)
        bounds = torch.stack([begins, begins + self._num_piece]).clamp(max=len(self._energy) - 1)
        energy, num_samples = self._energy[bounds].diff(dim=0)[0].clamp(min=0), bounds.diff(dim=0)[0]
        level = 10 * (energy / num_samples.clamp(min=1)).log10()
        pauses = (level.where(energy > 0, SILENT_DB) < self._threshold_db).nonzero()
        return int(begins[pauses[0, 0]]) / self._rate if len(pauses) else None
