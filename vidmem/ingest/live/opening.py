"""In the worker: a stream opened by FFmpeg, or the reason why it could not be."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

import av
import av.device
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from vidmem.ingest.live.loss import Loss

_FORMATS = (
    "rtsp,hls,mpegts,flv,live_flv,mov,mp4,matroska,webm,mpjpeg,mjpeg,jpeg_pipe,h264,hevc,avi,ogg,wav,mp3,aac,flac"
)
# Names of protocols that one kind of address may lead to. None of them reads this machine's files.
_PROTOCOLS = {
    "rtsp": "rtsp,rtsps,rtp,rtcp,srtp,tcp,udp,tls",
    "rtmp": "rtmp,rtmps,rtmpt,rtmpts,tcp,tls",
    "http": "http,https,tcp,tls,crypto,httpproxy",
}
_CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


class Lost(Exception):
    """A stream that could not be opened, or is over. Holds no address: addresses hold passwords."""

    def __init__(self, why: Loss, cameras: tuple[str, ...] = ()) -> None:
        super().__init__(why)
        self.why, self.cameras = why, cameras


@dataclass(frozen=True, slots=True)
class Target:
    """What to open and how long to wait for it."""

    kind: str
    url: str
    transport: str
    follows_redirects: bool
    connect_seconds: float
    stall_seconds: float


def open_stream(target: Target) -> tuple[InputContainer, VideoStream]:
    """Connect. Raises Lost."""
    url, format = (target.url, None) if target.kind != "camera" else _camera(target.url)
    begun = time.monotonic()
    try:
        container = av.open(
            url,
            format=format,
            options=_options(target),
            timeout=(target.connect_seconds, target.stall_seconds),
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        why = _why_not(error, target)
        # RTSP calls an answer that never came invalid data.
        is_late = why is Loss.UNREADABLE and time.monotonic() - begun >= target.connect_seconds
        raise Lost(Loss.SILENT if is_late else why, _shown_cameras() if why is Loss.NO_CAMERA else ()) from None
    try:
        return container, _video_stream(container)
    except BaseException:
        container.close()
        raise


def _options(target: Target) -> dict[str, str]:
    if target.kind == "camera":
        return {}
    options = {"protocol_whitelist": _PROTOCOLS[target.kind], "format_whitelist": _FORMATS}
    if target.kind == "rtsp":
        # Without looking for the frame rate, which times its packets, a stream opens within its first second.
        probing = {"fpsprobesize": "0", "analyzeduration": "500000"}
        return options | probing | {"rtsp_transport": target.transport, "allowed_media_types": "video"}
    if target.kind == "rtmp":
        return options | {"rtmp_live": "live", "fpsprobesize": "0", "analyzeduration": "2000000"}
    if not target.follows_redirects:
        options["max_redirects"] = "0"
    # The newest segment first: what was before it is no more live.
    return options | ({"live_start_index": "-1"} if _is_playlist(target.url) else {})


def _is_playlist(url: str) -> bool:
    return urlsplit(url).path.lower().endswith((".m3u8", ".m3u"))


def _video_stream(container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise Lost(Loss.NO_VIDEO)
    if streams[0].codec_context is None or not streams[0].codec_context.codec.is_decoder:
        raise Lost(Loss.UNSUPPORTED)
    return streams[0]


def why_broken(error: Exception) -> Loss:
    """What an error means that comes while a stream is read, or opened."""
    known: list[tuple[type[Exception], Loss]] = [
        (av.error.ConnectionRefusedError, Loss.REFUSED),
        (av.error.HTTPUnauthorizedError, Loss.UNAUTHORIZED),
        (av.error.HTTPForbiddenError, Loss.FORBIDDEN),
        (av.error.HTTPNotFoundError, Loss.MISSING),
        (av.error.HTTPError, Loss.SERVER_ERROR),
        (av.error.ExitError, Loss.SILENT),
        (av.error.TimeoutError, Loss.SILENT),
        (av.error.EOFError, Loss.CLOSED),
        (av.error.DecoderNotFoundError, Loss.UNSUPPORTED),
        (av.error.InvalidDataError, Loss.UNREADABLE),
    ]
    for kind, why in known:
        if isinstance(error, kind):
            return why
    is_away = getattr(error, "errno", None) in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN)
    return Loss.UNREACHABLE if is_away else Loss.BROKEN


def _why_not(error: Exception, target: Target) -> Loss:
    if target.kind == "camera":
        return _why_no_camera(error)
    why = why_broken(error)
    if getattr(error, "errno", None) == errno.EINVAL:
        why = Loss.UNREADABLE  # a format that is not on the list
    if why in (Loss.BROKEN, Loss.SILENT) and not _resolves(target.url):
        return Loss.UNRESOLVED
    if why is Loss.UNREADABLE and target.kind == "http" and _is_web_page(target.url, target.connect_seconds):
        return Loss.WEB_PAGE
    return why


def _resolves(url: str) -> bool:
    """FFmpeg says "input/output error" to a name that does not resolve as to much else."""
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except (OSError, UnicodeError):
        return False
    return True


def _is_web_page(url: str, seconds: float) -> bool:
    """Ask once more and look at what is said to come; only after it was found to be no video."""
    parts = urlsplit(url)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        with contextlib.closing(urllib.request.urlopen(plain, timeout=seconds)) as answer:
            return answer.headers.get_content_type() in ("text/html", "application/xhtml+xml")
    except (OSError, ValueError):
        return False


def _camera(which: str) -> tuple[str, str]:
    """FFmpeg's name for a camera, by number or by name, and for the kind of device. Raises Lost."""
    format = _camera_format()
    if not any(format in names.split(",") for names in av.formats_available):
        raise Lost(Loss.NO_CAMERA_SUPPORT)
    if format == "v4l2" and which.isdecimal():
        # The device's own number: one camera may have several devices, of which not all give pictures.
        return f"/dev/video{which}", format
    for index, (name, description) in enumerate(_cameras()):
        if which in (str(index), name, description):
            return (f"video={description}" if format == "dshow" else name), format
    raise Lost(Loss.NO_CAMERA, _shown_cameras())


def _camera_format() -> str:
    return _CAMERA_FORMATS.get(sys.platform, "v4l2")


def _cameras() -> list[tuple[str, str]]:
    try:
        devices = av.device.enumerate_input_devices(_camera_format())
    except (av.error.FFmpegError, OSError, ValueError):
        return []
    return [(device.name, device.description) for device in devices if "audio" not in device.media_types]


def _shown_cameras() -> tuple[str, ...]:
    """The cameras of this machine, as `webcam:` takes them."""
    return tuple(
        f"webcam:{name.removeprefix('/dev/video') if _camera_format() == 'v4l2' else index} ({description})"
        for index, (name, description) in enumerate(_cameras())
    )


def _why_no_camera(error: Exception) -> Loss:
    code = getattr(error, "errno", None)
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return Loss.NO_CAMERA
    if code == errno.EBUSY:
        return Loss.BUSY
    if code in (errno.EACCES, errno.EPERM):
        return Loss.NO_PERMISSION
    # A device that is no camera (ENOTTY, EINVAL) among them.
    return Loss.UNREADABLE
