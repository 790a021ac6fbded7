"""What was followed, for people and for programs: a video with masks drawn over it, and a track as JSON."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import av
import numpy as np

from vidmem.errors import BadInput, NotFound, StorageFull
from vidmem.models.tracker import Change, FrameResult, ObjectResult
from vidmem.pipelines.sightings import score_of
from vidmem.types import Frame, format_time

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="OpenCV")  # it says that it does without
    import supervision

_TIME_BASE = Fraction(1, 90_000)
"""Fine enough for the times of any camera's frames."""
_TRACE_FRAMES = 60
_KEYFRAME_FRAMES = 250


class Painter:
    """Draws followed objects over pictures: mask, box, label, and the way that each took."""

    def __init__(self, name: str = "") -> None:
        """`name` is written at objects; without one, their number."""
        self._name = name
        lookup = supervision.ColorLookup.TRACK
        self._label = supervision.LabelAnnotator(color_lookup=lookup)
        self._others: tuple[Any, ...] = (
            supervision.MaskAnnotator(color_lookup=lookup),
            supervision.BoxAnnotator(color_lookup=lookup),
            supervision.TraceAnnotator(color_lookup=lookup, trace_length=_TRACE_FRAMES),
        )

    def draw(self, picture: np.ndarray, result: FrameResult) -> np.ndarray:
        """The picture, uint8 RGB (H, W, 3), with what is visible of a frame's objects: a new one, of the same size."""
        seen = [found for found in result.objects if found.visible]
        painted = picture.copy()
        if not seen:
            return painted
        detections = _detections(seen)
        for part in self._others:
            painted = part.annotate(painted, detections)
        names = [self._name or str(found.object_id) for found in seen]
        return self._label.annotate(painted, detections, labels=names)


def _detections(seen: Sequence[ObjectResult]) -> Any:
    boxes = np.array([found.box for found in seen], dtype=np.float32)
    masks = np.stack([found.mask.cpu().numpy() for found in seen])
    ids = np.array([found.object_id for found in seen])
    return supervision.Detections(xyxy=boxes, mask=masks, tracker_id=ids, class_id=np.zeros_like(ids))


