"""In the worker: one connection, from its packets to the views of the frames that are wanted."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

from vidmem.ingest.bitstream import AccessUnits
from vidmem.ingest.clock import frame_pts
from vidmem.ingest.demux import default_threads
from vidmem.ingest.live.loss import Loss
from vidmem.ingest.live.opening import Lost, Target, open_stream, why_broken
from vidmem.ingest.live.timeline import Timeline, next_due
from vidmem.ingest.picture import ViewMaker, orientation
from vidmem.types import View

Tell = Callable[[dict[str, Any], tuple[np.ndarray, ...]], None]

_TELL_SECONDS = 0.25
"""Between signs of life."""
_MAX_ERRORS_IN_A_ROW = 300
_MAX_PACKETS_WITHOUT_PICTURE = 3000
"""A minute and a half of packets at 30 a second, of which nothing can be decoded."""
_FINITE_AHEAD_SECONDS = 0.05
_CLOCKLESS = frozenset({"mpjpeg", "mjpeg", "jpeg_pipe", "h264", "hevc"})
"""Formats that carry no times: FFmpeg makes some up, at 25 a second whatever comes."""


@dataclass(slots=True)
class Counts:
    """Of one connection."""

    pictures: int = 0
    errors: int = 0
    """Packets and pictures that were damaged."""
    late: int = 0
    """Pictures behind the newest one, or there twice."""


class Connection:
    """One connection, read until it is lost. Tells `opened` with its first picture, `frame` for each that is wanted,
    and `alive` for packets between."""

    def __init__(
        self,
        target: Target,
        timeline: Timeline,
        *,
        due: float | None,
        fps: float | None,
        views: Sequence[View],
        tell: Tell,
    ) -> None:
        self._target, self._fps, self._tell = target, fps, tell
        self._timeline = timeline.reconnected()
        self._due = due
        self._make_views = ViewMaker(views)
        self._counts = Counts()
        self._told_at = time.monotonic()
        self._has_opened = False

    def run(self) -> None:
        """Read to the end. Raises Lost, also where it simply ends; returns if this was a recording, now over."""
        self._container, self._stream = open_stream(self._target)
        try:
            self._alive()
            self._prepare()
            for packet in self._packets():
                self._take(packet)
        finally:
            self._container.close()
            # PyAV's containers and streams refer to each other in a circle.
            del self._container, self._stream
            gc.collect(1)
        if not self._is_finite:
            raise Lost(Loss.CLOSED)

    def _prepare(self) -> None:
        context = self._stream.codec_context
        # Threads by frame would hold back as many pictures as there are threads.
        context.thread_type, context.thread_count = "SLICE", default_threads()
        self._units = AccessUnits(context.codec.canonical_name, context.extradata)
        self._has_begun = False
        self._num_fruitless = 0
        self._is_skipping = False
        self._is_finite = self._target.kind == "http" and bool(self._container.duration)
        self._is_clockless = self._container.format.name in _CLOCKLESS
        self._origin: tuple[float, float] | None = None
        rate = self._stream.average_rate or self._stream.guessed_rate
        if rate and 1 <= rate <= 240 and not self._timeline.step:
            self._timeline = replace(self._timeline, step=float(1 / rate))

    def _packets(self) -> Iterator[av.Packet]:
        errors_in_a_row = 0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    errors_in_a_row = 0
                    yield packet
                return
            except av.error.InvalidDataError:
                self._counts.errors += 1
                errors_in_a_row += 1
                if errors_in_a_row > _MAX_ERRORS_IN_A_ROW:
                    raise Lost(Loss.UNREADABLE) from None
            except av.error.FFmpegError as error:
                why = why_broken(error)
                raise Lost(Loss.FROZEN if why is Loss.SILENT and self._has_opened else why) from None

    def _take(self, packet: av.Packet) -> None:
        """One packet; an empty one, at the end, has the decoder give what it holds."""
        arrival = time.monotonic()
        self._num_fruitless += 1
        if self._num_fruitless > _MAX_PACKETS_WITHOUT_PICTURE:
            raise Lost(Loss.UNDECODABLE)
        if packet.size:
            if not self._has_begun and not packet.is_keyframe:
                self._alive()
                return
            self._has_begun = True
            self._units.is_clean_start(packet)  # reads the parameter sets that came with it
            self._skip_if_unwanted(packet)
            if self._is_finite:
                arrival = self._wait_for(packet, arrival)
        try:
            frames = self._stream.codec_context.decode(packet if packet.size else None)
        except av.error.EOFError:
            frames = []
        except av.error.FFmpegError:
            self._counts.errors += 1
            frames = []
        for frame in frames:
            if frame.is_corrupt:
                self._counts.errors += 1
            else:
                self._num_fruitless = 0
                self._show(frame, arrival)
        self._alive()

    def _skip_if_unwanted(self, packet: av.Packet) -> None:
        """Have the decoder leave this picture out if it lies before the next wanted one and no other refers to it."""
        skip = False
        if self._units.can_skip_unreferenced and packet.pts is not None and packet.time_base is not None:
            place = self._timeline.expected(float(packet.pts * packet.time_base))
            skip = place is not None and self._due is not None and self._timeline.latest < place < self._due
        if skip != self._is_skipping:
            self._stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"
            self._is_skipping = skip

    def _wait_for(self, packet: av.Packet, arrival: float) -> float:
        """A recording is played at its own pace, as nothing else slows it down."""
        if packet.dts is None or packet.time_base is None:
            return arrival
        seconds = float(packet.dts * packet.time_base)
        if self._origin is None:
            self._origin = (seconds, arrival)
        due = self._origin[1] + seconds - self._origin[0]
        while (left := due - time.monotonic()) > _FINITE_AHEAD_SECONDS:
            time.sleep(min(left, _TELL_SECONDS))
            self._alive()
        return time.monotonic()

    def _show(self, frame: av.VideoFrame, arrival: float) -> None:
        pts, base = None if self._is_clockless else frame_pts(frame), frame.time_base
        placed = self._timeline.placed(None if pts is None or base is None else float(pts * base), arrival)
        if placed is None:
            self._counts.late += 1
            return
        self._timeline = placed
        self._counts.pictures += 1
        if not self._has_opened:
            self._has_opened = True
            self._say("opened", facts=self._facts(frame))
        if self._due is not None and placed.latest < self._due:
            return
        self._due = None if self._fps is None else next_due(self._due, placed.latest, self._fps)
        aspect = self._stream.sample_aspect_ratio
        views = self._make_views(frame, upright=orientation(frame), pixel_aspect=Fraction(aspect) if aspect else None)
        self._say("frame", views, due=self._due, width=frame.width, height=frame.height)

    def _facts(self, frame: av.VideoFrame) -> dict[str, Any]:
        upright = orientation(frame)
        width, height = (frame.height, frame.width) if upright.swaps_sides else (frame.width, frame.height)
        rate = self._stream.average_rate
        return {
            "width": width,
            "height": height,
            "average_fps": float(rate) if rate else None,
            "codec": self._stream.codec_context.codec.canonical_name,
            "container": self._container.format.name,
            "rotation": upright.quarter_turns * 90,
        }

    def _alive(self) -> None:
        if time.monotonic() - self._told_at >= _TELL_SECONDS or not self._has_opened:
            self._say("alive")

    def _say(self, kind: str, arrays: tuple[np.ndarray, ...] = (), **more: Any) -> None:
        timeline = asdict(self._timeline)
        self._tell({"kind": kind, "timeline": timeline, "counts": asdict(self._counts), **more}, arrays)
        self._told_at = time.monotonic()
