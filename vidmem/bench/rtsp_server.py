"""A camera on the loopback, for the tests and `vidmem bench live`: `python3 rtsp_server.py VIDEO.mp4 --fps 10`.

It runs in the system's Python, which has GStreamer's bindings and nothing of vidmem. The video's coded pictures are
read once and pushed one by one, each at its own time, round and round: a loop without a seam, as a camera has none.
The camera runs whether somebody watches or not: picture n is of the moment `started + n / fps`, and its stream's clock
begins at 0 with each start. The first line on stdout says `{"port": ..., "started": ..., "pictures": ...}`: when that
was, in monotonic seconds, and how many pictures the video has.

Kill it, and the stream ends; stop it (SIGSTOP), and it freezes with its connections open. `--check` ends with 0 if all
that it needs is here.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from fractions import Fraction

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtsp, GstRtspServer  # noqa: E402

_CAPS = "video/x-h264,stream-format=byte-stream,alignment=au"
_ROLE = "viewer"
_ELEMENTS = ("appsrc", "appsink", "qtdemux", "h264parse", "rtph264pay", "rtpbin")


def read_pictures(path: str) -> list[tuple[bytes, bool]]:
    """Every access unit of an MP4 in file order, and whether a decoder can start at it."""
    pipeline = Gst.parse_launch(
        f'filesrc location="{path}" ! qtdemux ! h264parse config-interval=-1 ! {_CAPS} ! appsink name=sink sync=false'
    )
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    pictures = []
    while (sample := sink.try_pull_sample(5 * Gst.SECOND)) is not None:
        buffer = sample.get_buffer()
        is_key = not buffer.get_flags() & Gst.BufferFlags.DELTA_UNIT
        pictures.append((buffer.extract_dup(0, buffer.get_size()), is_key))
    pipeline.set_state(Gst.State.NULL)
    return pictures


class Camera:
    """Pushes the pictures to whoever watches. B-frames are not known of: they must not be in the video."""

    def __init__(self, pictures: list[tuple[bytes, bool]], fps: Fraction) -> None:
        self._pictures, self._fps = pictures, fps
        self._lock = threading.Lock()
        self._watched: dict[GstApp.AppSrc, int | None] = {}
        self.started = time.monotonic()
        threading.Thread(target=self._run, daemon=True).start()

    def watched_by(self, source: GstApp.AppSrc) -> None:
        with self._lock:
            self._watched[source] = None

    def forget(self, source: GstApp.AppSrc) -> None:
        with self._lock:
            self._watched.pop(source, None)

    def _run(self) -> None:
        index = 0
        while True:
            time.sleep(max(0.0, self.started + float(index / self._fps) - time.monotonic()))
            data, is_key = self._pictures[index % len(self._pictures)]
            with self._lock:
                for source, first in list(self._watched.items()):
                    if first is None and is_key:
                        first = self._watched[source] = index
                    if first is not None:
                        source.emit("push-buffer", self._buffer(data, index - first))
            index += 1

    def _buffer(self, data: bytes, count: int) -> Gst.Buffer:
        buffer = Gst.Buffer.new_wrapped(data)
        # GStreamer holds a buffer back until so long after its pipeline began.
        buffer.pts = buffer.dts = int(count * Gst.SECOND / self._fps)
        buffer.duration = int(Gst.SECOND / self._fps)
        return buffer


def serve(camera: Camera, given: argparse.Namespace) -> GstRtspServer.RTSPServer:
    """Start listening, for as long as somebody holds what this returns. The port is chosen by the system if 0."""
    server = GstRtspServer.RTSPServer(service=str(given.port))
    server.set_address("127.0.0.1")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( appsrc name=source ! {_CAPS} ! rtph264pay name=pay0 pt=96 config-interval=-1 )")
    factory.set_shared(True)
    factory.connect("media-configure", lambda _, media: _attach(camera, media))
    if given.user is not None:
        _lock(server, factory, given)
    server.get_mount_points().add_factory("/camera", factory)
    server.attach(None)
    return server


def _attach(camera: Camera, media: GstRtspServer.RTSPMedia) -> None:
    source = media.get_element().get_by_name_recurse_up("source")
    for name, value in (("format", Gst.Format.TIME), ("is-live", True), ("max-bytes", 0)):
        source.set_property(name, value)
    camera.watched_by(source)
    media.connect("unprepared", lambda _: camera.forget(source))


def _lock(server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory, given: argparse.Namespace) -> None:
    auth, token, permissions = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken(), GstRtspServer.RTSPPermissions()
    token.set_string("media.factory.role", _ROLE)
    if given.digest:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(given.user, given.password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(given.user, given.password), token)
    permissions.add_permission_for_role(_ROLE, "media.factory.access", True)
    permissions.add_permission_for_role(_ROLE, "media.factory.construct", True)
    factory.set_permissions(permissions)
    server.set_auth(auth)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    parser.add_argument("--fps", type=Fraction, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--digest", action="store_true")
    Gst.init(None)
    if sys.argv[1:] == ["--check"]:
        sys.exit(not all(map(Gst.ElementFactory.find, _ELEMENTS)))
    given = parser.parse_args()
    pictures = read_pictures(given.video)
    camera = Camera(pictures, given.fps)
    server = serve(camera, given)
    said = {"port": server.get_bound_port(), "started": camera.started, "pictures": len(pictures)}
    print(json.dumps(said), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
