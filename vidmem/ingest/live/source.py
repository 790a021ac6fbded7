"""The doors to streams: `open_live`, and `open_pushed` for pictures that are handed over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import numpy as np

from vidmem.errors import BadInput, VidmemError
from vidmem.ingest.fetching import address_of
from vidmem.ingest.live.address import Address, Kind, parse_address
from vidmem.ingest.live.handover import Handover, Policy
from vidmem.ingest.live.health import Health, Meter
from vidmem.ingest.live.item import Gap, LiveFrame
from vidmem.ingest.live.link import Patience
from vidmem.ingest.live.played import Player
from vidmem.ingest.live.pushed import Pushed, pushed_address
from vidmem.ingest.live.receiver import Receiver, Wanted
from vidmem.ingest.source import SourceInfo, check_request
from vidmem.types import View

Transport = Literal["tcp", "udp"]

_SEGMENTED_STALL_SECONDS = 30.0
"""HLS comes in segments, of up to ten seconds and more, and nothing between."""


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """How a stream is received."""

    transport: Transport = "tcp"
    """Of RTSP: `tcp` loses nothing; `udp` where a camera has no other."""
    policy: Policy = "drop-oldest"
    """What becomes of frames for which the consumer is too slow: the oldest are dropped, or the stream waits."""
    queue_frames: int = 16
    """Most frames that wait for the consumer."""
    patience: Patience | None = None
    """None: the usual, and half a minute for the next packet where a stream comes in segments (http)."""
    speed: float = 1.0
    """Of a file: times its own pace."""
    loop: bool = False
    """Of a file: from the beginning again and again, as one stream."""
    allow_private: bool = True
    """Whether a server may be on this machine or in its network. Where not, no redirect is followed; what a playlist
    names is not looked at."""

    def __post_init__(self) -> None:
        if self.transport not in ("tcp", "udp"):
            raise BadInput(f"RTSP has no transport {self.transport!r}: give tcp or udp.")
        if self.policy not in ("drop-oldest", "block"):
            raise BadInput(f"A queue has no policy {self.policy!r}: give drop-oldest or block.")
        if self.queue_frames < 1:
            raise BadInput(f"A queue of {self.queue_frames} frames passes nothing on: give 1 or more.")
        if not 0.0 < self.speed < 1e6:
            raise BadInput(f"A file can't be played {self.speed} times as fast: give a number above 0.")


class LiveSource:
    """A stream that is being received. Iterate once, in one thread, over its `LiveFrame`s and `Gap`s in time order.

    The stream is received from the moment of opening, by a thread and a process of its own, whether anybody iterates or
    not. It is reconnected for ever; iteration ends when the source is closed, or a recording or played file is over.
    """

    def __init__(
        self, address: Address, wanted: Wanted, config: LiveConfig, *, first: np.ndarray | None = None
    ) -> None:
        """`first` is the first picture of a stream whose pictures are handed over."""
        self._address = address
        self._handover = Handover(config.queue_frames, config.policy)
        self._meter = Meter()
        self._info: SourceInfo | None = None
        self._is_open = threading.Event()
        common: dict[str, Any] = {"handover": self._handover, "meter": self._meter, "opened": self._open}
        self._feed: Receiver | Player | Pushed
        if first is not None:
            patience = config.patience or Patience()
            self._feed = Pushed(address, wanted, first=first, patience=patience, **common)
        elif address.kind == "file":
            self._feed = Player(Path(address.url), wanted, speed=config.speed, loop=config.loop, **common)
        else:
            patience = config.patience or _patience(address.kind)
            self._feed = Receiver(
                address,
                wanted,
                transport=config.transport,
                follows_redirects=config.allow_private,
                patience=patience,
                **common,
            )
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"vidmem-live-{address.name}", daemon=True)

    def start(self) -> None:
        """Connect, and wait for the first picture. Raises why there is none; then nothing is left open."""
        self._thread.start()
        try:
            self._is_open.wait()
        except BaseException:
            self.close()
            raise
        if self._info is None:
            self.close()
            if isinstance(self._failure, VidmemError):
                raise self._failure
            raise RuntimeError("the thread that receives ended") from self._failure

    @property
    def info(self) -> SourceInfo:
        """As the first picture had it; `uri` without user, password or any other secret."""
        assert self._info is not None, "start comes first"
        return self._info

    def __iter__(self) -> Iterator[LiveFrame | Gap]:
        while (item := self._handover.get()) is not None:
            yield item

    def push(self, picture: np.ndarray) -> None:
        """Hand a picture over, uint8 RGB (H, W, 3), of this moment; see `open_pushed`. For any thread.

        Raises:
            BadInput: it is no such picture, or the source was closed, or it comes from an address.
        """
        if not isinstance(self._feed, Pushed):
            raise BadInput(f"{self._address.shown} has pictures of its own: none can be handed over.")
        self._feed.push(picture)

    @property
    def num_waiting(self) -> int:
        """Frames that came and were not yet taken: while there are any, nobody waits for the next. For any thread."""
        return self._handover.num_waiting

    def health(self) -> Health:
        """How it is now. For any thread."""
        health = self._meter.read(time.monotonic())
        handover = self._handover
        return replace(health, frames=handover.num_given, dropped=handover.num_dropped, waiting=handover.num_waiting)

    def close(self) -> None:
        """End the thread and its process, now; frames not yet taken are dropped. May be called again, by any thread."""
        self._feed.stop()
        self._handover.close(discard=True)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LiveSource {self._address.shown}>"

    def _open(self, info: SourceInfo) -> None:
        self._info = info
        self._is_open.set()

    def _run(self) -> None:
        try:
            self._feed.run()
        except BaseException as error:
            self._failure = error  # raised by whoever opens or iterates
        self._handover.close(self._failure)
        self._is_open.set()


def open_live(
    address: str,
    *,
    fps: float | None = None,
    views: Sequence[View] = (),
    user: str | None = None,
    password: str | None = None,
    config: LiveConfig | None = None,
) -> LiveSource:
    """Connect to a stream and wait for its first picture.

    Args:
        address: `rtsp://`, `rtsps://`, `rtmp://`, `rtmps://`, `http://` or `https://` (HLS, MPEG-TS, MJPEG, FLV; a
            recording is played at its own pace and ends), `webcam:0` or `webcam:NAME`, or a video file, played at its
            own pace.
        fps: frames a second to take, see `next_due`. None: all.
        views: the sizes in which each frame is wanted.
        user, password: for the server; they take the place of those in the URL. Neither they nor what else of a URL
            may be secret is ever shown: not in an error, a log, `repr`, `info` or the list of processes.

    Raises:
        BadInput, with NoVideoStream and UnsupportedCodec: there is something, but no stream to be watched, or the
            password is wrong, or the server is where it may not be.
        NotFound: no such camera, file or stream on the server.
        SourceLost: nothing answers; try again later.
    """
    parsed = parse_address(address, user=user, password=password)
    check_request(parsed.shown, fps, views, 0.0)
    config = config or LiveConfig()
    if parsed.kind in ("rtsp", "rtmp", "http") and not config.allow_private:
        address_of(urlsplit(parsed.url), parsed.shown, allow_private=False)
    source = LiveSource(parsed, Wanted(fps, tuple(views)), config)
    source.start()
    return source


def open_pushed(
    name: str,
    first: np.ndarray,
    *,
    fps: float | None = None,
    views: Sequence[View] = (),
    config: LiveConfig | None = None,
) -> LiveSource:
    """A stream of pictures that the caller hands over with `LiveSource.push`, each at the moment it comes.

    Args:
        name: for people, and to be found again by: its URI is `pushed:NAME`.
        first: the first picture, uint8 RGB (H, W, 3).
        fps, views, config: as of `open_live`.

    Raises:
        BadInput: that is no picture, or the name is empty.
    """
    address = pushed_address(name)
    check_request(address.shown, fps, views, 0.0)
    source = LiveSource(address, Wanted(fps, tuple(views)), config or LiveConfig(), first=first)
    source.start()
    return source


def _patience(kind: Kind) -> Patience:
    return Patience(stall_seconds=_SEGMENTED_STALL_SECONDS) if kind == "http" else Patience()