class OverlayFile:
    """An H.264 MP4 that is written frame by frame, each shown at its own time; a context manager.

    It gets its name on leaving, also with an error on its way: what was drawn until then plays. Without a frame nothing
    is written.

    Raises:
        BadInput: the path is no MP4.
        NotFound: its folder is not there.
        StorageFull: it could not be written.
    """

    def __init__(self, path: Path, *, fps: float | None) -> None:
        """`fps` is only noted in the file."""
        if path.suffix.lower() != ".mp4":
            raise BadInput(f"{path} has to end in .mp4, the one container that is written.")
        check_folder(path)
        self._path, self._part = path, path.with_name(f".{path.stem}.part.mp4")
        self._rate = Fraction(fps or 30).limit_denominator(1001)
        self._container: Any = None
        self._stream: Any = None
        self._begins_at = 0.0

    def write(self, picture: np.ndarray, seconds: float) -> None:
        """Append a picture, uint8 RGB (H, W, 3); the first one begins the file. An odd row or column goes."""
        height, width = (side - side % 2 for side in picture.shape[:2])
        with _on_disk(self._path):
            if self._container is None:
                self._begin(width, height, seconds)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            frame.pts, frame.time_base = round((seconds - self._begins_at) / _TIME_BASE), _TIME_BASE
            self._container.mux(self._stream.encode(frame.reformat(format="yuv420p")))

    def _begin(self, width: int, height: int, seconds: float) -> None:
        self._begins_at = seconds
        self._container = av.open(str(self._part), "w", format="mp4", container_options={"movflags": "+faststart"})
        options = {"preset": "veryfast", "crf": "20", "g": str(_KEYFRAME_FRAMES)}
        self._stream = self._container.add_stream("libx264", rate=self._rate, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = _TIME_BASE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is None:
            return
        try:
            with _on_disk(self._path):
                self._container.mux(self._stream.encode(None))
                self._container.close()
                os.replace(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)


class TrackFile:
    """A track as one JSON document, written frame by frame, a frame a line; a context manager.

    As with `OverlayFile`, what was written until an error makes a whole document. Masks are run lengths as COCO's tools
    write them (`{"size": [height, width], "counts": "..."}`), boxes `[x, y, width, height]` in pixels.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        """`head` is what the document says before its frames."""
        self._path, self._part, self._head = path, path.with_name(f".{path.name}.part"), dict(head)
        self._changes: list[dict[str, Any]] = []
        self._file: TextIO | None = None

    def write(self, result: FrameResult, size: tuple[int, int]) -> None:
        """Append a frame of that height and width."""
        row = {"seconds": result.seconds, "objects": [_entry(found) for found in result.objects]}
        self._changes += [
            {"object": change.object_id, "kind": change.kind, "seconds": change.seconds} for change in result.changes
        ]
        with _on_disk(self._path):
            if self._file is None:
                head = {**self._head, "width": size[1], "height": size[0]}
                self._file = self._part.open("w", encoding="utf-8")
                self._file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "frames": [')
            else:
                self._file.write(",")
            self._file.write("\n" + json.dumps(row))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            with _on_disk(self._path):
                with self._file:
                    self._file.write(f'\n], "changes": {json.dumps(self._changes)}}}\n')
                os.replace(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)


class Recording:
    """A video with what is followed drawn over it, and the track beside it as JSON, of one pass; a context manager.

    Interrupted, both hold what was followed until then. Before the first frame nothing is written.

    Raises:
        BadInput: the output is no MP4, or is the video itself.
        NotFound: its folder is not there.
        StorageFull: they could not be written.
    """

    def __init__(self, output: Path, video: Path, *, fps: float | None, name: str = "") -> None:
        """`fps` is only noted; `name` is written at the object."""
        if output.exists() and video.exists() and output.samefile(video):
            raise BadInput(f"{output} is the video itself: give another path to write to.")
        self.output, self.track = output, output.with_suffix(".json")
        self._painter = Painter(name)
        self._film = OverlayFile(output, fps=fps)
        self._file = TrackFile(self.track, {"video": str(video), "fps": fps})
        self._video = video
        self._times: tuple[float, float] = (0.0, 0.0)
        self._num_frames = 0
        self._changes: list[Change] = []

    @property
    def summary(self) -> dict[str, Any]:
        """What was written: files, number of frames, times of the first and the last, changes."""
        start, end = self._times
        written = {"video": self._video, "output": self.output, "track": self.track}
        return {**written, "frames": self._num_frames, "start": start, "end": end, "changes": self._changes}

    @property
    def left(self) -> str:
        """What an interrupted pass leaves, as a part of a sentence; "" before the first frame."""
        until = format_time(self._times[1])
        return f"{self.output} and {self.track} hold what was followed until {until}" if self._num_frames else ""

    def watch(self, frame: Frame, result: FrameResult) -> None:
        """Take in the next frame of a pass."""
        self._times = (self._times[0] if self._num_frames else frame.pts_seconds), frame.pts_seconds
        self._num_frames += 1
        self._changes += result.changes
        picture = frame.views[1]
        self._film.write(self._painter.draw(picture, result), frame.pts_seconds)
        self._file.write(result, (picture.shape[0], picture.shape[1]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._film, self._file:
            pass


def _entry(found: ObjectResult) -> dict[str, Any]:
    mask = found.mask.cpu().numpy()
    left, top, right, bottom = found.box or (0, 0, 0, 0)
    return {
        "object": found.object_id,
        "visible": found.visible,
        "box": [left, top, right - left, bottom - top] if found.visible else None,
        "score": round(score_of(found), 4),
        "mask": {"size": list(mask.shape), "counts": supervision.mask_to_rle(mask, compressed=True)}
        if found.visible
        else None,
    }


def check_folder(path: Path) -> None:
    """Raises NotFound if a file's folder is not there."""
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent} is no folder: make it first, or give another path for {path.name}.")


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StorageFull(f"{path} could not be written ({reason}): free space or choose another folder.") from error
