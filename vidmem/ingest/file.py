"""Video files by PyAV (FFmpeg), exact to the picture, in one forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av

from vidmem.errors import CorruptMedia
from vidmem.ingest.bitstream import AccessUnits
from vidmem.ingest.content import content_id
from vidmem.ingest.demux import Demuxer
from vidmem.ingest.picture import ViewMaker
from vidmem.ingest.probe import Facts, probe
from vidmem.ingest.sampling import Ticks, Timed, on_display
from vidmem.ingest.scan import scan
from vidmem.ingest.selective import Irregular, selected
from vidmem.ingest.source import CountedSource, SourceInfo, Tally, check_request
from vidmem.types import Frame, View

_SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers with an index of key frames, in which a seek lands where it says."""
_SEEK_MARGINS_SECONDS = (0, 2, 20)


class FileSource(CountedSource):
    """A regular video file. Opening decodes its first picture, so that what can't be read is refused at once."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        super().__init__()
        self._path = path
        self._threads = threads
        self._demuxer: Demuxer | None = Demuxer(path, threads=threads)
        try:
            self.facts: Facts = probe(self._demuxer)
        except BaseException:
            self._demuxer.close()
            raise
        # A stream in which nothing can ever be left out is decoded plainly, without a planner.
        units = AccessUnits(self._demuxer.codec, self._demuxer.stream.codec_context.extradata)
        self._can_select = units.has_clean_starts

    @cached_property
    def info(self) -> SourceInfo:
        """Reads the whole file once, for its content id, the first time it is asked for."""
        facts = self.facts
        return SourceInfo(
            uri=str(self._path),
            name=self._path.name,
            content_id=content_id(self._path),
            duration_seconds=facts.duration_seconds,
            width=facts.width,
            height=facts.height,
            average_fps=facts.average_fps,
            codec=facts.codec,
            container=facts.container,
            pts_offset_seconds=float(facts.origin * facts.time_base),
            rotation=facts.upright.quarter_turns * 90,
            decoder="pyav",
        )

    def frames(self, *, fps: float | None, views: Sequence[View], start: float = 0.0) -> Iterator[Frame]:
        """See `Source.frames`. A new pass ends the one before it."""
        check_request(self._path.name, fps, views, start)
        return self._frames(Ticks(start, fps), ViewMaker(views))

    def _frames(self, ticks: Ticks, make_views: ViewMaker) -> Iterator[Frame]:
        # The upright way and pixel shape are the first picture's: a matrix may be missing from later ones.
        upright, pixel_aspect = self.facts.upright, self.facts.pixel_aspect
        for timed in self._timed(ticks):
            yield Frame(timed.pts_seconds, make_views(timed.item, upright=upright, pixel_aspect=pixel_aspect))

    def _timed(self, ticks: Ticks) -> Iterator[Timed[av.VideoFrame]]:
        self._tally = tally = Tally()
        latest = -1.0
        if self._can_select:
            try:
                for timed in selected(self._demuxer_for(ticks.start), self.facts, ticks, tally):
                    yield timed
                    latest = timed.pts_seconds
                return
            except Irregular:
                self.close()
                # What the plain pass does again is counted once.
                tally.num_decoded = tally.num_skipped = 0
        # One thread: with several, FFmpeg drops damaged pictures that it conceals with one.
        for timed in on_display(scan(self._demuxer_for(0.0, threads=1), self.facts, tally), ticks):
            if timed.pts_seconds > latest:
                yield timed
        if tally.num_decoded == 0:
            raise CorruptMedia(f"{self._path.name} is damaged: no picture could be decoded. Copy the file again.")

    def _demuxer_for(self, start: float, *, threads: int | None = None) -> Demuxer:
        """A demuxer at a clean start at or before `start`; the one that the probe left, if nobody used it yet."""
        demuxer, self._demuxer = self._demuxer, None
        threads = self._threads if threads is None else threads
        if demuxer is None or not demuxer.is_fresh or (threads is not None and demuxer.threads != threads):
            if demuxer is not None:
                demuxer.close()
            demuxer = Demuxer(self._path, threads=threads)
        if start > 0.0 and self.facts.container in _SEEKABLE and not self._go_to(demuxer, start):
            demuxer.close()
            demuxer = Demuxer(self._path, threads=threads)
        self._demuxer = demuxer
        demuxer.is_fresh = False
        return demuxer

    def _go_to(self, demuxer: Demuxer, start: float) -> bool:
        """Seek to a clean start whose picture is on display before `start`; False if none was found."""
        units = AccessUnits(demuxer.codec, demuxer.stream.codec_context.extradata)
        for margin in _SEEK_MARGINS_SECONDS:
            seconds = Fraction(start) - margin
            if seconds <= 0:
                return False
            demuxer.seek(self.facts.origin + int(seconds / self.facts.time_base))
            packet = next(demuxer.packets(), None)
            if packet is None or packet.pts is None or packet.is_discard:
                continue
            if units.is_clean_start(packet) and self.facts.seconds(packet.pts) <= start:
                demuxer.replay([packet])
                return True
        return False

    def close(self) -> None:
        if self._demuxer is not None:
            self._demuxer.close()
            self._demuxer = None
