"""A camera that can be killed, frozen and brought back, and what this process holds while it watches one.

It is the RTSP server of `rtsp_server.py`, which needs GStreamer and its bindings.
"""

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

from vidmem.world.counted import FPS

PACKAGES = (
    "gstreamer1.0-rtsp", "gstreamer1.0-plugins-base", "gstreamer1.0-plugins-good", "gstreamer1.0-plugins-bad",
    "gir1.2-gst-plugins-base-1.0", "gir1.2-gst-rtsp-server-1.0", "python3-gi",
)  # fmt: skip
_PYTHON = "/usr/bin/python3"  # Debian's, which has the bindings
_SCRIPT = Path(__file__).with_name("rtsp_server.py")


@cache
def what_is_missing() -> str | None:
    """The command that brings what a camera needs; None if it is here."""
    try:
        if subprocess.run([_PYTHON, str(_SCRIPT), "--check"], capture_output=True).returncode == 0:
            return None
    except OSError:
        pass
    packages = " ".join(filter(_is_missing, PACKAGES)) or "--reinstall " + " ".join(PACKAGES)
    return f"apt-get install {packages}"


def _is_missing(package: str) -> bool:
    """Whether Debian does not have it installed; also where there is no Debian."""
    try:
        run = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    except OSError:
        return True
    return "ok installed" not in run.stdout


class Camera:
    """A camera that shows counted video, round and round, from picture 0 on with each start; a context manager."""

    def __init__(self, video: Path, *options: str, fps: int = FPS) -> None:
        """`fps`: the video's. `options`: of `rtsp_server.py`."""
        self.fps = fps
        self._video, self._options = video, options
        self.port = 0
        self.started = 0.0
        """Monotonic seconds at which picture 0 was taken."""
        self.num_pictures = 0
        """Of the video: so many pictures later it comes again."""
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def start(self) -> None:
        """Start it, on the same port as before."""
        command = [_PYTHON, str(_SCRIPT), str(self._video), "--fps", str(self.fps), "--port", str(self.port)]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.port, self.started, self.num_pictures = said["port"], said["started"], said["pictures"]

    def taken(self, number: int, before: float | None = None) -> float:
        """When the picture with a number was taken, monotonic: the last time before a moment, by default before now."""
        shown = int(((time.monotonic() if before is None else before) - self.started) * self.fps)
        return self.started + (shown - (shown - number) % self.num_pictures) / self.fps

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


def resident_bytes() -> int:
    """Of this process and of those that it started, as the one that decodes; Linux only."""
    pages = 0
    for pid in [os.getpid(), *children()]:
        with contextlib.suppress(OSError):  # one that has just ended
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def held() -> dict[str, int]:
    """What this process and the ones that decode for it hold: what leaks would make more of."""
    # Threads and sockets of others in this process, such as servers that tests run, come and go.
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
