"""A pass over a video that follows objects: where it begins, what it prompts when, what it tells."""

from __future__ import annotations

import functools
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from vidmem.errors import BadInput, CorruptMedia
from vidmem.ingest import Source, open_source, prefetch
from vidmem.models.preset import load_preset
from vidmem.models.tracker import Change, Click, FrameResult, Prompt
from vidmem.pipelines.following import PICTURE, Follower
from vidmem.pipelines.ingest import Progress, cut_off
from vidmem.pipelines.loading import Models
from vidmem.types import Frame, Span, View, format_seconds, format_time

_FRAMES_AHEAD = 8

PromptFor = Callable[[tuple[int, int]], Prompt | None]
"""Makes a prompt for a picture of a height and width; None if there is nothing to prompt it by."""
Watch = Callable[[Frame, FrameResult], object]
"""Called with each frame, whose second view is the picture, and what was found on it."""


@dataclass(frozen=True, slots=True, eq=False)
class Pointed:
    """What somebody points at in a frame: one of a box, a point and a mask.

    Raises:
        BadInput: none is given, or several are.
    """

    box: tuple[float, float, float, float] | None = None
    """x and y of the left top corner, width and height, in pixels of the video."""
    point: tuple[float, float] | None = None
    """x and y in pixels of the video."""
    mask: np.ndarray | None = None
    """(H, W) of the video's frames; the object is where it is true, or above 0."""
    in_fractions: bool = False
    """Whether box and point are fractions of the frame's width and height, and not pixels."""

    def __post_init__(self) -> None:
        given = [name for name in ("box", "point", "mask") if getattr(self, name) is not None]
        if len(given) != 1:
            raise BadInput(
                f"what is to be followed? Give one of box, point and mask, not {' and '.join(given) or 'none'}."
            )

    def in_pixels(self, video_size: tuple[int, int]) -> Pointed:
        """The same in pixels of a video of that height and width."""
        if not self.in_fractions:
            return self
        height, width = video_size
        box, point = self.box, self.point
        return Pointed(
            box=None if box is None else (box[0] * width, box[1] * height, box[2] * width, box[3] * height),
            point=None if point is None else (point[0] * width, point[1] * height),
            mask=self.mask,
        )

    def prompt(self, number: int, video_size: tuple[int, int], picture_size: tuple[int, int], *, square: int) -> Prompt:
        """What the tracker is told, in pixels of a picture of the video's frame; sizes are heights and widths.

        Raises:
            BadInput: it is not inside the frame, marks nothing, or has another size.
        """
        self._prompt(number, video_size, video_size).check(video_size, square=square)
        return self._prompt(number, video_size, picture_size)

    def _prompt(self, number: int, video_size: tuple[int, int], size: tuple[int, int]) -> Prompt:
        (video_height, video_width), (height, width) = video_size, size

        def scaled(x: float, y: float) -> tuple[float, float]:
            # Multiplied first: what lies on the video's edge lies on the picture's, and not a last bit beyond it.
            return x * width / video_width, y * height / video_height

        if self.box is not None:
            x, y, box_width, box_height = self.box
            return Prompt(number, box=(*scaled(x, y), *scaled(x + box_width, y + box_height)))
        if self.point is not None:
            return Prompt(number, [Click(*scaled(*self.point))])
        assert self.mask is not None, "one of the three is given"
        return Prompt(number, mask=self.mask if size == video_size else scaled_mask(self.mask, size))


def scaled_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask at another height and width: bool."""
    if mask.shape == size:
        return mask > 0
    height, width = size
    return (
        np.asarray(Image.fromarray((mask > 0).astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)) > 0
    )


@dataclass(frozen=True, slots=True, eq=False)
class PassOptions:
    """How far a pass over a video goes, how closely it looks, how it remembers, and who is told."""

    until: float | None = None
    """Where to stop, in seconds; None for the end of the video."""
    fps: float | None = None
    """Frames to look at in a second of video, None for all."""
    selection: str = "samurai"
    """How the tracker chooses its memory, of `vidmem.models.tracker.SELECTIONS`."""
    watch: Watch | None = None
    progress: Progress | None = None
    """Called with seconds done and seconds in all."""

    def picture(self, source: Source) -> View:
        """What masks and boxes are in the pixels of: frames of the video's own size, if somebody watches."""
        return PICTURE if self.watch is None else View(source.info.width, source.info.height, keep_aspect=True)


