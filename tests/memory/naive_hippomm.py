"""HippoMM as its loops go: the oracle."""

from __future__ import annotations

import math

from torch import Tensor


def naive_key_frames(features: Tensor, threshold: float) -> list[int]:
    """Greedy novelty over the whole similarity matrix of (T, d) features without zero vectors."""
    unit = features / features.norm(dim=1, keepdim=True)
    similarity = unit @ unit.T
    kept: list[int] = []
    for frame in range(len(features)):
        if all(float(similarity[frame, other]) < threshold for other in kept):
            kept.append(frame)
    return kept


def naive_windows(
    times: list[float],
    similarity: list[float],
    audio: list[float] | None,
    rate: int,
    thresholds: tuple[float, float, float, float],
) -> list[tuple[float, float, list[int]]]:
    """Start, end and frames of each segment, looking at all frames and pieces of sound again for each."""
    changed_below, longest, shortest, silent_below = thresholds
    if times:
        total = times[-1] - times[0]
    else:
        total = len(audio) / rate if audio is not None else 0.0
    segments = []
    start = 0.0
    while start < total:
        end = min(start + longest, total)
        cut = end
        inside = [frame for frame, time in enumerate(times) if start <= time <= end]
        for earlier, later in reversed(list(zip(inside, inside[1:], strict=False))):
            if similarity[earlier] < changed_below:
                cut = times[later]
                break
        if audio is not None:
            first, stop, piece = int(start * rate), int(end * rate), int(0.5 * rate)
            offset = stop - first - piece
            while offset > 0:
                if _level(audio[first + offset : first + offset + piece]) < silent_below:
                    cut = (first + offset) / rate
                    break
                offset -= piece
        if cut - start < shortest:
            cut = min(start + shortest, total)
        segments.append((start, cut, [frame for frame, time in enumerate(times) if start <= time <= cut]))
        start = cut
    return segments


def _level(piece: list[float]) -> float:
    rms = math.sqrt(sum(sample * sample for sample in piece) / len(piece)) if piece else 0.0
    return 20 * math.log10(rms) if rms > 0 else -100.0
