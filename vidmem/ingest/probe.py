"""Looks at an input before it is read: does it exist, is it safe, does a first picture come out."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error

from vidmem.errors import BadInput, CorruptMedia, NotFound, UnsupportedCodec
from vidmem.ingest.clock import frame_pts
from vidmem.ingest.demux import Demuxer
from vidmem.ingest.picture import Orientation, orientation

_MAX_PROBED_PACKETS = 2000
_MAX_REPLAYED_BYTES = 64 << 20


def check_path(text: str) -> Path:
    """Resolve a path to a regular file or folder on this machine. Opens nothing.

    A FIFO or a device would block or never end, and a URL would have FFmpeg go out into the network.

    Raises:
        NotFound: nothing is there.
        BadInput: a URL, a FIFO, a device, a socket, an empty name, or a folder that may not be entered.
        CorruptMedia: the file has no bytes.
    """
    if "://" in text:
        raise BadInput(f"{text} is a URL, and vidmem reads local files only: download it first.")
    if not text or "\0" in text:
        raise BadInput(f"{text!r} is no path: give the name of a video file or a folder of pictures.")
    try:
        path = _named(text)
        status = path.stat()
        resolved = path.resolve(strict=True)
    except PermissionError as error:
        raise BadInput(f"{text} can't be reached: you lack the permission for its folder.") from error
    except (OSError, RuntimeError) as error:
        raise NotFound(f"{text} does not exist: check the spelling and the folder you are in.") from error
    if stat.S_ISDIR(status.st_mode):
        return resolved
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(f"{text} is a pipe or a device, not a file: save it as a file first.")
    if status.st_size == 0:
        raise CorruptMedia(f"{text} is empty (0 bytes): copy or download it again.")
    return resolved


def _named(text: str) -> Path:
    """A file may be called `~holiday.mp4`; only where none is does `~` mean a home. Raises RuntimeError for no home."""
    path = Path(text)
    return path if path.exists() else path.expanduser()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the first picture and the headers say of a video file."""

    origin: int
    """pts of the first picture, in `time_base`: 0 on our timeline. 0 if the file has no times."""
    time_base: Fraction
    fallback_ticks: int
    """How long a picture lasts that does not say so, in `time_base`."""
    width: int
    """Of the upright picture."""
    height: int
    upright: Orientation
    pixel_aspect: Fraction | None
    average_fps: float | None
    duration_seconds: float | None
    codec: str
    container: str

    def seconds(self, pts: int) -> float:
        """The only place where a pts becomes a time: exact rational, rounded once to float64."""
        return float((pts - self.origin) * self.time_base)


def probe(demuxer: Demuxer) -> Facts:
    """Decode up to the first picture, then wind the demuxer back to the start.

    Raises:
        UnsupportedCodec: the decoder has nothing to say to any packet.
        CorruptMedia: no picture comes out.
    """
    packets: list[av.Packet] = []
    frame = _first_frame(demuxer, packets)
    stream = demuxer.stream
    rate = stream.average_rate or stream.guessed_rate
    aspect = stream.sample_aspect_ratio
    upright = orientation(frame)
    width, height = (frame.height, frame.width) if upright.swaps_sides else (frame.width, frame.height)
    origin = frame_pts(frame) or 0
    time_base = stream.time_base
    if time_base is None:
        raise CorruptMedia(f"{demuxer.name} has no clock: remux it with ffmpeg -i IN -c copy OUT.mkv.")
    facts = Facts(
        origin=origin,
        time_base=time_base,
        fallback_ticks=max(1, round(1 / (rate * time_base))) if rate else 1,
        width=width,
        height=height,
        upright=upright,
        pixel_aspect=aspect if aspect else None,
        average_fps=float(rate) if rate else None,
        duration_seconds=_duration(demuxer, origin, time_base),
        codec=demuxer.codec,
        container=demuxer.container.format.name,
    )
    demuxer.replay(packets)
    return facts


def _first_frame(demuxer: Demuxer, packets: list[av.Packet]) -> av.VideoFrame:
    refusal: av.error.FFmpegError | None = None
    num_bytes = 0
    for packet in demuxer.packets():
        packets.append(packet)
        num_bytes += packet.size
        try:
            frames = demuxer.decode(packet)
        except av.error.FFmpegError as error:
            refusal, frames = error, []
        if frames:
            return frames[0]
        if len(packets) > _MAX_PROBED_PACKETS or num_bytes > _MAX_REPLAYED_BYTES:
            break
    else:
        try:
            frames = demuxer.decode(None)
        except av.error.FFmpegError as error:
            refusal, frames = error, []
        if frames:
            return frames[0]
    if isinstance(refusal, (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)):
        raise UnsupportedCodec(
            f"{demuxer.name} uses {demuxer.codec} in a way that no decoder here reads: convert it to H.264."
        )
    raise CorruptMedia(f"{demuxer.name} is damaged: not one picture could be decoded. Copy or download the file again.")


def _duration(demuxer: Demuxer, origin: int, time_base: Fraction) -> float | None:
    """What the container claims, counted from the first picture."""
    stream = demuxer.stream
    if stream.duration is not None:
        # A stream's duration counts from its own start, which an edit list may put before the first picture.
        start = stream.start_time if stream.start_time is not None else origin
        end = (start + stream.duration - origin) * time_base
    elif demuxer.container.duration is not None:
        # Matroska's duration counts from 0, wherever its first picture is.
        is_matroska = "matroska" in demuxer.container.format.name
        start_seconds = Fraction(0 if is_matroska else demuxer.container.start_time or 0, av.time_base)
        end = start_seconds + Fraction(demuxer.container.duration, av.time_base) - origin * time_base
    else:
        return None
    return float(end) if end > 0 else None
