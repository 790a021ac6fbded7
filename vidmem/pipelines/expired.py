"""What is left of times whose frames have left a store: elements of long-term memory, the gist, said as such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidmem.memory import Memory
from vidmem.pipelines.planning import strong
from vidmem.pipelines.question import Asked
from vidmem.pipelines.time_of_day import clock_range
from vidmem.pipelines.timeline import Timeline
from vidmem.types import Hit, Span

GIST = "from the gist; the frames of that time have expired"
"""Why a hit is cited that no frame shows any more; behind what else is known of it."""
_NEAR_SECONDS = 60.0
"""How far from a moment that a question names an element may lie: a gist holds one for minutes."""
_MAX_ELEMENTS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """An element of long-term memory, of a time whose frames have left."""

    video_index: int
    element: int
    """Its place in the memory, as `Memory.elements_at` counts."""
    span: Span
    score: float
    """Cosine with the phrase that it is most like; 1 for a time that the question names."""
    why: str


def expired_times(asked: Asked, line: Timeline) -> list[Span]:
    """The stretches that a question names, a moment with what lies around it, as far as their frames have left."""
    moments = [] if asked.look else [moment for moment in asked.moments if line.has_expired(moment)]
    near = [Span(max(0.0, moment - _NEAR_SECONDS), moment + _NEAR_SECONDS) for moment in moments]
    return near + [span for span in asked.ranges if _expired_seconds(line, span) > 1.0]


def remembered(
    memory: Memory,
    line: Timeline,
    video_index: int,
    asked: Asked,
    queries: Tensor,
    phrases: Sequence[str],
    *,
    found: float | None,
    floor: float,
) -> list[Remembered]:
    """Elements of a video's long-term memory that answer to a question, of times whose frames have left; best first.

    Args:
        queries: (Q, C), the embedded phrases. May be none.
        found: the best score of a frame that was found; what is much less alike is not brought back.
        floor: cosine below which nothing is alike.
    """
    if not line.expired.until or not len(memory.long_term):
        return []
    spans = torch.cat(list(memory.long_term.spans)).numpy()
    places = np.flatnonzero(_have_expired(line, spans.mean(axis=1)))
    named = expired_times(asked, line)
    if asked.moments or asked.ranges:
        inside = [any(span.start < spans[p, 1] and spans[p, 0] < span.end for span in named) for p in places]
        places = places[np.array(inside, bool)]
    if not len(places):
        return []
    scores, whys = _scores(memory, places, queries, phrases)
    if scores is None:  # only a time is named
        order = places[np.argsort(_distances(spans[places].mean(axis=1), asked), kind="stable")]
        scored = [(int(place), 1.0, "the time in the question") for place in order]
    else:
        kept = strong(np.append(scores, -1.0 if found is None else found), floor=floor)[:-1]
        order = np.argsort(-scores, kind="stable")
        scored = [(int(places[at]), float(scores[at]), whys[at]) for at in order if kept[at]]
    return [
        Remembered(video_index, place, Span(*spans[place].tolist()), score, f"{why}, {GIST}")
        for place, score, why in scored[:_MAX_ELEMENTS]
    ]


def hit_of(one: Remembered, line: Timeline, rank: int) -> Hit:
    """How it is cited."""
    clock = line.clock
    return Hit(
        video_id=line.video.video_id,
        source=line.video.source,
        start=one.span.start,
        end=one.span.end,
        score=one.score,
        rank=rank,
        modality="memory",
        why=one.why,
        wall_start=clock.wall_at(one.span.start) if clock else None,
        wall_end=clock.wall_at(one.span.end) if clock else None,
    )


def gist_sentences(used: Sequence[Remembered], asked: Sequence[Asked], lines: Sequence[Timeline]) -> list[str]:
    """What to say behind an answer: which times it has from the gist, or what it can't have seen."""
    said = []
    for index, (one, line) in enumerate(zip(asked, lines, strict=True)):
        mine = [found.span for found in used if found.video_index == index]
        named = expired_times(one, line)
        if mine:
            until = _range(line, Span(min(span.start for span in mine), max(span.end for span in mine)))
            said.append(f"What is said of {until} is from the gist: the frames of that time have expired.")
        elif named:
            said.append(
                f"The frames of {_range(line, named[0])} have expired, and the gist keeps nothing of that time."
            )
    return said


def nothing_left(asked: Sequence[Asked], lines: Sequence[Timeline], memories: Sequence[Memory | None]) -> str | None:
    """What to say if all that a question names has left, and the gist keeps none of it; else None."""
    if not any(one.moments or one.ranges for one in asked):
        return None
    for index, (one, line, memory) in enumerate(zip(asked, lines, memories, strict=True)):
        named = expired_times(one, line)
        if memory is None or not named or len(named) < len(one.moments) + len(one.ranges):
            return None
        if any(_is_shown(line, span) for span in named):
            return None
        if remembered(memory, line, index, one, torch.empty(0, 0), (), found=None, floor=0.0):
            return None
    return " ".join(gist_sentences((), asked, lines))


def _is_shown(line: Timeline, span: Span) -> bool:
    first = int(np.searchsorted(line.end_seconds, span.start, side="right"))
    return first < len(line) and float(line.pts_seconds[first]) < span.end


def _have_expired(line: Timeline, seconds: np.ndarray) -> np.ndarray:
    """Which of these times (n,), at which something was seen, no frame shows any more."""
    places = np.searchsorted(line.pts_seconds, seconds, side="right") - 1
    is_shown = (places >= 0) & (line.end_seconds[np.maximum(places, 0)] > seconds)
    return (seconds < line.expired.until) & ~is_shown


def _expired_seconds(line: Timeline, span: Span) -> float:
    """How much of a stretch has left."""
    end = min(span.end, line.expired.until)
    if end <= span.start:
        return 0.0
    gaps = line.clock.gaps if line.clock is not None else ()
    starts = np.append(line.pts_seconds, [gap.start for gap in gaps])
    ends = np.append(line.end_seconds, [gap.end for gap in gaps])
    known = np.minimum(ends, end) - np.maximum(starts, span.start)
    return end - span.start - float(known[known > 0].sum())


def _scores(
    memory: Memory, places: np.ndarray, queries: Tensor, phrases: Sequence[str]
) -> tuple[np.ndarray | None, list[str]]:
    """The best cosine of each element with a phrase, and with which; None if there is no phrase."""
    if not len(queries):
        return None, []
    keys = torch.cat(list(memory.long_term.keys))[torch.from_numpy(places)].float()
    cosines = torch.nn.functional.normalize(keys, dim=1) @ queries.float().T
    best = cosines.max(dim=1)
    return best.values.numpy(), [f"looks like {phrases[index]!r}" for index in best.indices.tolist()]


def _distances(seconds: np.ndarray, asked: Asked) -> np.ndarray:
    """From the nearest moment that is named; of stretches from their middle."""
    named = np.array([*asked.moments, *((span.start + span.end) / 2 for span in asked.ranges)])
    return np.abs(seconds[:, None] - named[None]).min(axis=1)


def _range(line: Timeline, span: Span) -> str:
    if line.clock is None:
        return f"{span.start:.0f} to {span.end:.0f} s"
    return clock_range(line.clock.wall_at(span.start), line.clock.wall_at(span.end))
