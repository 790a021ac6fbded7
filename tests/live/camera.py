"""Starts, kills, freezes and counts the RTSP server of `rtsp_server.py`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from functools import cache
from pathlib import Path
from typing import Self

import pytest
from counted import FPS

PACKAGES = (
    "gstreamer1.0-rtsp", "gstreamer1.0-plugins-base", "gstreamer1.0-plugins-good", "gstreamer1.0-plugins-bad",
    "gir1.2-gst-plugins-base-1.0", "gir1.2-gst-rtsp-server-1.0", "python3-gi",
)  # fmt: skip
_PYTHON = "/usr/bin/python3"  # Debian's, which has the bindings
_SCRIPT = Path(__file__).with_name("rtsp_server.py")


@cache
def _has_gstreamer() -> bool:
    try:
        return subprocess.run([_PYTHON, str(_SCRIPT), "--check"], capture_output=True).returncode == 0
    except OSError:
        return False


def need_gstreamer() -> None:
    if not _has_gstreamer():
        packages = " ".join(filter(_is_missing, PACKAGES)) or "--reinstall " + " ".join(PACKAGES)
        pytest.skip(f"NO RTSP SERVER HERE, SO NO CAMERA WAS TRIED: apt-get install {packages}")


def _is_missing(package: str) -> bool:
    """Whether Debian does not have it installed; also where there is no Debian."""
    try:
        run = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    except OSError:
        return True
    return "ok installed" not in run.stdout


class Camera:
    """A camera that shows counted video; its picture n is of the moment `started + n / FPS`, monotonic seconds."""

    def __init__(self, video: Path, *options: str) -> None:
        self._video, self._options = video, options
        self.port = 0
        self.started = 0.0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def start(self) -> None:
        """Start it, on the same port as before."""
        command = [_PYTHON, str(_SCRIPT), str(self._video), "--fps", str(FPS), "--port", str(self.port)]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.port, self.started = said["port"], said["started"]

    def taken(self, number: int) -> float:
        """When picture `number` was taken, monotonic. The video goes round: the latest time that it may have been."""
        length = 60 * FPS
        shown = int((time.monotonic() - self.started) * FPS)
        return self.started + (shown - (shown - number) % length) / FPS

    def kill(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def freeze(self) -> None:
        """It stops in the middle of whatever it does; its connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def children() -> list[int]:
    """Processes that this one started and that are there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == os.getpid():
            found.append(int(folder.name))
    return sorted(found)


def workers() -> list[int]:
    """The processes that decode."""
    return [pid for pid in children() if b"vidmem.ingest.live" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def held() -> dict[str, int]:
    """What this process and the ones that decode for it hold: what leaks would make more of."""
    # Threads and sockets of the tests' own servers come and go.
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("vidmem")]
    ours = {"threads": len(threads), "pipes": _num_pipes(), "workers": len(workers())}
    for pid in workers():
        ours["worker files"] = len(os.listdir(f"/proc/{pid}/fd"))
        ours["worker threads"] = len(os.listdir(f"/proc/{pid}/task"))
    return ours


def _num_pipes() -> int:
    found = 0
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists the others
            found += os.readlink(f"/proc/self/fd/{entry}").startswith("pipe:")
    return found