@dataclass(slots=True)
class Pass:
    """What one pass over a video did."""

    frames: int = 0
    last_seconds: float = 0.0
    changes: list[Change] = field(default_factory=list)
    """Objects that were lost and came back, by the follower's numbers."""
    notes: list[str] = field(default_factory=list)
    """What was wrong with the video, a sentence each."""

    def see(self, result: FrameResult) -> None:
        """Count a frame."""
        self.frames, self.last_seconds = self.frames + 1, result.seconds
        self.changes += result.changes


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Which frames of a source are looked at, and what happens on which of them."""

    start: float
    until: float | None
    fps: float | None
    picture: View = PICTURE
    prompts: Sequence[tuple[float, PromptFor]] = ()
    """Times, and what to prompt on the first frame there or later; what is due first, on the first frame."""
    notice_at: Sequence[float] = ()
    """Times, rising: on the first frame there or later, what nobody pointed at is looked for."""
    gaps: Sequence[Span] = ()
    """Stretches, in the order of time, of which there are no frames."""


def follow(
    source: Source, follower: Follower, plan: Plan, *, watch: Watch | None = None, progress: Progress | None = None
) -> Pass:
    """Take a source's frames through a follower, and let it hand out the rest at the end.

    What is raised on the way ends it; what was committed stays. Pictures of another size than the first are stretched.
    """
    done, noticed = Pass(), 0
    waiting, gaps = sorted(plan.prompts, key=lambda entry: entry[0]), list(plan.gaps)
    end = source.info.duration_seconds if plan.until is None else plan.until
    for frame in _of_one_size(_frames(source, follower, plan), done.notes):
        seconds, picture = frame.pts_seconds, frame.views[1]
        # The frame on display at the start may have begun before it.
        num_due = bisect_right(waiting, max(seconds, plan.start), key=lambda entry: entry[0])
        prompts = [make((picture.shape[0], picture.shape[1])) for _, make in waiting[:num_due]]
        waiting = waiting[num_due:]
        while gaps and gaps[0].start < seconds:
            follower.interrupt(gaps.pop(0).start)
        reached = bisect_right(plan.notice_at, seconds)
        result = follower.step(frame, [one for one in prompts if one is not None], notice=reached > noticed)
        noticed = reached
        done.see(result)
        if watch is not None:
            watch(frame, result)
        if progress is not None:
            progress(seconds - plan.start, None if end is None else end - plan.start)
    follower.finish(end)
    cut = cut_off(source.info, source.decoded_until)
    if cut is not None and (plan.until is None or source.decoded_until < plan.until):
        done.notes.append(f"{cut}.")
    return done


def _frames(source: Source, follower: Follower, plan: Plan) -> Iterator[Frame]:
    """Decoded ahead in a thread, up to the plan's end."""
    frames = source.frames(fps=plan.fps, views=[follower.view, plan.picture], start=plan.start)
    with closing(prefetch(frames, depth=_FRAMES_AHEAD)) as ahead:  # type: ignore[type-var]
        for frame in ahead:
            if plan.until is not None and frame.pts_seconds >= plan.until:
                return
            yield frame


def _of_one_size(frames: Iterator[Frame], notes: list[str]) -> Iterator[Frame]:
    """Frames whose pictures have the size of the first; that some had another is noted once."""
    size = None
    for frame in frames:
        square, picture = frame.views
        size = size or picture.shape[1::-1]
        if picture.shape[1::-1] != size:
            if not notes:
                when = format_time(frame.pts_seconds, milliseconds=True)
                notes.append(
                    f"Frames have another size or shape from {when} on: they are stretched to the first one's."
                )
            frame = replace(frame, views=(square, np.asarray(Image.fromarray(picture).resize(size))))
        yield frame


def follow_pointed(
    source: Source,
    follower: Follower,
    number: int,
    pointed: Pointed,
    at: float,
    options: PassOptions,
    *,
    gaps: Sequence[Span] = (),
) -> Pass:
    """Follow what somebody points at from there on, as the follower's object of that number.

    Raises BadInput if that does not fit the video, or nothing is found there, CorruptMedia if the file ends before it.
    """
    video_size = source.info.height, source.info.width
    prompt = functools.partial(pointed.in_pixels(video_size).prompt, number, video_size, square=follower.view.width)
    prompt(video_size)  # what is wrong with it is said before the video is read
    plan = Plan(at, options.until, options.fps, options.picture(source), [(at, prompt)], gaps=gaps)
    done = follow(source, follower, plan, watch=seen_at_first(number, at, options.watch), progress=options.progress)
    if not done.frames:
        raise CorruptMedia(
            f"{source.info.name} has no picture at {format_seconds(at)}, though its container says that it is longer:"
            " get a whole copy, or point earlier.",
            decoded_until=source.decoded_until,
        )
    return done


def seen_at_first(number: int, at: float, watch: Watch | None) -> Watch:
    """Watch a pass, and end it with BadInput if nothing is found on its first frame, by the prompt that was for it."""
    is_first = True

    def check(frame: Frame, result: FrameResult) -> None:
        nonlocal is_first
        if is_first and not result[number].visible:
            raise BadInput(
                f"nothing is found at {format_seconds(at)} where the prompt points: point at the object itself."
            )
        is_first = False
        if watch is not None:
            watch(frame, result)

    return check


def check_times(source: Source, at: float, until: float | None) -> None:
    """Raises BadInput if a pass from `at` to `until` is outside of a video, or empty."""
    info = source.info
    end = info.duration_seconds
    if not at >= 0 or end is not None and at >= end:
        length = "" if end is None else f" it lasts {format_time(end, milliseconds=True)},"
        raise BadInput(f"there is nothing at {format_seconds(at)} in {info.name}:{length} give a time within that.")
    if until is not None and not until > at:
        raise BadInput(
            f"nothing can be followed from {format_seconds(at)} until {format_seconds(until)}: give an end behind"
            " the beginning."
        )


def track_file(
    path: str | os.PathLike[str],
    pointed: Pointed,
    at: float,
    options: PassOptions,
    *,
    preset: str | os.PathLike[str] | None = None,
) -> Pass:
    """Follow what somebody points at through a video file, and remember nothing. Arguments as of `VideoMemory.track`.

    Raises:
        NotFound, BadInput, CorruptMedia: see `open_source`, and `VideoMemory.track`.
        MissingModel: the preset's tracker is not here.
    """
    with open_source(path) as source:
        check_times(source, at, options.until)
        models = Models(load_preset("tiny" if preset is None else os.fspath(preset)))
        follower = Follower(models.tracker_for(options.selection))
        return follow_pointed(source, follower, follower.begin(), pointed, at, options)
