"""A video file opened safely: its video stream, its packets in file order, its decoder."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import cast

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from vidmem.errors import BadInput, CorruptMedia, NoVideoStream, SourceLost, UnsupportedCodec

# Only real containers: no playlists, no concat lists, no captures, nothing that names other files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg,mxf,gif,ivf,h264,hevc,obu,mpegvideo,m4v,dv,nut,"
    "yuv4mpegpipe,wtv,mjpeg,mp3,wav,flac,aac"
)
_MAX_PIXELS = 1 << 27
"""16384 x 8192: larger frames are an attack or an error, and would take 200 MB each."""
_MAX_ERRORS_IN_A_ROW = 1000
_MAGIC = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"wide"), (4, b"free"), (4, b"moof"), (0, b"\x1a\x45\xdf\xa3"),
    (0, b"RIFF"), (0, b"FLV"), (0, b"\0\0\1\xba"), (0, b"\0\0\1\xb3"), (0, b"\0\0\0\1"), (0, b"\x30\x26\xb2\x75"),
    (0, b"OggS"), (0, b"GIF8"), (0, b"DKIF"),
)  # fmt: skip


def default_threads() -> int:
    """One decoder thread for two cores, four at most.

    Measured on 1080p H.264: a second thread costs 5 to 10 % more CPU-seconds, and in ingest the other core is the
    encoder's. Bounded because decoders sized to all cores, one for each stream, choke each other.
    """
    return max(1, min(4, (os.cpu_count() or 1) // 2))


class Demuxer:
    """One opened container and the decoder of its first real video stream.

    Raises:
        CorruptMedia, NoVideoStream, UnsupportedCodec, BadInput: see `vidmem.errors`; the sentence names the file.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self.path = path
        self.name = path.name
        self.num_errors = 0
        self.is_fresh = True
        """Whether no pass has read from it yet."""
        self._peeked: list[av.Packet] = []
        self._is_closed = False
        self.container: InputContainer = _open(path)
        try:
            self.stream = _video_stream(self.container, self.name)
            context = self.stream.codec_context
            self.threads = default_threads() if threads is None else max(1, threads)
            context.thread_count = self.threads
            context.thread_type = "FRAME"
            self.codec = context.codec.canonical_name
            self.time_base = self.stream.time_base
            self._packets: Generator[av.Packet, None, None] = self._demux()
        except BaseException:
            self.container.close()
            raise

    def packets(self) -> Iterator[av.Packet]:
        """Packets in file order, beginning with those given back by `replay`; damaged stretches are passed over.

        Every error that the container reports counts in `num_errors`.
        """
        peeked, self._peeked = self._peeked, []
        yield from peeked
        errors_in_a_row = 0
        while errors_in_a_row < _MAX_ERRORS_IN_A_ROW:
            self._check_open()
            try:
                packet = next(self._packets, None)
            except (av.error.EOFError, StopIteration):
                return
            except av.error.InvalidDataError:
                self.num_errors += 1
                errors_in_a_row += 1
                self._restart_packets()
                continue
            except av.error.FFmpegError as error:
                raise SourceLost(
                    f"{self.name} can't be read any further ({error.strerror}): is its disk there?"
                ) from error
            if packet is None or packet.size == 0:
                return
            errors_in_a_row = 0
            yield packet

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """Pictures that are finished now; None drains the decoder. Raises av.error.FFmpegError on a damaged packet."""
        self._check_open()
        return self.stream.codec_context.decode(packet)

    def skip_unreferenced(self, skip: bool) -> None:
        """From the next packet on, have the decoder leave out pictures that no other refers to, or not."""
        self._check_open()
        # Copied to the decoding thread together with the next packet.
        self.stream.codec_context.skip_frame = "NONREF" if skip else "DEFAULT"

    def _check_open(self) -> None:
        if self._is_closed:
            raise SourceLost(f"{self.name} was closed, or read anew, while its frames were being read.")

    def replay(self, packets: list[av.Packet]) -> None:
        """Begin anew with packets that were already taken, as if nothing had been decoded."""
        self.stream.codec_context.flush_buffers()
        self._peeked = packets

    def seek(self, pts: int) -> None:
        """Go to a key frame near `pts`, in the stream's time base; the caller checks where that led."""
        self._peeked = []
        self.container.seek(pts, stream=self.stream, backward=True, any_frame=False)
        self._restart_packets()

    def _demux(self) -> Generator[av.Packet, None, None]:
        # PyAV's is a generator too, though it is declared as an iterator.
        return cast("Generator[av.Packet, None, None]", self.container.demux(self.stream))

    def _restart_packets(self) -> None:
        self._packets.close()
        self._packets = self._demux()

    def close(self) -> None:
        """Free the file and the decoder now. PyAV's containers and streams refer to each other in a circle.

        Left to Python's own pace, closed decoders pile up: 15 % more resident memory after some 600 opens and seeks.
        Collecting the young objects finds them, takes microseconds, and memory stays where it is.
        """
        if self._is_closed:
            return
        self._is_closed = True
        # Dropped without being closed, PyAV's generator leaks about 300 bytes.
        self._packets.close()
        self._peeked = []
        self.container.close()
        del self.container, self.stream
        gc.collect(1)


def _open(path: Path) -> InputContainer:
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open(str(path), mode="r", options=options, metadata_errors="replace")
    except PermissionError as error:
        raise BadInput(f"{path.name} can't be read: you lack the permission; try chmod +r.") from error
    except (av.error.FFmpegError, UnicodeError, ValueError) as error:
        raise _why_not(path) from error


def _why_not(path: Path) -> BadInput:
    """Tell a damaged video from what never was one, by the first bytes."""
    with path.open("rb") as file:
        head = file.read(1024)
    if any(head[at : at + len(magic)] == magic for at, magic in _MAGIC) or (head[:1] == b"G" and head[188:189] == b"G"):
        return CorruptMedia(
            f"{path.name} is damaged or cut off: its index can't be read. Copy or download the file again."
        )
    return BadInput(
        f"{path.name} is no video file that vidmem reads: convert it to MP4, MKV, WebM, AVI, MPEG-TS or FLV."
    )


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        what = "only a cover picture" if container.streams.video else "no moving pictures"
        raise NoVideoStream(f"{name} holds {what}: give a file with a video track.")
    stream = streams[0]
    if stream.codec_context is None or not stream.codec_context.codec.is_decoder:
        tag = getattr(stream, "codec_tag", None)
        raise UnsupportedCodec(f"{name} is coded in a way that no decoder here reads ({tag}): convert it to H.264.")
    if stream.codec_context.width * stream.codec_context.height > _MAX_PIXELS:
        size = f"{stream.codec_context.width}x{stream.codec_context.height}"
        raise BadInput(
            f"{name} has frames of {size} pixels, more than vidmem reads: scale it down to 16384x8192 or less."
        )
    return stream
