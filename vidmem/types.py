"""Value types that several rooms share. They hold data, check it when built, and do nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NewType

import numpy as np

VideoId = NewType("VideoId", str)
"""Stable name of one ingested video or stream: 16 hex digits of its content's hash."""

Mode = Literal["tokens", "kv"]
"""What a store keeps of a frame for the video-LLM: tokens that are run through it for each question, or also the keys
and values of that run."""
Modality = Literal["visual", "speech", "ocr", "memory"]
StoreName = Literal["sensory", "working", "long-term"]
Verification = Literal["confirmed", "rejected", "unverified"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open stretch of presentation time `[start, end)` in float64 seconds."""

    start: float
    end: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.start <= self.end:
            raise ValueError(f"a span needs 0 <= start <= end, got [{self.start}, {self.end})")

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def overlaps(self, other: Span) -> bool:
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class View:
    """A picture size that a consumer of frames wants.

    With `keep_aspect` the picture fits into width x height at its own proportions and is never enlarged;
    without, it is squashed to exactly that size.
    """

    width: int
    height: int
    keep_aspect: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded image with its place on the presentation timeline.

    `views` holds the picture once for each `View` that was asked for, in that order: uint8 RGB (H, W, 3),
    upright (container rotation applied).
    """

    pts_seconds: float
    views: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Consecutive sampled frames and the half-open span that they stand for."""

    frames: tuple[Frame, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch `[start, end)` of a stream's timeline of which nothing was seen, from the last picture before an
    outage to the first one after it."""

    start: float
    end: float
    wall_start: float
    """The same, in seconds since 1970 by this machine's clock."""
    wall_end: float
    reason: str
    """Why the stream was lost, to follow a colon."""

    def until(self, later: Gap) -> Gap:
        """This gap and a later one as one, with what lies between."""
        return replace(self, end=later.end, wall_end=later.wall_end)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what streams have shown is kept. What is not named has no bound."""

    days: float | None = None
    """Clips older than this leave."""
    num_bytes: int | None = None
    """The store's size on disk, above which its oldest clips leave."""
    important_days: float | None = None
    """In place of `days` for what is important, and for questions and alerts; None for the same."""

    def __post_init__(self) -> None:
        for days in (self.days, self.important_days):
            if days is not None and not (math.isfinite(days) and days > 0):
                raise ValueError(f"clips can't be kept for {days} days: give a number above 0")
        if self.num_bytes is not None and self.num_bytes < LEAST_BYTES:
            least = LEAST_BYTES // 10**6
            raise ValueError(f"a store can't be kept to {self.num_bytes} bytes: give {least} MB or more")
        if self.important_days is not None and (self.days is None or self.important_days < self.days):
            raise ValueError("what is important is kept for longer than all else: give fewer days for that")

    @property
    def is_bounded(self) -> bool:
        """Whether anything ever leaves."""
        return self.days is not None or self.num_bytes is not None


LEAST_BYTES = 10**7
"""Fewer than the newest clips of a stream and its memory take."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved span of a video: what a search finds and an answer cites."""

    video_id: VideoId
    source: str
    start: float
    end: float
    score: float
    rank: int
    modality: Modality = "visual"
    store: StoreName = "long-term"
    thumbnail: str | None = None
    verification: Verification = "unverified"
    why: str = ""
    wall_start: float | None = None
    """Of a stream: when `start` was, in seconds since 1970."""
    wall_end: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a video-LLM was given to answer a question."""

    mode: Mode
    """Whether frames came as their keys and values, or as tokens that were run through it now."""
    frames: Sequence[tuple[VideoId, float]]
    """Videos and times in seconds of the frames, in the order in which they were put before it."""
    num_blocks: int
    """KV blocks that hold them; 0 in tokens mode."""
    num_gist: int
    """Elements of long-term memory among them, beside the frames."""
    num_tokens: int
    """Of frames, gist and their time marks, without the question."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said, on what evidence, and how long each step took in seconds."""

    question: str
    text: str
    evidence: Sequence[Hit]
    timings: dict[str, float] = field(default_factory=dict)
    reading: Reading | None = None
    """None where no model was asked, and of answers that were logged."""


def format_time(seconds: float, *, hours: bool = False, milliseconds: bool = False) -> str:
    """Write a time as people read it: `MM:SS`, or `HH:MM:SS` if `hours` or from one hour on. Rounds down.

    With `milliseconds` they follow: `MM:SS.mmm`.
    """
    # 4.57 * 1000 is a little less than 4570.
    in_milliseconds = int(seconds * 1000 + 1e-6)
    total = in_milliseconds // 1000 if milliseconds else int(seconds)
    clock = f"{total // 60:02d}:{total % 60:02d}"
    if hours or total >= 3600:
        clock = f"{total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}"
    return f"{clock}.{in_milliseconds % 1000:03d}" if milliseconds else clock


def format_seconds(seconds: float) -> str:
    """Write a time as somebody gave it, right or wrong: `12.5 s`, also `-3 s` and `nan s`. To the millisecond."""
    return f"{round(seconds, 3):.15g} s"


def format_span(start: float, end: float, *, hours: bool = False) -> str:
    """Write a span as `MM:SS-MM:SS`, with hours in both if in one, and milliseconds if both would read the same."""
    hours = hours or end >= 3600
    written = [format_time(seconds, hours=hours) for seconds in (start, end)]
    if written[0] == written[1]:
        written = [format_time(seconds, hours=hours, milliseconds=True) for seconds in (start, end)]
    return "-".join(written)


def format_bytes(num_bytes: float) -> str:
    """Write a size as people read it: `512 B`, `1.2 MB`. In thousands, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.0f} {unit}" if unit == "B" or num_bytes >= 99.95 else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def parse_time(text: str) -> float:
    """Read seconds, `MM:SS` or `HH:MM:SS.mmm`. Raises ValueError on anything else."""
    parts = text.strip().split(":")
    if len(parts) > 3 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise ValueError(f"{text!r} is no time: give seconds, MM:SS or HH:MM:SS.mmm")
    total = 0.0
    for part in parts:
        total = total * 60 + float(part)
    if not math.isfinite(total):
        raise ValueError(f"{text[:20]!r}... is longer than any time")
    return total


_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+")
"""What `float` takes and people call a number: no sign, no exponent, no `nan` or `inf`, no `1_000`."""
