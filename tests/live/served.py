"""Small servers for what comes over HTTP and RTMP, on the loopback."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import imageio_ffmpeg

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def http(answer: Answer, port: int = 0) -> Iterator[int]:
    """A server that answers every GET so; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # the reader has seen enough
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with _serving(ThreadingHTTPServer(("127.0.0.1", port), Handler)) as port:
        yield port


@contextmanager
def folder(path: Path, port: int = 0) -> Iterator[int]:
    """A server of a folder's files; its port."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with _serving(ThreadingHTTPServer(("127.0.0.1", port), Handler)) as port:
        yield port


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[int]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def says(status: int, kind: str = "text/plain", body: bytes = b"", **headers: str) -> Answer:
    """One answer to everything."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def streams(kind: str, chunks: Callable[[], Iterator[bytes]]) -> Answer:
    """An answer without a length, piece by piece."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.end_headers()
        for chunk in chunks():
            request.wfile.write(chunk)
            request.wfile.flush()

    return answer


@contextmanager
def playing(video: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """FFmpeg, which sends a video at its own pace, round and round."""
    command = [FFMPEG, "-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", video, "-c", "copy", *arguments]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
