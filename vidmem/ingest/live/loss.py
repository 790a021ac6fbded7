"""Why a stream can't be had, or was lost: the words for people, and the error where there never was a picture."""

from __future__ import annotations

from enum import StrEnum

from vidmem.errors import BadInput, NotFound, NoVideoStream, SourceLost, UnsupportedCodec, VidmemError
from vidmem.ingest.live.address import Address


class Loss(StrEnum):
    """Each value is the reason that a gap gives, to follow a colon."""

    REFUSED = "the connection was refused"
    UNRESOLVED = "the host's name does not resolve"
    UNREACHABLE = "the host can't be reached"
    SILENT = "no answer"
    FROZEN = "the stream froze"
    CLOSED = "the stream ended"
    BROKEN = "the connection broke"
    UNAUTHORIZED = "the user or password was refused"
    FORBIDDEN = "access was denied"
    MISSING = "there was no such stream"
    SERVER_ERROR = "the server reported an error"
    NO_VIDEO = "there was no video in the stream"
    WEB_PAGE = "a web page came instead of a stream"
    UNREADABLE = "what came could not be read"
    UNDECODABLE = "no picture could be decoded"
    UNSUPPORTED = "the pictures are coded in a way that no decoder here reads"
    NO_CAMERA = "there was no such camera"
    BUSY = "another program had the camera"
    NO_PERMISSION = "the camera may not be opened"
    NO_CAMERA_SUPPORT = "this build of FFmpeg can't open cameras"
    CRASHED = "the decoder crashed"


_ERRORS: dict[Loss, tuple[type[VidmemError], str]] = {
    Loss.REFUSED: (SourceLost, "refused the connection: is the camera or server on, and is the port right?"),
    Loss.UNRESOLVED: (
        SourceLost,
        "can't be found, its host's name does not resolve: check the spelling and the network.",
    ),
    Loss.UNREACHABLE: (SourceLost, "can't be reached: check the address and the network."),
    Loss.SILENT: (SourceLost, "does not answer: check the address, the port and any firewall between."),
    Loss.FROZEN: (SourceLost, "froze before its first picture: start the camera anew."),
    Loss.CLOSED: (SourceLost, "ended before its first picture: is anything being sent there now?"),
    Loss.BROKEN: (SourceLost, "broke off before its first picture: check the network, or try the other transport."),
    Loss.UNAUTHORIZED: (BadInput, "refused the user or password: give the right ones."),
    Loss.FORBIDDEN: (BadInput, "denies access to this user: ask for the right, or give another user."),
    Loss.MISSING: (NotFound, "has no stream of this name: check the path behind the host."),
    Loss.SERVER_ERROR: (SourceLost, "reports an error of its own: wait until it has started, or look into its log."),
    Loss.NO_VIDEO: (NoVideoStream, "holds no moving pictures: give the address of a stream with video."),
    Loss.WEB_PAGE: (BadInput, "is a web page, not a stream: give the stream's own address, which often ends in .m3u8."),
    Loss.UNREADABLE: (BadInput, "sends nothing that vidmem can read as video: check that it plays elsewhere."),
    Loss.UNDECODABLE: (BadInput, "sends pictures of which none could be decoded: try another transport or stream."),
    Loss.UNSUPPORTED: (UnsupportedCodec, "codes its pictures in a way that no decoder here reads: set it to H.264."),
    Loss.NO_CAMERA: (NotFound, "is no camera of this machine"),
    Loss.BUSY: (SourceLost, "is held by another program: close that one."),
    Loss.NO_PERMISSION: (BadInput, "may not be opened: join the group of the camera's device, which is often `video`."),
    Loss.NO_CAMERA_SUPPORT: (BadInput, "can't be opened, as this FFmpeg has no support for cameras: pip install av."),
    Loss.CRASHED: (SourceLost, "made the decoder crash: try another transport or stream."),
}


def error_for(why: Loss, address: Address, cameras: tuple[str, ...] = ()) -> VidmemError:
    """The error to raise for a stream that never gave a picture. `cameras`: those that there are, by name."""
    kind, sentence = _ERRORS[why]
    if why is Loss.NO_CAMERA:
        there = f"there is {', '.join(cameras)}" if cameras else "none is connected"
        sentence = f"{sentence}: {there}."
    return kind(f"{address.shown} {sentence}")
