"""Video files by decord, where it is exact: dense runs of known-good kinds, in a process that can be killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vidmem.errors import BadInput, SourceLost
from vidmem.ingest.demux import Demuxer
from vidmem.ingest.file import FileSource
from vidmem.ingest.sampling import Ticks, Timed, on_display
from vidmem.ingest.source import CountedSource, SourceInfo, Tally, check_request
from vidmem.ingest.worker import Message, Worker, WorkerEnded
from vidmem.types import Frame, View

_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "avi")
_CODECS = frozenset({"h264", "hevc", "vp9", "mpeg4", "mjpeg", "prores"})
_SPOT_TOLERANCE = 2.0
"""Mean difference of 8-bit values. Measured: 0.0 between both decoders, 7 or more to a neighbouring frame."""


class DecordSource(CountedSource):
    """A file that decord reads right. Times and choice of frames are ours, from PyAV's packets; decord gives pictures.

    All frames up to the last wanted one are decoded and converted: for sparse sampling `FileSource` costs a fraction.

    Args:
        deadline_seconds: the worker is killed when it gives no sign of life for so long.

    Raises:
        BadInput: decord is missing, or is known or found to be wrong on this file.
    """

    def __init__(self, path: Path, *, threads: int = 1, deadline_seconds: float = 30.0) -> None:
        super().__init__()
        self._path = path
        self._threads = threads
        self.deadline_seconds = deadline_seconds
        self.worker: _Worker | None = None
        self._file = FileSource(path, threads=1)
        try:
            facts = self._file.facts
            if facts.container not in _CONTAINERS or facts.codec not in _CODECS:
                raise self._refusal(f"{facts.codec} in {facts.container}")
            self._times = self._packet_times()
            self._spot = next(self._file.frames(fps=None, views=[View(facts.width, facts.height)])).views[0]
        except BaseException:
            self._file.close()
            raise

    def _refusal(self, what: str) -> BadInput:
        return BadInput(f"decord does not read {self._path.name} exactly ({what}): use --decoder auto.")

    def _packet_times(self) -> list[Timed[int]]:
        """Every picture's span in time order, from the packets alone."""
        facts = self._file.facts
        demuxer = Demuxer(self._path, threads=1)
        try:
            packets = [(packet.pts, packet.duration, packet.is_discard) for packet in demuxer.packets()]
        finally:
            demuxer.close()
        if demuxer.num_errors or any(pts is None or is_cut for pts, _, is_cut in packets):
            raise self._refusal("an edit list, damage, or pictures without times")
        spans = sorted((pts, duration or facts.fallback_ticks) for pts, duration, _ in packets if pts is not None)
        if len({pts for pts, _ in spans}) != len(spans) or spans[0][0] != facts.origin:
            raise self._refusal("its times are irregular")
        return [
            Timed(facts.seconds(pts), facts.seconds(pts + duration), index)
            for index, (pts, duration) in enumerate(spans)
        ]

    @cached_property
    def info(self) -> SourceInfo:
        return replace(self._file.info, decoder="decord")

    def frames(self, *, fps: float | None, views: Sequence[View], start: float = 0.0) -> Iterator[Frame]:
        """See `Source.frames`. A new pass starts a new process."""
        check_request(self._path.name, fps, views, start)
        return self._frames(Ticks(start, fps), list(views))

    def _frames(self, ticks: Ticks, views: list[View]) -> Iterator[Frame]:
        self.close()
        self._tally = Tally()
        wanted = [timed.item for timed in on_display(self._times, ticks)]
        worker = self.worker = _Worker(self._path.name, self.deadline_seconds)
        try:
            worker.ask({"path": str(self._path), "threads": self._threads})
            opened, _ = worker.reply()
            self._check_times(opened.get("times", []))
            worker.ask(self._job(wanted, views))
            yield from self._replies(worker)
        finally:
            worker.kill()

    def _job(self, wanted: list[int], views: list[View]) -> dict[str, Any]:
        aspect = self._file.facts.pixel_aspect
        return {
            "wanted": wanted,
            "until": max(wanted, default=0) + 1,
            "views": [[v.width, v.height, v.keep_aspect] for v in views],
            "pixel_aspect": [aspect.numerator, aspect.denominator] if aspect else None,
        }

    def _replies(self, worker: _Worker) -> Iterator[Frame]:
        while True:
            header, arrays = worker.reply()
            if header["kind"] == "end":
                self._tally.until_seconds = self._times[-1].end_seconds
                return
            if header["kind"] == "first":
                self._check_first(arrays[0])
            elif header["kind"] == "frame":
                index = header["index"]
                self._tally.num_decoded = index + 1
                self._tally.until_seconds = self._times[index].end_seconds
                yield Frame(self._times[index].pts_seconds, arrays)

    def _check_first(self, picture: np.ndarray) -> None:
        is_alike = picture.shape == self._spot.shape
        if not is_alike or np.abs(picture.astype(int) - self._spot.astype(int)).mean() > _SPOT_TOLERANCE:
            raise self._refusal("its first picture is not PyAV's")

    def _check_times(self, times: list[float]) -> None:
        ours = np.array([timed.pts_seconds for timed in self._times])
        theirs = np.array(times)
        # decord holds times in float32.
        if len(ours) != len(theirs) or np.abs(theirs - theirs[0] - ours).max() > 0.002 + 1e-6 * ours[-1]:
            raise self._refusal(f"it sees {len(theirs)} frames at other times than the {len(ours)} there are")

    def close(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker = None
        self._file.close()


class _Worker(Worker):
    """A `decord_worker` process whose failures are errors that name the file."""

    def __init__(self, name: str, deadline_seconds: float) -> None:
        super().__init__("vidmem.ingest.decord_worker")
        self._name = name
        self.deadline_seconds = deadline_seconds

    def ask(self, message: dict[str, Any]) -> None:
        try:
            self.send(message)
        except WorkerEnded as error:
            raise self._lost("ended") from error

    def reply(self) -> Message:
        """The next message. Raises SourceLost if it does not come in time, BadInput if decord gave up."""
        try:
            message = self.receive(self.deadline_seconds)
        except WorkerEnded as error:
            raise self._lost("ended") from error
        if message is None:
            self.kill()
            raise self._lost(f"gave no sign of life for {self.deadline_seconds:g} s and was stopped")
        if message[0]["kind"] == "failed":
            raise BadInput(f"decord can't read {self._name} ({message[0]['why']}): use --decoder auto.")
        return message

    def _lost(self, how: str) -> SourceLost:
        return SourceLost(f"decord {how} while it read {self._name}: use --decoder pyav.")
